"""The straight way of an observation: it means what the long one means (ADR 0009)."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from durable_kernel.history import (
    Announced,
    Called,
    CallHistory,
    Observed,
    PositionHistory,
    position_history,
)
from durable_kernel.journal import scan
from durable_kernel.ports import CURRENT_LANE, Call, Ending, Lane, Outcome, Secret
from durable_kernel.runtime.observing import Observing
from durable_kernel.runtime.steps import LiveStep
from tests.runtime.notebooks import Notebook, Service, Session

_PLAIN = {
    "status": 200,
    "headers": [[b"Server", b"x"]],
    "http_version": b"HTTP/1.1",
    "reason": None,
}
_COOKIE = {**_PLAIN, "headers": [[b"Set-Cookie", Secret(b"session=0123456789")]]}
_GZIP = {**_PLAIN, "headers": [[b"Content-Encoding", b"gzip"]]}

HEADS: tuple[Any, ...] = (None, _PLAIN, _COOKIE, _GZIP)
BODIES: tuple[list[bytes], ...] = (
    [],
    [b"{}"],
    [b"{}", b"[1]"],
    [b""],
    [b'{"access_token": "0123456789abcdef"}'],
    [b"\x1f\x8b\x00"],
    [b"[" + b"1," * 40_000],
    [b"{" * 40_000, b"}" * 40_000],
)
READINGS = ((0, 0), (1, 0), (2, 1), (20, 0), (0, 20))
OUTCOMES = (
    Outcome(Ending.VALUE, {"elapsed_us": 7}),
    Outcome(Ending.VALUE),
    Outcome(Ending.VALUE, (1, 2)),
    Outcome(Ending.VALUE, {"password": Secret("hunter22")}),
    Outcome.of_error(ConnectionError("lost")),
)


@dataclass
class Exchanges:
    """What a cell does: each combination of the above, one after the other."""

    label: str = "GET http://a/"
    read: list[float] = field(default_factory=list)

    def make_all(self) -> None:
        combinations = itertools.product(HEADS, BODIES, READINGS, OUTCOMES)
        for number, (head, body, readings, outcome) in enumerate(combinations):
            if number % 3 == 0:  # so that each pair of columns is met, and it stays quick
                self.make(number // 7, head, body, readings, outcome)

    def make(
        self, number: int, head: Any, body: list[bytes], readings: tuple[int, int], outcome: Outcome
    ) -> None:
        self._read_clock(readings[0])
        lane = CURRENT_LANE.get()
        assert lane is not None
        call = Call("http", self.label, {"method": "GET", "n": number}, {"sent_bytes": 0})
        step = lane.port.begin(lane, call)
        if head is not None:
            step.set_head(head)
        for part in body:
            step.add_part(part)
        self._read_clock(readings[1])
        step.settle(outcome)

    def _read_clock(self, times: int) -> None:
        self.read += [time.time() for _ in range(times)]


class LongWay:
    """What `Observing` is where nothing is as usual."""

    replay: Any = None

    def begin(self, lane: Lane, call: Call) -> LiveStep | None:
        return None

    def end(self, step: LiveStep, value: Any) -> bool:
        return False


IN_A_CELL = "exchanges.make_all()"
IN_A_TASK = "import asyncio\nawait asyncio.sleep(0)\nexchanges.make_all()"


def _lived(
    notebook: Notebook, exchanges: Exchanges, source: str, *, is_long: bool
) -> PositionHistory:
    notebook.names["exchanges"] = exchanges
    with notebook.session(wall_ns=lambda: 5) as session:
        if is_long:
            session.run.port.observing = cast("Observing", LongWay())
        assert session.execute(source)
        return _history(session)


def _history(session: Session) -> PositionHistory:
    run = session.run
    return position_history(run.place.folder, run.read_outline().positions[0], run._records)


def _told(history: PositionHistory) -> list[Any]:
    return [_facts(each) for each in history.calls[""]]


def _facts(call: CallHistory) -> Any:
    assert call.settled is not None
    sizes = [size for part in call.parts for size in part.sizes]
    contents = [part.content if part.blob is None else part.blob for part in call.parts]
    is_sealed = [part.sealed for part in call.parts]
    return call.announced, call.head, sizes, contents, is_sealed, call.settled


@pytest.mark.parametrize("source", [IN_A_CELL, IN_A_TASK], ids=["in a cell", "in its task"])
def test_both_ways_write_what_means_the_same(
    notebook: Notebook, tmp_path: Any, source: str
) -> None:
    other = Notebook(tmp_path / "other")
    straight, long = Exchanges(), Exchanges()

    found = _lived(notebook, straight, source, is_long=False)
    expected = _lived(other, long, source, is_long=True)

    assert _told(found) == _told(expected)
    assert found.turns == expected.turns
    assert found.soft == {("", "time.time"): straight.read}
    assert expected.soft == {("", "time.time"): long.read}
    assert found.committed is not None
    assert expected.committed is not None
    assert found.committed.counts == expected.committed.counts


@pytest.mark.parametrize("source", [IN_A_CELL, IN_A_TASK], ids=["in a cell", "in its task"])
def test_both_ways_are_taken(notebook: Notebook, source: str) -> None:
    """Else the test above would show nothing."""
    exchanges = Exchanges()

    _lived(notebook, exchanges, source, is_long=False)

    kinds = [type(each) for each in _records(notebook)]
    assert kinds.count(Called) > 50
    assert kinds.count(Announced) > 50


def test_an_observation_and_the_readings_before_it_are_one_frame(notebook: Notebook) -> None:
    notebook.names.update(exchanges=Exchanges(), outcome=OUTCOMES[0])

    with notebook.session() as session:
        session.namespace["journal"] = session.run.port._journal
        assert session.execute(
            "from durable_kernel.ports import CURRENT_LANE\n"
            "with CURRENT_LANE.get().port.lock:\n"  # the timer waits
            "    before = journal.next_lsn\n"
            "    for n in range(3):\n"
            "        exchanges.make(n, None, [b'{}'], (2, 1), outcome)\n"
            "    frames = journal.next_lsn - before"
        )
        assert session.namespace["frames"] == 3

    records = _records(notebook)
    called = [each for each in records if isinstance(each, Called)]
    assert [len(each.soft["time.time"]) for each in called if each.soft] == [3, 3, 3]
    assert not [each for each in records if isinstance(each, Observed)]


def test_what_was_read_stands_before_a_call_that_is_written_in_pieces(notebook: Notebook) -> None:
    """A call may rest on what was read before it: half a write must not keep it alone."""
    notebook.lived(
        "import time\n"
        "from durable_kernel.ports import CURRENT_LANE, Call, Outcome\n"
        "lane = CURRENT_LANE.get()\n"
        "began = time.time()\n"
        "step = lane.port.begin(lane, Call('http', 'GET http://a/', {'since': began}))\n"
        "lane.port.flush()\n"
        "step.settle(Outcome.of_value(1))"
    )

    kinds = [type(each) for each in _records(notebook) if isinstance(each, (Observed, Announced))]

    assert kinds == [Observed, Announced]


def test_a_call_on_disk_brings_the_readings_that_it_rests_on(
    notebook: Notebook, service: Service
) -> None:
    notebook.died("import time\nservice.look(f'since {time.time()}')\ndie()")

    notebook.replayed()

    assert len(service.requests) == 1


def _records(notebook: Notebook) -> list[Any]:
    with notebook.session() as session:
        run = session.run
        return [run._records.unpack(frame) for frame in scan(run.place.folder)]


@pytest.mark.parametrize("waits", ["draw", "registered secret"])
def test_what_is_not_as_usual_goes_the_long_way(notebook: Notebook, waits: str) -> None:
    notebook.names["exchanges"] = Exchanges()
    notebook.names["outcome"] = OUTCOMES[0]
    first = {
        "draw": "import os; os.urandom(4)",
        "registered secret": "CURRENT_LANE.get().port.secrets.register('k', '0123456789')",
    }[waits]

    notebook.lived(
        "from durable_kernel.ports import CURRENT_LANE",
        f"{first}\nexchanges.make(0, None, [b'{{}}'], (1, 0), outcome)",
    )

    assert [each.soft for each in _records(notebook) if isinstance(each, Called)] == [None]
