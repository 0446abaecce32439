"""A lane that has done all that is recorded may be ahead of the others of its cell.

Its clock readings are recorded from there on, though the cell is not live yet: else the next replay
hands each reading to the one before.
"""

from __future__ import annotations

import math

from durable_kernel.history import Observed, PositionHistory
from durable_kernel.ports import Lane, Source
from durable_kernel.replay import PositionReplay
from durable_kernel.runtime.sources import RecordedSource, source_of
from durable_kernel.testing.fake_port import FakePort
from tests.history.folding import cell, committed, history_of

_DRAW = Observed(lane="", kind="os.urandom/8", values=[b"12345678"], hard=True)


def _clock(*values: float, lane: str = "/t1") -> Observed:
    return Observed(lane=lane, kind="time.time", values=list(values))


class _Reader:
    """The clock of one lane in a position with this history."""

    def __init__(self, history: PositionHistory, *, is_open: bool, lane: str = "/t1") -> None:
        self.replay = PositionReplay(history, is_open=is_open)
        self.sources: list[RecordedSource] = []
        self.lane = Lane(lane, FakePort(), self._source)

    def _source(self, kind: str) -> Source | None:
        return source_of(self.lane, kind, self.replay, self.sources)

    def read(self) -> float:
        source = self.lane.replay["time.time"]
        assert source is not None, "nothing is live here"
        return float(source(lambda: math.inf))

    @property
    def recorded(self) -> dict[str, list[float]]:
        return dict(self.lane.take_pending())


def test_a_lane_that_is_ahead_of_the_others_records_what_it_reads() -> None:
    reader = _Reader(history_of(cell(), _clock(1.0), _DRAW), is_open=True)

    values = [reader.read() for _ in range(3)]

    assert values[0] == 1.0
    assert reader.recorded == {"time.time": values[1:]}
    assert [each.beyond for each in reader.sources] == [0]


def test_what_it_read_ahead_comes_again_in_the_next_replay() -> None:
    first = _Reader(history_of(cell(), _clock(1.0), _DRAW), is_open=True)
    values = [first.read() for _ in range(3)]
    later = _clock(*first.recorded["time.time"])

    second = _Reader(history_of(cell(), _clock(1.0), _DRAW, later, committed()), is_open=False)

    assert [second.read() for _ in range(3)] == values


def test_a_lane_with_records_left_reads_more_often_than_it_did() -> None:
    """H31: this is drift; it is counted, and the journal stays as it is."""
    reader = _Reader(history_of(cell(), _clock(1.0, lane=""), _DRAW), is_open=True, lane="")

    values = [reader.read() for _ in range(2)]

    assert values[0] < values[1] < math.inf
    assert reader.recorded == {}
    assert [each.beyond for each in reader.sources] == [1]


def test_a_cell_that_is_over_records_nothing_more() -> None:
    """H31."""
    reader = _Reader(history_of(cell(), _clock(1.0), committed()), is_open=False)

    values = [reader.read() for _ in range(2)]

    assert values[0] < values[1] < math.inf
    assert reader.recorded == {}
    assert [each.beyond for each in reader.sources] == [1]
