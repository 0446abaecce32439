"""Sources: recorded soft observations, handed back one by one; then the world is read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from durable_kernel.ports import Lane, Source
from durable_kernel.replay import PositionReplay

__all__ = ["RecordedSource", "source_of"]


class RecordedSource:
    """The column of one soft kind in one lane. `serve` is what the hooks call.

    Used up and live: the kind reads the world from then on. Used up and still replaying: it gets
    the last value, one tick later. Where the lane has records left, the code reads a clock more
    often than it did, which is counted in `beyond` (H31). Where it has none, it only is ahead of
    the other lanes of a cell that was cut, and what it gets is recorded as any reading: the next
    replay finds it in this column. Where the attempt has a donor, its values come before the
    world's.
    """

    __slots__ = ("_kind", "_lane", "_last", "_replay", "_values", "beyond", "serve")

    def __init__(self, values: list[Any], kind: str, lane: Lane, replay: PositionReplay) -> None:
        self._values = deque(values)
        self._last = values[-1] if values else None
        self._kind = kind
        self._lane = lane
        self._replay = replay
        self.beyond = 0
        take = self._values.popleft

        def serve(read: Callable[[], Any]) -> Any:  # a closure: an object's __call__ costs double
            try:
                return take()
            except IndexError:
                return self._go_beyond(read)

        self.serve: Source = serve

    def is_in(self, lane: Lane) -> bool:
        return self._lane is lane

    def is_of(self, lane: Lane, kind: str) -> bool:
        return self._lane is lane and self._kind == kind

    @property
    def left(self) -> int:
        """Recorded values that nobody asked for yet."""
        return len(self._values)

    def _go_beyond(self, read: Callable[[], Any]) -> Any:
        if self._replay.is_live:
            donor = self._replay.donor
            seen = donor.see(self._lane.path, self._kind) if donor is not None else None
            if seen is None:
                self._lane.make_live(self._kind)
                seen = (read(),)
            (value,) = seen
            self._lane.record[self._kind](value)
            return value
        self._last = _tick(self._last) if self._last is not None else read()
        if self._replay.is_open and not self._replay.has_more(self._lane.path):
            self._lane.record[self._kind](self._last)
        else:
            self.beyond += 1
        return self._last


def _tick(value: Any) -> Any:
    if type(value) is float:
        return math.nextafter(value + 1e-9, math.inf)
    return value + 1 if type(value) is int else value


def source_of(
    lane: Lane, kind: str, replay: PositionReplay, sources: list[RecordedSource]
) -> Source | None:
    """Make the recorded source of one kind; None when it is to be read from the world."""
    values = replay.take_soft(lane.path, kind)
    if not values and replay.is_live and replay.donor is None:
        return None
    source = RecordedSource(values, kind, lane, replay)
    sources.append(source)
    return source.serve
