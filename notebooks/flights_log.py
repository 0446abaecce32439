"""The access log of the flights service: what its lines say, and what can be counted from them.

One JSON object a line, in the order in which things happened. Four events, told by `event`:

    received   a request has arrived, its body too; nothing has been answered yet
    sent       the whole answer was handed to the operating system
    cut        the answer was not handed over: the client had gone before
    closed     a connection has ended; `is_reset`: the client's end vanished with bytes unread

`sent` alone does not mean that the client got the answer: a small one fits the socket's buffer.
A process that dies with bytes unread makes its system send a reset instead of an orderly end,
so a reset turns the last exchange of its connection into a cut one. What remains unseen is the
instant between the client's last read and whatever it does with the bytes.

Knows nothing of HTTP, of notebooks, of who reads it. No clock: the caller says when.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs

__all__ = ["AccessLog", "Exchange", "LogTail", "PageCount", "count_pages", "read_exchanges"]


@dataclass(frozen=True)
class Exchange:
    """One request and what became of its answer. Times are seconds since the epoch."""

    number: int
    connection: int
    method: str
    path: str
    query: str
    received_at_s: float
    sent_at_s: float | None = None
    status: int | None = None
    was_cut: bool = False

    @property
    def is_completed(self) -> bool:
        """True if the whole answer went out and nothing says that the client lost it."""
        return self.sent_at_s is not None and not self.was_cut

    @property
    def page(self) -> int | None:
        """The page of flights that was asked for; None for any other request."""
        if self.method != "GET" or self.path != "/flights":
            return None
        asked = parse_qs(self.query).get("page", ["1"])[0]
        return int(asked) if asked.isdecimal() else None

    @property
    def is_report(self) -> bool:
        """True for a report that was handed in."""
        return self.method == "POST" and self.path == "/reports"


@dataclass(frozen=True)
class PageCount:
    """How often one page was asked for, and how often its answer went out whole."""

    page: int
    asked: int
    completed: int


def read_exchanges(lines: Iterable[str]) -> list[Exchange]:
    """Fold the lines of a log into exchanges, in the order in which they were received.

    Answers to requests that the lines do not hold are passed over, so that a log can be read
    from any line on. Raises ValueError for a line that is not JSON.
    """
    found: dict[int, Exchange] = {}
    newest_of_connection: dict[int, int] = {}
    for line in lines:
        entry = json.loads(line)
        match entry["event"]:
            case "received":
                found[entry["number"]] = Exchange(
                    number=entry["number"],
                    connection=entry["connection"],
                    method=entry["method"],
                    path=entry["path"],
                    query=entry["query"],
                    received_at_s=entry["at_s"],
                )
                newest_of_connection[entry["connection"]] = entry["number"]
            case "sent" if entry["number"] in found:
                found[entry["number"]] = replace(
                    found[entry["number"]], sent_at_s=entry["at_s"], status=entry["status"]
                )
            case "cut" if entry["number"] in found:
                found[entry["number"]] = replace(found[entry["number"]], was_cut=True)
            case "closed" if entry["is_reset"] and entry["connection"] in newest_of_connection:
                last = newest_of_connection[entry["connection"]]
                found[last] = replace(found[last], was_cut=True)
    return list(found.values())


def count_pages(exchanges: Iterable[Exchange]) -> list[PageCount]:
    """Count requests for pages of flights, in the order of the pages."""
    asked: Counter[int] = Counter()
    completed: Counter[int] = Counter()
    for exchange in exchanges:
        if exchange.page is not None:
            asked[exchange.page] += 1
            completed[exchange.page] += exchange.is_completed
    return [PageCount(page, asked[page], completed[page]) for page in sorted(asked)]


class AccessLog:
    """Writes the log. Safe to use from several threads; a line is one `write`.

    The file is emptied when opened. A line that was written is seen by other processes at
    once; nothing is synced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        self._lock = threading.Lock()
        self._exchanges = 0
        self._connections = 0

    def connected(self) -> int:
        """Return a number for a new connection. Nothing is written: it has not asked yet."""
        with self._lock:
            self._connections += 1
            return self._connections

    def received(self, connection: int, method: str, path: str, query: str, at_s: float) -> int:
        """Write that a request has arrived; return the number of the exchange."""
        with self._lock:
            self._exchanges += 1
            self._write(
                {
                    "event": "received",
                    "number": self._exchanges,
                    "connection": connection,
                    "method": method,
                    "path": path,
                    "query": query,
                    "at_s": at_s,
                }
            )
            return self._exchanges

    def sent(self, number: int, status: int, body_bytes: int, at_s: float) -> None:
        """Write that an answer was handed over whole."""
        entry = {"number": number, "status": status, "body_bytes": body_bytes, "at_s": at_s}
        with self._lock:
            self._write({"event": "sent", **entry})

    def cut(self, number: int, at_s: float) -> None:
        """Write that an answer found nobody."""
        with self._lock:
            self._write({"event": "cut", "number": number, "at_s": at_s})

    def closed(self, connection: int, *, is_reset: bool, at_s: float) -> None:
        """Write that a connection has ended."""
        entry = {"connection": connection, "is_reset": is_reset, "at_s": at_s}
        with self._lock:
            self._write({"event": "closed", **entry})

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, entry: dict[str, object]) -> None:
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")


class LogTail:
    """Follows a log that another process writes. Keeps all complete lines read so far."""

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        self._path = path
        self._offset_bytes = 0

    def poll(self) -> list[str]:
        """Return the complete lines written since the last poll. A half line waits for its end."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._offset_bytes)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._offset_bytes += len(whole)
        lines = whole.decode().splitlines()
        self.lines += lines
        return lines
