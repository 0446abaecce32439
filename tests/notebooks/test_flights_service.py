"""What the flights service promises to its clients and to whoever reads its log."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from notebooks.flights_log import AccessLog, read_exchanges
from notebooks.flights_service import FlightsData, FlightsServer

WAIT_S_MAX = 60
HOLD_S = 3600


class WatchedLog(AccessLog):
    """An access log that tells when something happened."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.report_received = threading.Event()
        self.answer_cut = threading.Event()
        self.connection_closed = threading.Event()

    def received(self, connection: int, method: str, path: str, query: str, at_s: float) -> int:
        number = super().received(connection, method, path, query, at_s)
        if method == "POST":
            self.report_received.set()
        return number

    def cut(self, number: int, at_s: float) -> None:
        super().cut(number, at_s)
        self.answer_cut.set()

    def closed(self, connection: int, *, is_reset: bool, at_s: float) -> None:
        super().closed(connection, is_reset=is_reset, at_s=at_s)
        self.connection_closed.set()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WatchedLog]:
    log = WatchedLog(tmp_path / "access.jsonl")
    yield log
    log.close()


@pytest.fixture
def server(log: WatchedLog) -> Iterator[FlightsServer]:
    data = FlightsData(
        flights=[b"month,flight", *(b"1,%d" % n for n in range(2_500))],
        weather_by_month={1: [b"EWR,1,39.02"], 2: [b"JFK,2,41.00"]},
        weather_header=b"origin,month,temp",
        airlines=[{"carrier": "AA", "name": "American Airlines Inc."}],
    )
    with FlightsServer(data, log, rows_per_page=1_000, hold_report_s=HOLD_S) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: FlightsServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=WAIT_S_MAX) as client:
        yield client


def test_the_pages_hold_every_flight_once_and_name_the_next(client: httpx.Client) -> None:
    rows: list[str] = []
    url: str | None = "/flights?page=1"

    while url:
        answer = client.get(url)
        header, *body = answer.text.splitlines()
        assert header == "month,flight"
        rows += body
        url = answer.links.get("next", {}).get("url")

    assert rows == [f"1,{n}" for n in range(2_500)]


def test_the_same_question_gets_the_same_bytes(client: httpx.Client) -> None:
    first, second = client.get("/flights?page=2"), client.get("/flights?page=2")

    assert first.headers["content-encoding"] == "gzip"
    assert first.headers.raw == second.headers.raw
    assert first.content == second.content


def test_a_client_without_gzip_gets_plain_bytes(client: httpx.Client) -> None:
    answer = client.get("/flights?page=1", headers={"Accept-Encoding": "identity"})

    assert "content-encoding" not in answer.headers
    assert answer.content.count(b"\n") == 1_001


@pytest.mark.parametrize(
    "url", ["/flights?page=0", "/flights?page=4", "/flights?page=two", "/weather", "/nothing"]
)
def test_what_is_not_there_is_404_with_a_sentence(client: httpx.Client, url: str) -> None:
    answer = client.get(url)

    assert answer.status_code == 404
    assert answer.json()["error"]


def test_weather_comes_by_month(client: httpx.Client) -> None:
    assert client.get("/weather?month=2").text == "origin,month,temp\nJFK,2,41.00\n"


def test_a_repeated_report_is_kept_twice(server: FlightsServer, client: httpx.Client) -> None:
    server.hold_report_s = 0.0

    answers = [client.post("/reports", json={"report_id": "a"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    arrived = client.get("/reports").json()
    assert [(r["receipt"], r["report_id"]) for r in arrived] == [("R-0001", "a"), ("R-0002", "a")]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"report_id": 3}'])
def test_what_is_no_report_is_refused_and_not_kept(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/reports", content=body)

    assert answer.status_code == 400
    assert client.get("/reports").json() == []


def test_a_held_report_is_stored_before_the_log_says_received_and_cut_if_its_client_goes(
    server: FlightsServer, client: httpx.Client, log: WatchedLog
) -> None:
    body = b'{"report_id": "held"}'
    head = b"POST /reports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.server_port)) as held:
        held.sendall(head + body)
        assert log.report_received.wait(WAIT_S_MAX)
        arrived = client.get("/reports").json()

    assert log.answer_cut.wait(WAIT_S_MAX)
    exchanges = read_exchanges(log.path.read_text().splitlines())

    assert [report["report_id"] for report in arrived] == ["held"]
    assert [(e.method, e.was_cut) for e in exchanges] == [("POST", True), ("GET", False)]


def test_only_the_first_report_is_held(server: FlightsServer, client: httpx.Client) -> None:
    server.held_reports = 0

    answer = client.post("/reports", json={"report_id": "a"})

    assert answer.status_code == 201


def test_a_client_that_goes_with_bytes_unread_cuts_its_last_exchange(
    server: FlightsServer, log: WatchedLog
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as hasty:
        hasty.sendall(b"GET /flights?page=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert hasty.recv(1) == b"H"

    # The reset meets the server while it writes the body, or afterwards: a cut answer either way.
    assert log.connection_closed.wait(WAIT_S_MAX)
    (exchange,) = read_exchanges(log.path.read_text().splitlines())

    assert exchange.page == 1
    assert not exchange.is_completed


def test_the_log_is_served_and_does_not_mention_itself(client: httpx.Client) -> None:
    client.get("/airlines")
    client.get("/_log")

    events = [json.loads(line) for line in client.get("/_log").text.splitlines()]

    assert [event["event"] for event in events] == ["received", "sent"]


def test_the_real_tables_have_336776_flights_on_169_pages() -> None:
    data = FlightsData.load()

    assert data.pages(2_000) == 169
    assert data.page(169, 2_000).count(b"\n") == 1 + 336_776 - 168 * 2_000
    assert sorted(data.weather_by_month) == list(range(1, 13))
    assert len(data.airlines) == 16


def test_as_a_program_it_prints_its_url_first_and_ends_with_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "notebooks.flights_service", "--port", "0"]
    command += ["--access-log", str(tmp_path / "access.jsonl")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        assert service.stdout is not None
        url = service.stdout.readline().strip()
        airlines = httpx.get(f"{url}/airlines", trust_env=False, timeout=WAIT_S_MAX).json()
        service.send_signal(signal.SIGTERM)

    assert len(airlines) == 16
    assert service.returncode == 0
