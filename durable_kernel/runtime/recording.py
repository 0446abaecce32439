"""Recording: the half of the port that writes.

Calls on their way into the journal: announced, delivered in part or whole, settled, carried into
the next position. Everything here runs under the port's lock, with SIGINT deferred (H5).

Order of a live call: pending observations of every lane and the announcement leave in one
`write()`; an act's announcement is synced (rule 2); only then is the step handed out. An
observation's announcement may wait for the rest of it (ADR 0009).
"""

from __future__ import annotations

import threading
from typing import Any

from durable_kernel.codec import is_small_tree
from durable_kernel.errors import JournalFullError, RunSuspendedError, Stop
from durable_kernel.history import INLINE_BYTES_MAX, CallHistory, Cut, Record, Resolved
from durable_kernel.journal import Journal
from durable_kernel.ports import (
    REPEATABLE,
    Act,
    Call,
    Ending,
    ErrorFacts,
    Lane,
    Outcome,
    Repeat,
)
from durable_kernel.replay import GoLive, PositionReplay
from durable_kernel.runtime.crowd import Crowd
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.observing import Observing
from durable_kernel.runtime.pending import Packed, Pending
from durable_kernel.runtime.steps import LiveStep, StepKey
from durable_kernel.runtime.storing import Storing
from durable_kernel.runtime.world import World

__all__ = ["Recording"]

_KEYBOARD = "builtins:KeyboardInterrupt"
_INTERRUPTS = frozenset({_KEYBOARD, "asyncio.exceptions:CancelledError"})  # sync cells, async ones
_DECLARED = Repeat(float("inf"), "declared idempotent")


