"""Timeline: frames folded into positions.

Reads frames that somebody else scanned; decides nothing.

Two passes keep memory bounded by the largest position. `outline` folds the whole journal once and
keeps, per position, where its frames lie (extents) and how it ended. `PositionHistory` is built
from one position's frames when it is needed.

A position may be attempted several times (a `Resumed` record for each further attempt): calls and
observations add up over the attempts, outputs and notes of earlier attempts are superseded.
Calls that a `Reused` record points at are the donor's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from durable_kernel.history.outline import PositionOutline
from durable_kernel.history.record_codec import RecordCodec
from durable_kernel.history.records import (
    Announced,
    Called,
    Cell,
    Choice,
    Committed,
    Crossed,
    Cut,
    Head,
    Kept,
    Loaded,
    Noted,
    Observed,
    Opened,
    Output,
    Part,
    Record,
    Resolved,
    Resumed,
    Reused,
    Settled,
    Shutdown,
    Turned,
    Unsettled,
    Withdrawn,
)
from durable_kernel.journal import Frame, read_extent
from durable_kernel.ports import Ending

__all__ = [
    "CallHistory",
    "PositionHistory",
    "Turn",
    "TurnKind",
    "position_history",
]


class TurnKind(Enum):
    """What reached a lane when it was its turn."""

    HEAD = "head"  # of a stream
    END = "end"  # the outcome of a call
    WORD = "word"  # a `Turned` record


class Turn(NamedTuple):
    """One delivery, in the order over all lanes of a position.

    `number` is the ordinal of the call, or the number of the word within its lane.
    """

    lane: str
    kind: TurnKind
    number: int
    pace: int
    is_after_commit: bool = False


@dataclass(slots=True)
class CallHistory:
    """One call of one lane, as far as the journal knows it."""

    announced: Announced
    head: Head | None = None
    parts: list[Part] = field(default_factory=list)
    settled: Settled | None = None
    resolved: Resolved | None = None
    """The last decision of a user; a retry that was not settled leaves the call in doubt again."""
    place: tuple[int, int] = (0, -1)
    """Where it was announced: `Cell.donor` of that attempt, and its position."""

    @property
    def is_complete(self) -> bool:
        """True when replay needs nothing more: settled, answered, or marked failed."""
        return self.settled is not None or (
            self.resolved is not None and self.resolved.choice != Choice.RETRY
        )


class PositionHistory:
    """Everything the journal knows of one position, ready for replay or for showing."""

    def __init__(self, cell: Cell, donors: Sequence[PositionHistory] = ()) -> None:
        self.cell = cell
        self.position = cell.position
        self.donors = donors
        self.reused: dict[str, int] = {}
        """How many calls of a lane, from its first on, an earlier attempt answered."""
        self.last_ended: CallHistory | None = None
        self.calls: dict[str, list[CallHistory]] = {}
        self.soft: dict[tuple[str, str], list[Any]] = {}
        self.hard: dict[tuple[str, str], list[Any]] = {}
        self.words: dict[str, list[Turned]] = {}
        self.turns: list[Turn] = []
        self.outputs: list[Output] = []
        self.superseded: list[Output] = []
        self.notes: list[str] = []
        self.loads: list[Loaded] = []
        self.crossings: list[Crossed] = []
        self.kept: Kept | None = None
        self.cut: Cut | None = None
        self.committed: Committed | None = None
        self.attempts = 1
        self._before_interruption: dict[tuple[str, int], _Lengths] = {}
        self._unseen: tuple[CallHistory, _Lengths] | None = None
        self._is_stopped = False

    @classmethod
    def of(
        cls,
        frames: Iterable[Frame],
        records: RecordCodec,
        donors: Sequence[PositionHistory] = (),
    ) -> PositionHistory:
        """Build from the frames of one position's extents, in order; the first is its `Cell`.

        `donors` are the attempts that its `Reused` records point at, newest first.
        """
        iterator = iter(frames)
        first = records.unpack(next(iterator))
        assert isinstance(first, Cell), "a position's extent begins with its Cell record"
        history = cls(first, donors)
        for frame in iterator:
            history._add(records.unpack(frame))
        history._give_back_cut_heads()
        return history

    @property
    def source(self) -> str:
        return self.cell.code

    @property
    def is_input(self) -> bool:
        """True when it is no cell: a tool's request, or a widget's message."""
        return bool(self.cell.kind)

    @property
    def was_cut(self) -> bool:
        """True when a signal broke into its computing, and that was not the stop of its kernel."""
        if self.committed is not None:
            return self.committed.inexact
        return self.cut is not None and not self._is_stopped

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
            self._shorten(before, call.announced.lane)

    def _add(self, record: Record) -> None:
        self._look_out(record)
        match record:
            case Observed():
                columns = self.hard if record.hard else self.soft
                columns.setdefault((record.lane, record.kind), []).extend(record.values)
            case Announced():
                place = (self.cell.donor, self.position)
                call = CallHistory(record, place=place)
                self.calls.setdefault(record.lane, []).append(call)
            case Called():
                self._add_whole(record)
            case Reused():
                self._reuse(record)
            case Output():
                if record.late is None or record.late == self.position:
                    self.outputs.append(record)
            case Noted():
                self.notes.append(record.sentence)
            case Crossed() | Cut() | Kept() | Loaded():
                self._note(record)
            case Committed():
                self.committed = record
            case Resumed():
                self.attempts += 1
                self.cut, self._is_stopped = None, False
                self.superseded, self.outputs = self.outputs, []
                self.notes = []
            case _:
                self._add_to_call(record)

    def _note(self, record: Crossed | Cut | Kept | Loaded) -> None:
        match record:
            case Crossed():
                self.crossings.append(record)
            case Cut():
                self.cut = record
            case Kept():
                self.kept = record
            case Loaded():
                self.loads.append(record)

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
                self._take_turn(record.lane, TurnKind.HEAD, record.ordinal, record.pace)
            case Part():
                self.calls[record.lane][record.ordinal].parts.append(record)
            case Turned():
                words = self.words.setdefault(record.lane, [])
                words.append(record)
                self._take_turn(record.lane, TurnKind.WORD, len(words) - 1, record.pace)
            case Settled():
                self._settle(record)
            case Unsettled():
                call = self.calls[record.lane][record.ordinal]
                call.announced = record.put_on(call.announced)
            case Withdrawn():
                self._withdraw(record)
            case Shutdown() if record.position == self.position:
                self._is_stopped = True
            case Resolved() if record.position == self.position:
                call = self.calls[record.lane][record.ordinal]
                call.resolved = record
                if call.is_complete:
                    self.last_ended = call
                    self._take_turn(record.lane, TurnKind.END, record.ordinal, 0)
            case _:
                pass

    def _settle(self, record: Settled) -> None:
        if record.ending in (Ending.INTERRUPTED, Ending.ABANDONED):
            self._before_interruption[record.lane, record.ordinal] = self._lengths()
        if record.ending == Ending.CARRIED:  # all of it is delivered where it ended
            self._give_back_turn(record.lane, TurnKind.HEAD, record.ordinal)
        else:
            self._take_turn(record.lane, TurnKind.END, record.ordinal, record.pace)
        self.last_ended = self.calls[record.lane][record.ordinal]
        self.last_ended.settled = record

    def _take_turn(self, lane: str, kind: TurnKind, index: int, pace: int) -> None:
        self.turns.append(Turn(lane, kind, index, pace, self.committed is not None))

    def _give_back_cut_heads(self) -> None:
        """In a committed position a call that was cut is delivered later, all of it."""
        if self.committed is None:
            return
        for lane, calls in self.calls.items():
            for ordinal, call in enumerate(calls):
                if lane and not call.is_complete and call.head is not None:
                    self._give_back_turn(lane, TurnKind.HEAD, ordinal)

    def _give_back_turn(self, lane: str, kind: TurnKind, number: int) -> None:
        for place in range(len(self.turns) - 1, -1, -1):
            turn = self.turns[place]
            if (turn.lane, turn.kind, turn.number) == (lane, kind, number):
                del self.turns[place]
                return

    def _add_whole(self, record: Called) -> None:
        for kind, values in (record.soft or {}).items():
            self.soft.setdefault((record.lane, kind), []).extend(values)
        announced, head, part, settled = record.unfold()
        call = CallHistory(announced, head, [] if part is None else [part], settled)
        call.place = (self.cell.donor, self.position)
        self.calls.setdefault(record.lane, []).append(call)
        if head is not None:
            self._take_turn(record.lane, TurnKind.HEAD, record.ordinal, 0)
        self._take_turn(record.lane, TurnKind.END, record.ordinal, 0)
        self.last_ended = call

    def _reuse(self, record: Reused) -> None:
        """Take calls of an earlier attempt as they stand there. One in doubt is so here too."""
        source = self.donors[record.back - 1].calls[record.lane]
        calls = self.calls.setdefault(record.lane, [])
        for call in source[record.ordinal : record.ordinal + record.count]:
            if call.is_complete:
                self.last_ended = call
                kind = TurnKind.END if call.head is None else TurnKind.HEAD
                self._take_turn(record.lane, kind, len(calls), record.pace)
            else:  # what becomes of it is recorded here, and is nothing of the donor's
                call = replace(call, parts=list(call.parts))  # noqa: PLW2901 - the one to keep
            calls.append(call)
        self.reused[record.lane] = len(calls)

    def _lengths(self) -> _Lengths:
        return _Lengths(
            {lane: len(calls) for lane, calls in self.calls.items()},
            {key: len(values) for key, values in self.soft.items()},
            {key: len(values) for key, values in self.hard.items()},
            {lane: len(words) for lane, words in self.words.items()},
            len(self.turns),
        )

    def _withdraw(self, record: Withdrawn) -> None:
        """Take its lane back to the state just before this call ended as it did.

        What other lanes did meanwhile has happened, and stays.
        """
        before = self._before_interruption[record.lane, record.ordinal]
        calls = self.calls[record.lane]
        del calls[before.calls.get(record.lane, 0) :]
        self._shorten(before, record.lane)
        calls[record.ordinal].settled = None

    def _shorten(self, before: _Lengths, lane: str) -> None:
        """Take what a lane observed since then, and its turns, away again."""
        for columns, lengths in ((self.soft, before.soft), (self.hard, before.hard)):
            for key, values in columns.items():
                if key[0] == lane:
                    del values[lengths.get(key, 0) :]
        del self.words.get(lane, [])[before.words.get(lane, 0) :]
        self.turns[before.turns :] = [
            turn for turn in self.turns[before.turns :] if turn.lane != lane
        ]


def position_history(
    folder: Path, outline: PositionOutline, records: RecordCodec
) -> PositionHistory:
    """Read one position's frames again and build its history.

    Checks integrity, not authenticity: that was done when the outline was made.
    """
    donors: list[PositionHistory] = []
    for each in reversed(list(outline.donors())):
        donors.insert(0, _history(folder, each, records, donors))
    return _history(folder, outline, records, donors)


def _history(
    folder: Path,
    outline: PositionOutline,
    records: RecordCodec,
    donors: Sequence[PositionHistory],
) -> PositionHistory:
    frames = (
        frame
        for extent in outline.extents
        for frame in read_extent(folder, extent.segment, extent.start, extent.end - extent.start)
    )
    return PositionHistory.of(frames, records, tuple(donors))


@dataclass(frozen=True, slots=True)
class _Lengths:
    """How many records a position had at some moment."""

    calls: dict[str, int]
    soft: dict[tuple[str, str], int]
    hard: dict[tuple[str, str], int]
    words: dict[str, int]
    turns: int
