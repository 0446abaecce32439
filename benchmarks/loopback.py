"""Row 4: a loopback keep-alive GET through httpx, recorded and replayed, against httpx alone.

The raw side is httpx' own transport, taken before the hook, and called without a lane. All sides
share one process, and one service in another process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path

import httpx

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.session import Session

__all__ = ["measure"]

_clock = time.perf_counter


class _RawTransport(httpx.HTTPTransport):
    handle_request = httpx.HTTPTransport.handle_request  # this module is imported before any hook


class _Contest:
    """What one cell does: a GET by each side in turn, round after round."""

    def __init__(self, rounds: int, port: int) -> None:
        self._rounds = rounds
        self._url = f"http://127.0.0.1:{port}/flights/7"
        self._outside = Context()
        self.found = Rounds("µs")

    def __call__(self, client: httpx.Client) -> None:
        """Run all rounds. Called by the cell, with a client of its own."""
        with httpx.Client(transport=_RawTransport()) as raw:
            self._warm_up(client, raw)
            for index in range(self._rounds):
                if index % 2:
                    other = self._outside.run(self._get, raw)
                    ours = self._get(client)
                else:
                    ours = self._get(client)
                    other = self._outside.run(self._get, raw)
                self.found.add(raw=other, durable=ours)

    def _warm_up(self, client: httpx.Client, raw: httpx.Client) -> None:
        for _ in range(5):
            self._get(client)
            self._outside.run(self._get, raw)

    def _get(self, client: httpx.Client) -> float:
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
    for kind, name in (("bare", "a bare socket"), ("ordinary", "the library's HTTP server")):
        with _service(kind) as port:
            live = _run(session, f"loopback-{kind}", _Contest(rounds, port), is_live=True)
            replay = _run(session, f"loopback-{kind}", _Contest(rounds, port), is_live=False)
        figures += [
            _against(live, f"GET from {name}, recorded / raw", Budget(1.15)),
            _against(replay, f"GET from {name}, replayed / raw", Budget(1.0)),
        ]
    return figures


def _run(session: Session, run: str, contest: _Contest, *, is_live: bool) -> Rounds:
    driver = session.open(run)
    driver.namespace["contest"] = contest
    if is_live:
        driver.execute("import httpx\nwith httpx.Client() as client:\n    contest(client)")
    else:
        driver.recover()
    assert driver.run.latch is None, driver.run.latch
    driver.run.close()
    return contest.found


def _against(found: Rounds, what: str, budget: Budget) -> Figure:
    return found.figure("4", what, lambda m: m["durable"] / m["raw"], budget=budget)