class Recording:
    """Writes the calls of one run. `crowd` and `observing` are the port's, and set by it."""

    crowd: Crowd
    observing: Observing
    closed: Stop | None = None
    latch: Stop | None = None
    run_id: str
    position: int

    def __init__(
        self, journal: Journal, storing: Storing, *, world: World, interrupts: Interrupts
    ) -> None:
        self.lock = threading.RLock()
        self.interrupts = interrupts
        self.interrupts_recorded = 0
        self.cut_call: tuple[str, int] | None = None
        self.lost: list[str] = []
        """Labels of calls whose outcome found no room: no process replays past the first one."""
        self._is_cut = False
        self._journal = journal
        self._storing = storing
        self._world = world
        self._replay = PositionReplay(None, is_open=True)
        self._pending = Pending(journal, storing)
        self.open_steps: list[LiveStep] = []
        self.main: Lane | None = None

    def carry(self) -> list[LiveStep]:
        """Before a new position: calls of other lanes that are under way go with them."""
        with self.interrupts, self.lock:
            carried = list(self.open_steps)
            for step in carried:
                moved = Outcome(Ending.CARRIED)
                packed = self._storing.settled(step.lane, step.ordinal, moved, None)
                self._pending.add_packed([packed])
            return carried

    def announce_again(self, steps: list[LiveStep]) -> None:
        """Announce carried calls in the position that has begun."""
        with self.interrupts, self.lock:
            for step in steps:
                verdict = self._replay.ask_call(step.owner.path, step.call)
                assert isinstance(verdict, GoLive), "the position is new"
                step.lane, step.ordinal = step.owner.path, verdict.ordinal
                packed = self._storing.announced(
                    step.lane, step.ordinal, step.call, step.call.repeat, step.wall_ns
                )
                self._pending.add_packed([packed])
            if steps:
                self.write_packed([])

    def write(self, *records: Record, sync: bool = False) -> None:
        """Write records behind everything that waits, in one `write()`."""
        with self.interrupts, self.lock:
            self.write_packed([self._storing.pack(each) for each in records], sync=sync)

    def write_packed(self, packed: list[Packed], *, sync: bool = False) -> None:
        """Write packed records behind everything that waits.

        On a full disk what waits goes on waiting.
        """
        with self.interrupts, self.lock:
            self._pending.append([*self._cut_here(), *packed], sync=sync)

    def _cut_here(self) -> list[Packed]:
        """Record, before anything else leaves, that a signal broke into the cell's computing."""
        main = self.main
        if (
            self._is_cut
            or not self.interrupts.has_broken_in(self.interrupts_recorded)
            or main is None
            or main.has_ended
            or main.root_thread != threading.get_ident()
            or not self._replay.is_live
        ):
            return []
        self._is_cut = True
        return [self._storing.pack(Cut(by=self.interrupts.last))]

    def hold_position(self, beginning: Record) -> None:
        """Begin a position that is written with its first effect, or never."""
        with self.interrupts, self.lock:
            self._pending.hold(self._storing.pack(beginning))

    def discard_position(self) -> bool:
        """Forget a position that is held. False: something of it is written, so it stays."""
        with self.interrupts, self.lock:
            return self._pending.discard()

    def write_soon(self, packed: Packed) -> None:
        """Let a record wait for whatever leaves the process next."""
        with self.interrupts, self.lock:
            self._pending.add_packed([packed])

    def close(self) -> None:
        """Let threads that are left end at their next effect. The run writes what waits before."""
        with self.lock:
            self.closed = RunSuspendedError("the run is closed")

    def close_steps(self) -> None:
        """At a position's end: whatever was begun and not settled was abandoned (H17)."""
        with self.interrupts, self.lock:
            for step in [each for each in self.open_steps if self._is_over(each.owner)]:
                step.settle(
                    Outcome(Ending.ABANDONED, None, ErrorFacts("builtins:GeneratorExit", ""))
                )

    async def reach(self, step: LiveStep) -> None:
        await self.crowd.reach(step.owner)

    def record_head(self, step: LiveStep, head: Any) -> None:
        """Record a head. It may wait with its announcement if it holds no secret.

        One that does has to be registered at once; it is in no tree of plain values.
        """
        pending = self._pending
        if pending.whole is step and not self.crowd.turnstile.is_crowded and is_small_tree(head):
            with self.lock:  # nothing is written: an interrupt does no harm
                if pending.whole is step:
                    step.told = head
                    return
        with self.interrupts, self.crowd.passing(step.owner) as pace:
            self.raise_closed()
            pending.add_head(step, head, pace)

    def record_part(self, step: LiveStep, data: bytes) -> None:
        pending = self._pending
        if pending.whole is step and not self.crowd.turnstile.is_crowded:
            with self.lock:  # as for a head
                size_bytes = step.size_bytes + len(data)
                if pending.whole is step and size_bytes <= INLINE_BYTES_MAX:
                    step.size_bytes = size_bytes
                    step.pieces.append(data)
                    return
        with self.interrupts, self.lock:
            pending.add_part(step, data)

    def record_stray(self) -> None:
        """Report a stream that is read on after the cell that opened it: that is not recorded."""
        self._world.crossing("reads on an answer that an earlier cell began to read", is_act=True)

    def record_end(self, step: LiveStep, outcome: Outcome) -> None:
        if (
            outcome.ending is Ending.VALUE
            and self._pending.whole is step
            and self.observing.end(step, outcome.value)
        ):
            return
        if self.latch is not None and outcome.ending is Ending.ABANDONED:
            self.forget(step)  # by the stop, not by the cell: whoever goes on makes the call again
            return
        with self.interrupts, self.crowd.passing(step.owner, outcome.ending) as pace:
            if self.closed is not None:
                self.raise_closed()
            self.forget(step)
            if outcome.ending is Ending.ABANDONED:
                self._note_cut(step, outcome)
            changed = None
            if step.generators_before is not None:
                self._pending.before_collecting()  # who draws next asks, and waits for this
                changed = self._world.generators_after(step.generators_before)
            lost_by = self._pending.settle(step, outcome, changed, pace)
        if lost_by is not None:
            self.lost.append(step.label)
            self._world.tell(
                f"{self._world.where()}: the answer of {step.label} could not be recorded: "
                f"{lost_by.path.parent} has no room ({lost_by.reason}). The cell has it and "
                "goes on, but no later process can: the run is replayed up to this call, and stops "
                "there. Save now what you want to keep."
            )

    def _note_cut(self, step: LiveStep, outcome: Outcome) -> None:
        """Keep in mind the call that an interrupt ended, until another one begins."""
        by = outcome.error.type_path if outcome.error is not None else ""
        if by in _INTERRUPTS:
            self.cut_call = (step.lane, step.ordinal)
            self.interrupts_recorded += by == _KEYBOARD or self.interrupts.is_cancelling
            self.interrupts.is_cancelling = False

    def _announce(self, lane: Lane, call: Call, ordinal: int, key: StepKey) -> LiveStep:
        if call.act is Act.OBSERVATION and not self.crowd.turnstile.is_crowded:
            return self._observe(lane, call, ordinal, key)
        repeat = _DECLARED if REPEATABLE.get() else call.repeat
        is_synced = call.act in (Act.REMOTE, Act.PROCESS, Act.COMMIT)
        wall_ns = self._world.wall_ns()
        packed = self._storing.announced(lane.path, ordinal, call, repeat, wall_ns)
        self.cut_call = None
        try:
            if is_synced:
                self._require_ballast()
            self.write_packed([packed], sync=is_synced)
        except JournalFullError as error:
            # User code sees this, and may go on: so it is an outcome, written when there is room.
            refused = self._storing.settled(lane.path, ordinal, Outcome.of_error(error), None)
            self._pending.add_packed([packed, refused])
            raise
        self._pending.count(call.kind)
        return self.make_live(lane, ordinal, key, call, wall_ns=wall_ns)

    def _observe(self, lane: Lane, call: Call, ordinal: int, key: StepKey) -> LiveStep:
        """Begin an observation: its announcement need not be on disk, only what it may rest on."""
        wall_ns = self._world.wall_ns()
        self.cut_call = None
        try:
            self._pending.write_before_egress()
        except JournalFullError as error:
            announced = self._storing.announced(lane.path, ordinal, call, call.repeat, wall_ns)
            refused = self._storing.settled(lane.path, ordinal, Outcome.of_error(error), None)
            self._pending.add_packed([announced, refused])
            raise
        step = self.make_live(lane, ordinal, key, call, wall_ns=wall_ns)
        self._pending.begin_whole(step)
        return step

    def make_live(
        self,
        lane: Lane,
        ordinal: int,
        key: StepKey,
        call: Call,
        cut: CallHistory | None = None,
        wall_ns: int = 0,
    ) -> LiveStep:
        announced_ns = wall_ns if cut is None else cut.announced.wall_ns
        step = LiveStep(self, call, announced_ns, lane, ordinal, key)
        if cut is not None:
            step.repeat(cut)
            step.go_on_behind(self.head_of(cut), self._storing.parts_of(cut))
        if call.runs_user_code:
            step.generators_before = self._world.generators_before()
        self.open_steps.append(step)
        return step

    def forget(self, step: LiveStep) -> None:
        if step in self.open_steps:
            self.open_steps.remove(step)

    def write_resolved(self, decision: Resolved) -> None:
        """Write a user's decision, synced."""
        self.write_packed([self._storing.resolved(decision)], sync=True)

    def _require_ballast(self) -> None:
        if not self._journal.has_ballast and not self._journal.restore_ballast():
            raise JournalFullError(
                self._journal.folder, 64 * 1024, "the reserve for outcomes is used up"
            )

    def _is_over(self, lane: Lane) -> bool:
        return lane.has_ended or lane is self.main or lane not in self.crowd.turnstile.lanes

    # --- what the port adds -----------------------------------------------------------------------

    def raise_closed(self) -> None:
        """Raise what keeps this run from going on, if anything does."""
        raise NotImplementedError

    def head_of(self, call: CallHistory) -> Any:
        """Read a recorded head."""
        raise NotImplementedError
