"""Pending: what waits in memory on its way into the journal, and what becomes of it on a full disk.

Draws, soft columns and parts of streams wait until something leaves the process; then all of it
goes in one `write()` with the record that caused it. What the disk had no room for goes on waiting,
in order, so that nothing recorded later stands without what came before it.

An outcome that does not fit is *lost* (H34): its act is done, so a short record takes its place,
from the ballast. A stream that lost a part takes no more of them: what is recorded of a stream is a
prefix. Not locked: the port is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable_kernel.errors import JournalFullError, OutcomeNotStorableError
from durable_kernel.history import (
    Announced,
    Cell,
    Head,
    Noted,
    Observed,
    Reused,
    Turned,
)
from durable_kernel.journal import Journal
from durable_kernel.ports import Ending, Lane, Outcome, machinery
from durable_kernel.replay import Serve, Unfinished
from durable_kernel.runtime.steps import LiveStep
from durable_kernel.runtime.storing import Storing, announcement
from durable_kernel.runtime.watching import Watching

__all__ = ["Packed", "Pending", "lost_sentence"]

Packed = tuple[int, bytes]
"""A record as the journal takes it: frame type and payload."""

_CHANGES_NOTHING = frozenset({Cell.CODE, Observed.CODE, Noted.CODE})
"""Records that alone are no reason to keep a request that is no cell."""

_STREAM_BYTES_MAX = 1 << 20
"""Parts of streams wait in memory up to this size, then they are written."""


class Pending:
    """All that waits for one run's journal. `lanes` are those of the running position."""

    def __init__(self, journal: Journal, storing: Storing) -> None:
        self.lanes: list[Lane] = []
        self.is_held = False
        """All that waits is of a request that may have changed nothing."""
        self.counts: dict[str, int] = {}
        self._journal = journal
        self._storing = storing
        self.draws: list[tuple[str, str, Any]] = []
        self.reused: list[Reused | Turned] = []
        """Records that may still grow: of neighbours, one is written."""
        self.before_collecting: Callable[[], None] = lambda: None
        self.stream: list[tuple[LiveStep, bytes]] = []
        self._stream_bytes = 0
        self.packed: list[tuple[LiveStep | None, Packed]] = []
        self._lost: dict[LiveStep, JournalFullError] = {}
        self._watching = Watching(storing.secrets)
        self.whole: LiveStep | None = None
        """An observation that nothing of is written yet: it may end in one record."""

    def enter(self) -> None:
        """Begin a position: nothing counted."""
        self.counts = {}

    def take(self, lane: Lane) -> None:
        """Take what a lane that ends still holds."""
        if self.draws:
            self._collect_draws()
        self._collect_soft(lane)

    def count(self, kind: str, number: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + number

    def count_soft(self, step: LiveStep) -> None:
        """Count what the lane of an observation had observed before it."""
        for kind, values in (step.soft or {}).items():
            self.count(kind, len(values))

    # --- waiting ----------------------------------------------------------------------------------

    def add_draw(self, lane: Lane, kind: str, value: Any) -> None:
        self.draws.append((lane.path, kind, value))
        self.count(kind.partition("/")[0])

    def add_reused(self, lane: Lane, found: Serve | Unfinished, kind: str, pace: int = 0) -> None:
        """Note that a call was answered by an earlier attempt; neighbours share a record."""
        new = Reused(lane=lane.path, ordinal=found.ordinal, back=found.back, pace=pace)
        last = self.reused[-1] if self.reused else new
        if (
            isinstance(last, Reused)
            and last.ordinal + last.count == new.ordinal
            and (last.lane, last.back, last.pace) == (new.lane, new.back, new.pace)
        ):
            last.count += 1
        else:
            self.reused.append(new)
        self.count(kind)
        if isinstance(found, Unfinished):
            self.append([])  # whoever decides about it has to find it in this attempt

    def write_before_egress(self) -> None:
        """Write what waits, if anything does: the outside may come to depend on it."""
        waits = bool(self.packed or self.draws or self.reused or self.stream or self.whole)
        for lane in self.lanes:
            waits = waits or lane.has_pending
        if waits:
            self.append([])

    def begin_whole(self, step: LiveStep) -> None:
        """Let the announcement of an observation wait for the rest of it.

        Whatever else is written before it ends puts it on disk in its place.
        """
        self.whole = step
        self.count(step.call.kind)

    def add_packed(self, packed: list[Packed]) -> None:
        """Let packed records wait their turn."""
        self._unfold_whole()
        self._collect_reused()
        self.packed += [(None, each) for each in packed]

    def add_word(self, word: Turned) -> None:
        """Let a lane's word wait, behind all that was delivered before it."""
        self._unfold_whole()
        self._collect_reused()
        if self.stream:
            self._collect_stream()
        self.packed.append((None, self._storing.pack(word)))

    def add_growing(self, word: Turned) -> None:
        """Let a word wait that may still change until `before_collecting` is called."""
        self._unfold_whole()
        self._collect_reused()
        if self.stream:
            self._collect_stream()
        self.reused.append(word)

    def add_head(self, step: LiveStep, head: Any, pace: int = 0) -> None:
        self._unfold_whole()
        self._add_head(step, head, self._storing.head(head), pace)

    def _add_head(self, step: LiveStep, head: Any, value: Any, pace: int) -> None:
        record = Head(ordinal=step.ordinal, lane=step.lane, value=value, pace=pace)
        self._collect_reused()
        self._collect_stream()
        self.packed.append((step, self._storing.pack(record)))
        self._watching.begin(step, head, has_secrets=value is not head)

    def add_part(self, step: LiveStep, data: bytes) -> None:
        if step in self._lost:
            return
        self._unfold_whole()
        self.stream.append((step, data))
        self._stream_bytes += len(data)
        if self._stream_bytes > _STREAM_BYTES_MAX:
            try:
                self.append([])
            except JournalFullError as error:
                self._lose(step, error)

    # --- what may come to nothing -----------------------------------------------------------------

    def hold(self, beginning: Packed) -> None:
        """Begin a position that is written with its first effect, or not at all (H38)."""
        self.append([])
        self.packed = [(None, beginning)]
        self.is_held = True

    def discard(self) -> bool:
        """Forget the position that was held. False: something of it is to stay."""
        if not self.is_held:
            return False
        self.collect()
        if any(kind not in _CHANGES_NOTHING for _, (kind, _) in self.packed):
            return False
        self.packed.clear()
        self.is_held = False
        return True

    # --- writing ----------------------------------------------------------------------------------

    def append(self, packed: list[Packed], *, sync: bool = False) -> None:
        """Write records behind everything that waits. On a full disk what waits goes on waiting."""
        self.collect()
        frames = [each for _, each in self.packed] + packed
        if self.is_held and all(kind in _CHANGES_NOTHING for kind, _ in frames):
            self.packed += [(None, each) for each in packed]
            return
        self.is_held = False
        if frames:
            self._journal.append(frames, sync=sync)
        self.packed.clear()

    def settle(
        self, step: LiveStep, outcome: Outcome, generators: Any, pace: int = 0
    ) -> JournalFullError | None:
        """Write an outcome; return the error if it was lost.

        Raises OutcomeNotStorableError when nothing carries its value: that is the outcome then.
        """
        unstorable: OutcomeNotStorableError | None = None
        try:
            if (error := self._lost.pop(step, None)) is not None:
                raise error
            if self.whole is not None and self._settle_whole(step, outcome, generators, pace):
                return None
            if self.stream:
                self._collect_stream()  # all of it has to be looked at
            found = self._watching.end(step)
            try:
                with machinery():  # a pickler draws ids and imports modules: that is no cell's
                    packed = self._storing.settled(
                        step.lane, step.ordinal, outcome, generators, pace, found
                    )
            except OutcomeNotStorableError as refusal:
                unstorable = OutcomeNotStorableError(step.label, refusal.type_name, refusal.reason)
                failed = Outcome.of_error(unstorable)
                packed = self._storing.settled(step.lane, step.ordinal, failed, generators, pace)
            self.append([packed])
        except JournalFullError as error:
            self._append_lost(step, outcome)
            return error
        if unstorable is not None:
            raise unstorable
        return None

    def _settle_whole(self, step: LiveStep, outcome: Outcome, generators: Any, pace: int) -> bool:
        """Write an observation in one record, if it is a plain one. Tells whether it was."""
        is_plain = outcome.ending is Ending.VALUE and generators is None and pace == 0
        packed = None
        if is_plain and self.whole is step:
            packed = self._storing.whole(step, outcome.value)
        if packed is None:
            self._unfold_whole()
            return False
        self.whole = None
        try:
            self.append([packed])
        except JournalFullError:
            self.whole = step
            raise
        self.count_soft(step)
        return True

    def _unfold_whole(self) -> None:
        """Put what waits of an observation into records of their own."""
        step, self.whole = self.whole, None
        if step is None:
            return
        self._collect_reused()
        self.packed += [(None, each) for each in self._announced(step)]
        if step.told is not None:
            self._add_head(step, step.told, step.told, 0)
        for piece in step.pieces:
            self.stream.append((step, piece))
        self._stream_bytes += sum(map(len, step.pieces))

    def _announced(self, step: LiveStep) -> list[Packed]:
        """Pack the announcement of an observation, behind what its lane had observed by then."""
        column = self._storing.column
        packed = [column(step.lane, kind, values) for kind, values in (step.soft or {}).items()]
        self.count_soft(step)
        record = announcement(step.lane, step.ordinal, step.call, step.call.repeat, step.wall_ns)
        return [*packed, self._storing.pack(record)]

    def _append_lost(self, step: LiveStep, outcome: Outcome) -> None:
        """Record, before anything that waits, that this outcome is lost."""
        packed = []
        if self.whole is step:
            packed = self._announced(step)
            self.whole = None
        self._drop_parts(step)
        lost = Outcome(Ending.LOST, {"ending": int(outcome.ending)})
        packed.append(self._storing.settled(step.lane, step.ordinal, lost, None))
        try:
            self._journal.append_emergency(packed)
        except JournalFullError:  # another outcome had the ballast before; this one waits for room
            self.packed[:0] = [(None, each) for each in packed]

    # --- collecting -------------------------------------------------------------------------------

    def collect(self) -> None:
        """Pack everything that waits: hard draws, what was reused, soft columns, then streams."""
        if self.whole is not None:
            self._unfold_whole()
        if self.draws:
            self._collect_draws()
        if self.reused:
            self._collect_reused()
        for lane in self.lanes:
            self._collect_soft(lane)
        if self.stream:
            self._collect_stream()

    def _collect_soft(self, lane: Lane) -> None:
        for kind, values in lane.take_pending():
            self.packed.append((None, self._storing.column(lane.path, kind, values)))
            self.count(kind, len(values))

    def _collect_draws(self) -> None:
        pack = self._storing.records.pack
        draws, self.draws = self.draws, []
        columns: dict[tuple[str, str], list[Any]] = {}
        for lane_path, kind, value in draws:
            columns.setdefault((lane_path, kind), []).append(value)
        for (lane_path, kind), values in columns.items():
            record = Observed(lane=lane_path, kind=kind, values=values, hard=True)
            self.packed.append((None, pack(record)))

    def _collect_reused(self) -> None:
        self.before_collecting()
        pack = self._storing.records.pack
        reused, self.reused = self.reused, []
        self.packed += [(None, pack(each)) for each in reused]

    def _collect_stream(self) -> None:
        stream, self.stream, self._stream_bytes = self.stream, [], 0
        pieces: list[bytes] = []
        for index, (step, data) in enumerate(stream):
            pieces.append(data)
            is_last_of_step = index + 1 == len(stream) or stream[index + 1][0] is not step
            if is_last_of_step:
                self._pack_part(step, pieces)
                pieces = []

    def _pack_part(self, step: LiveStep, pieces: list[bytes]) -> None:
        if step in self._lost:
            return
        try:
            content = b"".join(pieces)
            sizes = [len(piece) for piece in pieces]
            is_sealed = self._watching.must_seal(step, content)
            packed = self._storing.part(
                step.lane, step.ordinal, sizes, content, is_sealed=is_sealed
            )
        except JournalFullError as error:  # no room for its blob
            self._lose(step, error)
            return
        self.packed.append((step, packed))

    def _lose(self, step: LiveStep, error: JournalFullError) -> None:
        """Record no more of a stream; the one who reads it goes on reading."""
        self._lost[step] = error
        self._drop_parts(step)

    def _drop_parts(self, step: LiveStep) -> None:
        """Forget what waits of a stream. What is recorded already stays: it is a prefix."""
        self.packed = [each for each in self.packed if each[0] is not step]
        self.stream = [each for each in self.stream if each[0] is not step]
        self._stream_bytes = sum(len(data) for _, data in self.stream)


def lost_sentence(where: str, announced: Announced) -> str:
    """Say why a run can't be replayed past an outcome that was lost."""
    return (
        f"{where}: {announced.label} happened, but the disk was full and its answer was not "
        "recorded. The run can't be replayed past here. %durable fresh starts a new run (this one "
        "is kept)."
    )
