"""Outline: the whole journal folded once, and what each position keeps of it.

Per position: where its frames lie (extents), what it announced, how it ended. `timeline` builds the
history of one position from its extents when it is needed, so memory stays bounded by the largest.

`Branched(k)` takes positions >= k out of the timeline. With `reuses` they wait to be *donors*: a
later `Cell` names the one it takes the place of, and its `Reused` records point at calls of that
donor, or of the donor's own donors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from durable_kernel.history.lineage import Lineage
from durable_kernel.history.lives import Life
from durable_kernel.history.record_codec import RecordCodec
from durable_kernel.history.records import (
    Announced,
    Branched,
    Called,
    Cell,
    Choice,
    Committed,
    Crossed,
    Cut,
    Finished,
    Forked,
    Kept,
    Loaded,
    Opened,
    Record,
    Resolved,
    Resumed,
    Reused,
    Settled,
    Shutdown,
    Unsettled,
    Withdrawn,
)
from durable_kernel.journal import Frame

__all__ = ["Extent", "Outline", "PositionOutline"]

_OUTLINED = frozenset(
    each.CODE
    for each in (
        Opened,
        Cell,
        Resumed,
        Announced,
        Called,
        Settled,
        Crossed,
        Cut,
        Kept,
        Committed,
        Resolved,
        Branched,
        Shutdown,
        Finished,
        Unsettled,
        Withdrawn,
        Reused,
        Loaded,
        Forked,
    )
)


@dataclass(slots=True)
class Extent:
    """Consecutive frames in one segment: bytes [start, end) of its file."""

    segment: int
    start: int
    end: int


@dataclass(slots=True)
class PositionOutline:
    """What the timeline keeps of every position."""

    position: int
    cell: Cell
    extents: list[Extent] = field(default_factory=list)
    attempts: int = 1
    committed: Committed | None = None
    crossings: list[Crossed] = field(default_factory=list)
    kept: Kept | None = None
    cut: Cut | None = None
    """A signal broke into the computing of its last attempt."""
    loads: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, path and digest of the project code that it loaded, in order."""
    pending: dict[tuple[str, int], Announced] = field(default_factory=dict)
    """Announced and not settled, by lane and ordinal."""
    announced: list[Announced] = field(default_factory=list)
    """Acts begun here, in order, while the position is open; what a branch would leave behind."""
    calls: int = 0
    reused: int = 0
    """How many of the calls were answered with what an earlier attempt recorded."""
    lsn: int = 0
    """Of its `Cell` frame: the name of this attempt."""
    donor: PositionOutline | None = None
    left_by: Branched | None = None
    placed: dict[tuple[str, int], Announced] = field(default_factory=dict)
    """`announced` by lane and ordinal, once somebody reuses them."""

    def donors(self) -> Iterator[PositionOutline]:
        """Yield the attempts that this one may reuse, newest first."""
        each = self.donor
        while each is not None:
            yield each
            each = each.donor

    @property
    def is_tainted(self) -> bool:
        return any(each.is_act for each in self.crossings)

    @property
    def acts(self) -> list[Announced]:
        """Acts begun here: what a branch would leave behind."""
        return [each for each in self.announced if each.act]

    @property
    def is_input(self) -> bool:
        """True when it is no cell: a tool's request, or a widget's message."""
        return bool(self.cell.kind)

    @property
    def has_failed(self) -> bool:
        """True when its cell raised: the run goes on by running it again."""
        return (
            self.committed is not None
            and not self.is_input
            and self.committed.status == "error"
            and not self.committed.asked_exit
        )

    def reuse(self, record: Reused) -> None:
        """Count calls of an earlier attempt as calls of this one."""
        donor = list(self.donors())[record.back - 1]
        if not donor.placed:  # once: a cell that prints between its calls has a record for each
            donor.placed = {(each.lane, each.ordinal): each for each in donor.announced}
        for ordinal in range(record.ordinal, record.ordinal + record.count):
            place = (record.lane, ordinal)
            if (announced := donor.placed.get(place)) is None:
                continue
            self.announced.append(announced)
            if place in donor.pending:
                self.pending[place] = announced
        self.calls += record.count
        self.reused += record.count

    def note(self, record: Crossed | Cut | Kept | Loaded) -> None:
        """Take what is known of the position beside its calls."""
        match record:
            case Crossed():
                self.crossings.append(record)
            case Cut():
                self.cut = record
            case Kept():
                self.kept = record
            case Loaded():
                self.loads.append((record.name, record.path, record.digest))

    def unsettle(self, record: Unsettled) -> None:
        """Let a pending call not be repeated unasked again."""
        for index, each in enumerate(self.announced):
            if (each.lane, each.ordinal) == (record.lane, record.ordinal):
                again = record.put_on(each)
                self.announced[index] = self.pending[each.lane, each.ordinal] = again
                return

    def withdraw(self, record: Withdrawn) -> None:
        """Put the call back in doubt, and forget the calls its lane began after it."""
        for index, each in enumerate(self.announced):
            if (each.lane, each.ordinal) == (record.lane, record.ordinal):
                behind = self.announced[index + 1 :]
                void = [later for later in behind if later.lane == each.lane]
                self.announced[index + 1 :] = [later for later in behind if later.lane != each.lane]
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
        self.lives: list[Life] = []
        self.positions: list[PositionOutline] = []
        self.branches: list[Branched] = []
        self.waiting: list[PositionOutline] = []
        """Attempts left behind whose outcomes may be reused, and that nothing took the place of."""
        self.shutdown: Shutdown | None = None
        self.finished: Finished | None = None
        self.lineage = Lineage()
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
    def cells(self) -> list[PositionOutline]:
        """The positions without inputs."""
        return [each for each in self.positions if not each.is_input]

    @property
    def last_cell(self) -> PositionOutline | None:
        """The last cell; inputs may have come since."""
        return next((each for each in reversed(self.positions) if not each.is_input), None)

    @property
    def doubtful(self) -> PositionOutline | None:
        """The last position if it has acts without an outcome.

        It may be committed: then they are a thread's or a task's that outlived the cell.
        """
        last = self.positions[-1] if self.positions else None
        if last is None or not any(each.act for each in last.pending.values()):
            return None
        return last

    @property
    def status(self) -> str:
        """One word: new, finished, failed, interrupted, in doubt, or idle."""
        if not self.positions:
            return "new"
        if self.finished is not None:
            return "finished" if self.finished.status == "ok" else "failed"
        unfinished = self.open_position
        if unfinished is None:
            if self.doubtful is not None:
                return "in doubt"
            last = self.last_cell
            is_ok = last is None or last.committed is None or last.committed.status == "ok"
            return "idle" if is_ok else "failed"
        return "in doubt" if self.doubtful is not None else "interrupted"

    def add(self, frame: Frame) -> None:
        """Fold one frame. Payloads of observations, parts and outputs are not decoded."""
        self.last_lsn = frame.lsn
        if self.lives:
            self.lives[-1].add(frame)
        if frame.type not in _OUTLINED:
            if self._current is not None:
                self._current.add(frame)
            return
        record = self._records.unpack(frame)
        if isinstance(record, Cell):
            self._begin(record, frame.lsn)
        elif isinstance(record, Branched):
            self.branch(record)
        elif isinstance(record, Forked):
            self.fork(record)
        if self._current is not None:
            self._current.add(frame)
            self._fold_into(self._current, record)
        self._fold_run(record, frame.epoch)

    def branch(self, record: Branched) -> None:
        """Take the positions from `record.position` on out of the timeline."""
        self.branches.append(record)
        self.lineage.branch(record.position)
        left = [each for each in self.positions if each.position >= record.position]
        self.positions = self.positions[: len(self.positions) - len(left)]
        if not record.reuses:
            self.waiting = [each for each in self.waiting if each.position < record.position]
            left = []
        for each in left:
            each.left_by = record
        self.waiting = left + self.waiting
        self._current = None
        self.finished = None

    def fork(self, record: Forked) -> None:
        """Begin this run behind what was copied; the lives so far were another run's."""
        self.lineage.fork(record)
        self.positions = [each for each in self.positions if each.position < record.position]
        self.waiting = [each for each in self.waiting if each.position < record.position]
        self.lives, self.branches = [], []
        self._current = self.shutdown = self.finished = None

    def _begin(self, record: Cell, lsn: int) -> None:
        donor = next((each for each in self.waiting if each.lsn == record.donor), None)
        self.waiting = [each for each in self.waiting if each is not donor]
        self._current = PositionOutline(record.position, record, lsn=lsn, donor=donor)
        self.positions.append(self._current)
        if self.lives:
            self.lives[-1].newest = record.position
            self.lives[-1].cells += not self._current.is_input
        self.finished = None

    def _fold_run(self, record: Record, epoch: int) -> None:
        match record:
            case Opened():
                self.openers.append(record)
                self.lives.append(Life(record, epoch))
                self.shutdown = None
            case Shutdown():
                self.shutdown = record
                if self.lives:
                    self.lives[-1].shutdown = record
            case Finished():
                self.finished = record

    def _fold_into(self, current: PositionOutline, record: Record) -> None:
        match record:
            case Resumed():
                current.attempts += 1
                current.cut = None
            case Announced():
                current.pending[record.lane, record.ordinal] = record
                current.calls += 1
                current.announced.append(record)
            case Reused():
                current.reuse(record)
            case Called():
                current.calls += 1
                current.announced.append(record.unfold()[0])
            case Settled():
                current.pending.pop((record.lane, record.ordinal), None)
            case Unsettled():
                current.unsettle(record)
            case Withdrawn():
                current.withdraw(record)
            case Resolved(choice=choice) if choice != Choice.RETRY:
                current.pending.pop((record.lane, record.ordinal), None)
            case Crossed() | Cut() | Kept() | Loaded():
                current.note(record)
            case Committed():
                current.committed = record
                # What other lanes have under way goes on behind the cell.
                current.pending = {at: each for at, each in current.pending.items() if at[0]}
