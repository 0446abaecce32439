"""Row 4: a loopback keep-alive GET through httpx and requests, recorded and replayed, against raw.

Three services: one that works for a millisecond, which the budget of recording is about; the HTTP
server of the library; and a bare socket, which hides nothing: there the time beyond raw is judged.

The raw side is the library's own path: its transport, or the pool below it, taken before the hook,
and called without a lane. All sides share one process, and one service in another process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.session import Session

__all__ = ["measure"]

_clock = time.perf_counter
_RECORDED = Budget(1.15)
_BEYOND_RAW_US = Budget(150.0)
_REPLAYED = Budget(1.0)
_SERVICES = {
    "working": "a service of 1 ms",
    "ordinary": "the library's HTTP server",
    "bare": "a bare socket",
}


class _RawTransport(httpx.HTTPTransport):
    handle_request = httpx.HTTPTransport.handle_request  # this module is imported before any hook


class _RawPool(HTTPConnectionPool):
    _make_request = HTTPConnectionPool._make_request  # noqa: SLF001 - what the hook takes the place of


def _raw_session() -> requests.Session:
    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": _RawPool}
    session = requests.Session()
    session.mount("http://", adapter)
    return session


@dataclass(frozen=True)
class _Client:
    """One library: what the cell opens, and the same without the hook."""

    name: str
    opens: str
    raw: Callable[[], Any]


_CLIENTS = (
    _Client("httpx", "httpx.Client()", lambda: httpx.Client(transport=_RawTransport())),
    _Client("requests", "requests.Session()", _raw_session),
)


class _Contest:
    """What one cell does: a GET by each side in turn, round after round."""

    def __init__(self, client: _Client, rounds: int, port: int) -> None:
        self._raw = client.raw
        self._rounds = rounds
        self._url = f"http://127.0.0.1:{port}/flights/7"
        self._outside = Context()
        self.found = Rounds("µs")

    def __call__(self, client: Any) -> None:
        """Run all rounds. Called by the cell, with a client of its own."""
        with self._raw() as raw:
            self._warm_up(client, raw)
            for index in range(self._rounds):
                if index % 2:
                    other = self._outside.run(self._get, raw)
                    ours = self._get(client)
                else:
                    ours = self._get(client)
                    other = self._outside.run(self._get, raw)
                self.found.add(raw=other, durable=ours)

    def _warm_up(self, client: Any, raw: Any) -> None:
        for _ in range(5):
            self._get(client)
            self._outside.run(self._get, raw)

    def _get(self, client: Any) -> float:
        began = _clock()
        answer = client.get(self._url).json()
        spent = _clock() - began
        assert answer["ok"]
        return spent * 1e6


@contextmanager
def _service(kind: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loopback_server", kind], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Run one cell live, then the same cell from its journal, against each service."""
    rounds = effort.pick(1500, 300, 5)
    session = Session(folder)
    figures = []
    for kind, service in _SERVICES.items():
        for client in _CLIENTS:
            run, what = f"{client.name}-{kind}", f"{client.name}, GET from {service}"
            with _service(kind) as port:
                contest = _Contest(client, rounds, port)
                live = _run(session, run, contest, client, is_live=True)
                contest = _Contest(client, rounds, port)
                replay = _run(session, run, contest, client, is_live=False)
            judged = _RECORDED if kind == "working" else None
            figures += [
                _against(live, f"{what}, recorded / raw", judged),
                _against(replay, f"{what}, replayed / raw", _REPLAYED),
            ]
            if kind == "bare":
                figures.append(_beyond(live, f"{what}, recorded beyond raw"))
    return figures


def _run(
    session: Session, run: str, contest: _Contest, client: _Client, *, is_live: bool
) -> Rounds:
    driver = session.open(run)
    driver.namespace["contest"] = contest
    if is_live:
        opened = f"with {client.opens} as client:\n    contest(client)"
        driver.execute(f"import {client.name}\n{opened}")
    else:
        driver.recover()
    assert driver.run.latch is None, driver.run.latch
    driver.run.close()
    return contest.found


def _against(found: Rounds, what: str, budget: Budget | None) -> Figure:
    return found.figure("4", what, lambda m: m["durable"] / m["raw"], budget=budget)


def _beyond(found: Rounds, what: str) -> Figure:
    return found.figure(
        "4", what, lambda m: m["durable"] - m["raw"], unit="µs", budget=_BEYOND_RAW_US
    )
