"""Timeline: frames folded into positions.

Reads frames that somebody else scanned; decides nothing.

Two passes keep memory bounded by the largest position. `Outline` folds the whole journal once and
keeps, per position, where its frames lie (extents) and how it ended. `PositionHistory` is built
from one position's frames when it is needed.

A position may be attempted several times (a `Resumed` record for each further attempt): calls and
observations add up over the attempts, outputs and notes of earlier attempts are superseded.
`Branched(k)` takes positions >= k out of the timeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from durable_kernel.history.records import (
    Announced,
    Branched,
    Cell,
    Choice,
    Committed,
    Crossed,
    Finished,
    Head,
    Noted,
    Observed,
    Opened,
    Output,
    Part,
    Record,
    RecordCodec,
    Resolved,
    Resumed,
    Settled,
    Shutdown,
    Withdrawn,
)
from durable_kernel.journal import Frame, read_extent
from durable_kernel.ports import Ending

__all__ = [
    "CallHistory",
    "Extent",
    "Outline",
    "PositionHistory",
    "PositionOutline",
    "position_history",
]

_OUTLINED = frozenset(
    each.CODE
    for each in (
        Opened,
        Cell,
        Resumed,
        Announced,
        Settled,
        Crossed,
        Committed,
        Resolved,
        Branched,
        Shutdown,
        Finished,
        Withdrawn,
    )
)


@dataclass(slots=True)
class Extent:
    """Consecutive frames in one segment: bytes [start, end) of its file."""

    segment: int
    start: int
    end: int


@dataclass(slots=True)
class CallHistory:
    """One call of one lane, as far as the journal knows it."""

    announced: Announced
    head: Head | None = None
    parts: list[Part] = field(default_factory=list)
    settled: Settled | None = None
    resolved: Resolved | None = None
    """The last decision of a user; a retry that was not settled leaves the call in doubt again."""

    @property
    def is_complete(self) -> bool:
        """True when replay needs nothing more: settled, answered, or marked failed."""
        return self.settled is not None or (
            self.resolved is not None and self.resolved.choice != Choice.RETRY
        )


@dataclass(slots=True)
class PositionOutline:
    """What the timeline keeps of every position."""

    position: int
    cell: Cell
    extents: list[Extent] = field(default_factory=list)
    attempts: int = 1
    committed: Committed | None = None
    crossings: list[Crossed] = field(default_factory=list)
    pending: dict[tuple[str, int], Announced] = field(default_factory=dict)
    """Announced and not settled, by lane and ordinal."""
    announced: list[Announced] = field(default_factory=list)
    """Acts begun here, in order, while the position is open; what a branch would leave behind."""
    calls: int = 0

    @property
    def is_tainted(self) -> bool:
        return any(each.is_act for each in self.crossings)

    @property
    def acts(self) -> list[Announced]:
        """Acts begun here: what a branch would leave behind."""
        return [each for each in self.announced if each.act]

    def withdraw(self, record: Withdrawn) -> None:
        """Put the call back in doubt, and forget the calls begun after it."""
        for index, each in enumerate(self.announced):
            if (each.lane, each.ordinal) == (record.lane, record.ordinal):
                void = self.announced[index + 1 :]
                del self.announced[index + 1 :]
                self.calls -= len(void)
                for later in void:
                    self.pending.pop((later.lane, later.ordinal), None)
                self.pending[each.lane, each.ordinal] = each
                return

    def add(self, frame: Frame) -> None:
        last = self.extents[-1] if self.extents else None
        if last is not None and last.segment == frame.segment and last.end == frame.offset:
            last.end = frame.offset + frame.size
        else:
            self.extents.append(Extent(frame.segment, frame.offset, frame.offset + frame.size))


class Outline:
    """The whole run, folded.

    Feed it frames in order with `add`; read its attributes at any time.
    """

    def __init__(self, records: RecordCodec) -> None:
        self._records = records
        self.openers: list[Opened] = []
        self.positions: list[PositionOutline] = []
        self.branches: list[Branched] = []
        self.shutdown: Shutdown | None = None
        self.finished: Finished | None = None
        self.last_lsn = 0
        self._current: PositionOutline | None = None

    @classmethod
    def of(cls, frames: Iterable[Frame], records: RecordCodec) -> Outline:
        """Fold all frames; raises what the iterator of frames raises."""
        outline = cls(records)
        for frame in frames:
            outline.add(frame)
        return outline

    @property
    def genesis(self) -> bytes:
        """Seed of the generators, from the first opener."""
        return self.openers[0].genesis if self.openers else b""

    @property
    def open_position(self) -> PositionOutline | None:
        """The position that began and was never committed: the interrupted cell."""
        last = self.positions[-1] if self.positions else None
        return last if last is not None and last.committed is None else None

    @property
    def status(self) -> str:
        """One word: new, finished, failed, interrupted, in doubt, or idle."""
        if not self.positions:
            return "new"
        if self.finished is not None:
            return "finished" if self.finished.status == "ok" else "failed"
        unfinished = self.open_position
        if unfinished is None:
            last = self.positions[-1].committed
            return "idle" if last is None or last.status == "ok" else "failed"
        doubtful = any(each.act for each in unfinished.pending.values())
        return "in doubt" if doubtful else "interrupted"

    def add(self, frame: Frame) -> None:
        """Fold one frame. Payloads of observations, parts and outputs are not decoded."""
        self.last_lsn = frame.lsn
        if frame.type not in _OUTLINED:
            if self._current is not None:
                self._current.add(frame)
            return
        record = self._records.unpack(frame)
        if isinstance(record, Cell):
            self.positions.append(PositionOutline(record.position, record))
            self._current = self.positions[-1]
            self.finished = None
        elif isinstance(record, Branched):
            self._branch(record)
        if self._current is not None:
            self._current.add(frame)
            self._fold_into(self._current, record)
        self._fold_run(record)

    def _branch(self, record: Branched) -> None:
        self.branches.append(record)
        self.positions = [each for each in self.positions if each.position < record.position]
        self._current = None
        self.finished = None

    def _fold_run(self, record: Record) -> None:
        match record:
            case Opened():
                self.openers.append(record)
                self.shutdown = None
            case Shutdown():
                self.shutdown = record
            case Finished():
                self.finished = record

    def _fold_into(self, current: PositionOutline, record: Record) -> None:
        match record:
            case Resumed():
                current.attempts += 1
            case Announced():
                current.pending[record.lane, record.ordinal] = record
                current.calls += 1
                current.announced.append(record)
            case Settled():
                current.pending.pop((record.lane, record.ordinal), None)
            case Withdrawn():
                current.withdraw(record)
            case Resolved(choice=choice) if choice != Choice.RETRY:
                current.pending.pop((record.lane, record.ordinal), None)
            case Crossed():
                current.crossings.append(record)
            case Committed():
                current.committed = record
                current.pending.clear()


class PositionHistory:
    """Everything the journal knows of one position, ready for replay or for showing."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.position = cell.position
        self.calls: dict[str, list[CallHistory]] = {}
        self.soft: dict[tuple[str, str], list[Any]] = {}
        self.hard: dict[tuple[str, str], list[Any]] = {}
        self.outputs: list[Output] = []
        self.superseded: list[Output] = []
        self.notes: list[str] = []
        self.crossings: list[Crossed] = []
        self.committed: Committed | None = None
        self.attempts = 1
        self._before_interruption: dict[tuple[str, int], _Lengths] = {}
        self._unseen: tuple[CallHistory, _Lengths] | None = None

    @classmethod
    def of(cls, frames: Iterable[Frame], records: RecordCodec) -> PositionHistory:
        """Build from the frames of one position's extents, in order; the first is its `Cell`."""
        iterator = iter(frames)
        first = records.unpack(next(iterator))
        assert isinstance(first, Cell), "a position's extent begins with its Cell record"
        history = cls(first)
        for frame in iterator:
            history._add(records.unpack(frame))
        return history

    @property
    def source(self) -> str:
        return self.cell.source

    @property
    def is_tainted(self) -> bool:
        return any(each.is_act for each in self.crossings)

    def call(self, lane: str, ordinal: int) -> CallHistory | None:
        of_lane = self.calls.get(lane, [])
        return of_lane[ordinal] if ordinal < len(of_lane) else None

    def forget_unseen(self) -> None:
        """Drop what began to arrive in the last attempt and that nothing outside rests on.

        Of a call that was cut: its head, its parts, and what was observed since. A further attempt
        makes the call again as if it was only announced; so a repeated answer may be another one.
        """
        if self._unseen is not None:
            call, before = self._unseen
            call.head, call.parts, self._unseen = None, [], None
            self._shorten(before)

    def _add(self, record: Record) -> None:
        self._look_out(record)
        match record:
            case Observed():
                columns = self.hard if record.hard else self.soft
                columns.setdefault((record.lane, record.kind), []).extend(record.values)
            case Announced():
                self.calls.setdefault(record.lane, []).append(CallHistory(record))
            case Output():
                if record.late is None or record.late == self.position:
                    self.outputs.append(record)
            case Noted():
                self.notes.append(record.sentence)
            case Crossed():
                self.crossings.append(record)
            case Committed():
                self.committed = record
            case Resumed():
                self.attempts += 1
                self.superseded, self.outputs = self.outputs, []
                self.notes = []
            case _:
                self._add_to_call(record)

    def _look_out(self, record: Record) -> None:
        """Keep in mind the call whose answer arrives, until anything else is recorded."""
        match record:
            case Resumed():
                self.forget_unseen()
            case Head():
                self._unseen = self.calls[record.lane][record.ordinal], self._lengths()
            case Observed() | Opened() | Shutdown():
                pass
            case Part() if self._unseen is not None:
                if self.calls[record.lane][record.ordinal] is not self._unseen[0]:
                    self._unseen = None
            case _:
                self._unseen = None

    def _add_to_call(self, record: Record) -> None:
        match record:
            case Head():
                self.calls[record.lane][record.ordinal].head = record
            case Part():
                self.calls[record.lane][record.ordinal].parts.append(record)
            case Settled():
                if record.ending in (Ending.INTERRUPTED, Ending.ABANDONED):
                    self._before_interruption[record.lane, record.ordinal] = self._lengths()
                self.calls[record.lane][record.ordinal].settled = record
            case Withdrawn():
                self._withdraw(record)
            case Resolved() if record.position == self.position:
                self.calls[record.lane][record.ordinal].resolved = record
            case _:
                pass

    def _lengths(self) -> _Lengths:
        return _Lengths(
            {lane: len(calls) for lane, calls in self.calls.items()},
            {key: len(values) for key, values in self.soft.items()},
            {key: len(values) for key, values in self.hard.items()},
        )

    def _withdraw(self, record: Withdrawn) -> None:
        """Go back to the state just before this call ended as it did."""
        before = self._before_interruption[record.lane, record.ordinal]
        for lane, calls in self.calls.items():
            del calls[before.calls.get(lane, 0) :]
        self._shorten(before)
        interrupted = self.calls[record.lane][record.ordinal]
        interrupted.settled = None

    def _shorten(self, before: _Lengths) -> None:
        """Take the observations made since then out of the columns."""
        for key, values in self.soft.items():
            del values[before.soft.get(key, 0) :]
        for key, values in self.hard.items():
            del values[before.hard.get(key, 0) :]


def position_history(
    folder: Path, outline: PositionOutline, records: RecordCodec
) -> PositionHistory:
    """Read one position's frames again and build its history.

    Checks integrity, not authenticity: that was done when the outline was made.
    """
    frames = (
        frame
        for extent in outline.extents
        for frame in read_extent(folder, extent.segment, extent.start, extent.end - extent.start)
    )
    return PositionHistory.of(frames, records)


@dataclass(frozen=True, slots=True)
class _Lengths:
    """How many records a position had at some moment."""

    calls: dict[str, int]
    soft: dict[tuple[str, str], int]
    hard: dict[tuple[str, str], int]
