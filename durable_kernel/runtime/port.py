"""The port: carries out what the replay machine decides.

The one place where an effect meets the journal.

Order of a live call: pending observations of every lane and the announcement leave in one
`write()`; an act's announcement is synced (rule 2); only then is the step handed out. Everything
the port does runs under one lock, with SIGINT deferred (H5).

The latch (H3): once the run diverged or stopped, every later `begin` and every crossing raises it,
whatever was caught meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from durable_kernel.codec import KnownSecrets
from durable_kernel.errors import (
    ActNotRepeatedError,
    DivergenceError,
    DurableError,
    JournalFullError,
    RequestInterrupted,
    RunSuspendedError,
    Stop,
)
from durable_kernel.history import (
    Announced,
    CallHistory,
    Choice,
    Noted,
    Record,
    Resolved,
)
from durable_kernel.journal import Journal
from durable_kernel.ports import (
    REPEATABLE,
    Act,
    AnswerParser,
    Call,
    Ending,
    ErrorFacts,
    HostRules,
    Lane,
    Outcome,
    Repeat,
    Step,
    suspended,
)
from durable_kernel.replay import (
    Diverges,
    Doubt,
    GoLive,
    InDoubtPolicy,
    PositionReplay,
    Serve,
    ServeValue,
    Unfinished,
    decide_doubt,
    names_interruption,
)
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.parking import Parked
from durable_kernel.runtime.pending import Packed, Pending, lost_sentence
from durable_kernel.runtime.reusing import drawn_before, made_before, step_key
from durable_kernel.runtime.sources import RecordedSource, source_of
from durable_kernel.runtime.steps import LiveStep, RecordedStep, StepKey, UnjournaledStep
from durable_kernel.runtime.storing import Storing
from durable_kernel.runtime.world import World

__all__ = ["RunPort"]

_KEYBOARD = "builtins:KeyboardInterrupt"
_INTERRUPTS = frozenset({_KEYBOARD, "asyncio.exceptions:CancelledError"})  # sync cells, async ones
_DECLARED = Repeat(float("inf"), "declared idempotent")


class RunPort:
    """Implements `ports.Port` for one run; pointed at one position after the other."""

    def __init__(
        self,
        journal: Journal,
        storing: Storing,
        *,
        secrets: KnownSecrets,
        world: World,
        policy: InDoubtPolicy,
        interrupts: Interrupts,
        leave: Callable[[int], None],
        hosts: HostRules | None = None,
    ) -> None:
        self.run_id = journal.run_id
        self.hosts = hosts or HostRules()
        self.secrets = secrets
        self.latch: Stop | None = None
        self.parked: Parked | None = None
        self.position = -1
        self.lock = threading.RLock()
        self.interrupts_recorded = 0
        self.interruption: tuple[str, int] | None = None
        self.cut_call: tuple[str, int] | None = None
        self._journal = journal
        self._storing = storing
        self._world = world
        self._policy = policy
        self._interrupts = interrupts
        self._leave = leave
        self._replay = PositionReplay(None, is_open=True)
        self._pending = Pending(journal, storing)
        self._sources: list[RecordedSource] = []
        self._open_steps: list[LiveStep] = []

    # --- for the runtime --------------------------------------------------------------------------

    def enter_position(self, position: int, replay: PositionReplay) -> Lane:
        """Point the port at a position. Returns the lane of its cell."""
        with self.lock:
            self.position = position
            self._replay = replay
            self.interrupts_recorded = 0
            self.interruption = None
            self.cut_call = None
            # An older cell's task may ask long after its cell: it must find its own records.
            sources: list[RecordedSource] = []
            lane = Lane("", self, lambda kind: source_of(lane, kind, replay, sources))
            lane.root_thread = threading.get_ident()
            self._pending.enter(lane)
            self._sources = sources
            return lane

    def leave_position(self) -> None:
        """End the cell: what its tasks and threads still ask is no longer its own."""
        with self.lock:
            self._pending.leave()

    @property
    def is_live(self) -> bool:
        return self._replay.is_live

    @property
    def replay(self) -> PositionReplay:
        return self._replay

    @property
    def counts(self) -> dict[str, int]:
        """Effects of this position by kind, as far as they are written."""
        return self._pending.counts

    def soft_differences(self) -> tuple[int, int]:
        """Count the soft observations that were asked beyond the records, and the unasked ones."""
        unasked = sum(each.left for each in self._sources) + self._replay.untaken_soft()
        return sum(each.beyond for each in self._sources), unasked

    def set_latch(self, stop: Stop) -> Stop:
        """Stop the run: from now on every begin raises. The first reason stays."""
        with self.lock:
            if self.latch is None:
                self.latch = stop
            return self.latch

    def write(self, *records: Record, sync: bool = False) -> None:
        """Write records behind everything that waits, in one `write()`."""
        with self._interrupts, self.lock:
            self.write_packed([self._storing.records.pack(each) for each in records], sync=sync)

    def write_packed(self, packed: list[Packed], *, sync: bool = False) -> None:
        """Write packed records behind everything that waits.

        On a full disk what waits goes on waiting.
        """
        with self._interrupts, self.lock:
            self._pending.append(packed, sync=sync)

    def close_steps(self) -> None:
        """At a position's end: whatever was begun and not settled was abandoned (H17)."""
        with self._interrupts, self.lock:
            for step in list(self._open_steps):
                step.settle(
                    Outcome(Ending.ABANDONED, None, ErrorFacts("builtins:GeneratorExit", ""))
                )

    # --- ports.Port -------------------------------------------------------------------------------

    def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        return self._decided(self._ask(lane, call, answer))

    async def begin_async(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        return await self._decided_async(self._ask(lane, call, answer))

    def put_in_doubt(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        return self._decided(self._doubt_again(lane, call, step, found, answer))

    async def put_in_doubt_async(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        return await self._decided_async(self._doubt_again(lane, call, step, found, answer))

    def next_recorded(self, lane: Lane) -> tuple[str, Mapping[str, Any]] | None:
        with self.lock:
            if self._is_foreign(lane):
                return None
            found = self._replay.next_call(lane.path)
            return None if found is None else (found.announced.kind, found.announced.identity)

    def draw(self, lane: Lane, kind: str, produce: Callable[[], Any]) -> Any:
        with self._interrupts, self.lock:
            if self.latch is not None:
                return produce()
            if self._is_foreign(lane):
                self._world.crossing(f"drew {kind} outside the cell's own line", is_act=True)
                return produce()
            verdict = self._replay.ask_draw(lane.path, kind)
            if isinstance(verdict, ServeValue):
                return verdict.value
            if isinstance(verdict, Diverges):
                raise self.set_latch(self._divergence(verdict))
            drawn = drawn_before(self._replay, lane, kind)
            if drawn is None:
                with suspended():
                    drawn = (produce(),)
            self._pending.add_draw(lane, kind, drawn[0])
            return drawn[0]

    def flush(self) -> None:
        try:
            self.write_packed([])
        except JournalFullError as error:
            self._world.tell(
                f"{error.path.parent}: the disk is full ({error.reason}). What cells observe waits "
                "in memory; they can make no call until there is room."
            )

    def note(self, lane: Lane, sentence: str) -> None:  # noqa: ARG002 - a position has one lane yet
        self.write(Noted(sentence=sentence))

    # --- steps.Recorder ---------------------------------------------------------------------------

    def record_head(self, step: LiveStep, head: Any) -> None:
        with self._interrupts, self.lock:
            self._pending.add_head(step, head)

    def record_part(self, step: LiveStep, data: bytes) -> None:
        with self._interrupts, self.lock:
            self._pending.add_part(step, data)

    def record_stray(self) -> None:
        """Report a stream that is read on after the cell that opened it: that is not recorded."""
        self._world.crossing("reads on an answer that an earlier cell began to read", is_act=True)

    def record_end(self, step: LiveStep, outcome: Outcome) -> None:
        with self._interrupts, self.lock:
            if step in self._open_steps:
                self._open_steps.remove(step)
            self._note_cut(step, outcome)
            changed = self._world.generators_after(step.generators_before)
            with suspended():  # a pickler draws ids and imports modules: that is no cell's
                lost_by = self._pending.settle(step, outcome, changed)
        if lost_by is not None:
            self._world.tell(
                f"{self._world.where()}: the answer of {step.label} could not be recorded: "
                f"{lost_by.path.parent} has no room ({lost_by.reason}). The cell has it, but after "
                "a crash the run cannot be replayed past here."
            )

    def _note_cut(self, step: LiveStep, outcome: Outcome) -> None:
        """Keep in mind the call that an interrupt ended, until another one begins."""
        by = outcome.error.type_path if outcome.error is not None else ""
        if outcome.ending is Ending.ABANDONED and by in _INTERRUPTS:
            self.cut_call = (step.lane, step.ordinal)
            self.interrupts_recorded += by == _KEYBOARD

    # --- inside -----------------------------------------------------------------------------------

    def _ask(self, lane: Lane, call: Call, answer: AnswerParser | None) -> Step | Parked:
        with self._interrupts, self.lock:
            if self.latch is not None:
                raise self.latch.with_traceback(None)
            if self._is_foreign(lane):
                self._world.crossing(
                    f"made a call outside the cell's own line: {call.label}", is_act=True
                )
                return UnjournaledStep()
            verdict = self._replay.ask_call(lane.path, call)
            if isinstance(verdict, Diverges):
                raise self.set_latch(self._divergence(verdict))
            if isinstance(verdict, GoLive) and self._replay.donor is not None:
                verdict = self._made_before(lane, call, verdict)
            key = step_key(self.run_id, self.position, self._replay, lane, verdict)
            if isinstance(verdict, Serve):
                return self._serve(verdict, key)
            if isinstance(verdict, Unfinished):
                return self._resume(lane, call, verdict, key, answer)
            return self._announce(lane, call, verdict.ordinal, key)

    def _made_before(self, lane: Lane, call: Call, live: GoLive) -> Serve | Unfinished | GoLive:
        try:
            return made_before(self._replay, self._pending, lane, call, live, self._world.where)
        except ActNotRepeatedError as refusal:
            raise self.set_latch(refusal) from None

    def _serve(self, verdict: Serve, key: StepKey) -> RecordedStep:
        call = verdict.call
        outcome = self._outcome(call)
        if call.resolved is not None:
            self._world.resolution_taken(call.resolved)  # a crash may have kept it in the inbox
        if outcome.ending is Ending.LOST:
            raise self.set_latch(
                RunSuspendedError(lost_sentence(self._world.where(), call.announced))
            )
        if outcome.ending is Ending.INTERRUPTED:
            self.interruption = (call.announced.lane, verdict.ordinal)
            raise self._interruption_of(call.announced)
        if call.settled is not None and call.settled.generators is not None:
            self._world.restore_generators(call.settled.generators)
        return RecordedStep(outcome, self._head(call), self._storing.parts_of(call), key)

    def _outcome(self, call: CallHistory) -> Outcome:
        """Read a recorded outcome. What can't be read stops the run: nobody may go on without."""
        try:
            if call.settled is not None and not call.settled.blob:
                return self._storing.outcome(call)
            with suspended():  # what is decoded now may load an object
                return self._storing.outcome(call)
        except Exception as error:
            raise self.set_latch(
                RunSuspendedError(
                    f"{self._world.where()}: the recorded outcome of {call.announced.label} can't "
                    f"be read ({type(error).__name__}: {error}). The call is not made again. "
                    "Restore what it needs, and restart the kernel; or %durable fresh."
                )
            ) from error

    def _head(self, call: CallHistory) -> Any:
        """Read what a stream told first; as `_outcome`, but nothing of it executes."""
        try:
            return self._storing.head_of(call)
        except DurableError as error:
            raise self.set_latch(
                RunSuspendedError(f"{self._world.where()}: {call.announced.label}: {error}")
            ) from error

    def _announce(self, lane: Lane, call: Call, ordinal: int, key: StepKey) -> LiveStep:
        repeat = _DECLARED if REPEATABLE.get() else call.repeat
        is_synced = call.act in (Act.REMOTE, Act.PROCESS, Act.COMMIT)
        packed = self._storing.announced(lane.path, ordinal, call, repeat, self._world.wall_ns())
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
        return self._live(lane, ordinal, key, call)

    def _live(
        self, lane: Lane, ordinal: int, key: StepKey, call: Call, cut: CallHistory | None = None
    ) -> LiveStep:
        step = LiveStep(
            self,
            label=call.label,
            lane=lane.path,
            ordinal=ordinal,
            key=key,
            head=self._head(cut) if cut else None,
            parts=self._storing.parts_of(cut) if cut else (),
            cut=cut,
        )
        if call.runs_user_code:
            step.generators_before = self._world.generators_before()
        self._open_steps.append(step)
        return step

    def _doubt_again(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None
    ) -> Step | Parked:
        """Put a call in doubt that was repeated unasked (H21)."""
        assert isinstance(step, LiveStep)
        assert step.cut is not None, "it repeats a cut call"
        with self._interrupts, self.lock:
            if self.latch is not None:
                raise self.latch
            self._open_steps.remove(step)
            self.write(Noted(sentence=f"{call.label} was repeated: {found}."))
            again = Unfinished(step.ordinal, step.cut)
            return self._resume(lane, call, again, step.key, answer, found)

    def _resume(
        self,
        lane: Lane,
        call: Call,
        verdict: Unfinished,
        key: StepKey,
        answer: AnswerParser | None,
        found: str = "",
    ) -> Step | Parked:
        doubt = decide_doubt(
            verdict.call,
            self._world.wall_ns(),
            self._policy,
            code_names_it=names_interruption(sys._getframe(2), "durable_kernel"),  # noqa: SLF001 - the only way to a caller's frame
            is_listed=call.repeat.is_listed,
            was_repeated=bool(found),
        )
        parked = Parked(
            lane=lane,
            call=call,
            ordinal=verdict.ordinal,
            position=self.position,
            recorded=verdict.call,
            key=key,
            answer=answer,
            found=found,
        )
        queued = self._world.queued_resolution(parked)
        if queued is not None:
            return self._unpark(parked, queued)
        if doubt is Doubt.REPEAT:
            step = self._live(lane, verdict.ordinal, key, call, verdict.call)
            step.is_unasked = True
            return step
        if doubt is Doubt.RAISE:
            raise self._interrupt(lane, verdict, key)
        if doubt is Doubt.STOP:
            self.set_latch(RunSuspendedError(parked.sentence()))
            self._leave(3)
            assert self.latch is not None
            raise self.latch.with_traceback(None)
        self.parked = parked
        return parked

    def _interrupt(self, lane: Lane, verdict: Unfinished, key: StepKey) -> RequestInterrupted:
        """Journal that RequestInterrupted is what the code saw, then hand it out (H4)."""
        label = verdict.call.announced.label
        step = LiveStep(self, label=label, lane=lane.path, ordinal=verdict.ordinal, key=key)
        step.settle(Outcome(Ending.INTERRUPTED))
        self.interruption = (step.lane, step.ordinal)
        return self._interruption_of(verdict.call.announced)

    def _interruption_of(self, announced: Announced) -> RequestInterrupted:
        return RequestInterrupted(
            announced.label, self._world.where(), self._world.clock_text(announced.wall_ns)
        )

    def _decided(self, begun: Step | Parked) -> Step:
        if not isinstance(begun, Parked):
            return begun
        try:
            with suspended():
                decision = begun.wait_decided(self._world.queued_resolution)
        except KeyboardInterrupt:
            raise self._left_in_doubt(begun) from None
        return self._unpark(begun, decision)

    async def _decided_async(self, begun: Step | Parked) -> Step:
        if not isinstance(begun, Parked):
            return begun
        try:
            with suspended():
                decision = await begun.wait_decided_async(self._world.queued_resolution)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise self._left_in_doubt(begun) from None
        return self._unpark(begun, decision)

    def _left_in_doubt(self, parked: Parked) -> Stop:
        """Stop the run, still in doubt: a user interrupted the waiting call. Journals nothing."""
        self.parked = None
        return self.set_latch(RunSuspendedError(parked.sentence()))

    def _unpark(self, parked: Parked, decision: Resolved) -> Step:
        """Journal the user's decision (synced before anything follows from it), then act on it."""
        with self._interrupts, self.lock:
            self.parked = None
            if self.latch is not None:
                raise self.latch.with_traceback(None)
            is_retry = decision.choice == Choice.RETRY
            self.write_packed([self._storing.resolved(decision)], sync=True)
            if is_retry:
                self._world.resolution_taken(decision)
                return self._live(
                    parked.lane, parked.ordinal, parked.key, parked.call, parked.recorded
                )
            # With the prefix of an answer that was cut, as on every later replay.
            complete = replace(parked.recorded, resolved=decision)
            return self._serve(Serve(parked.ordinal, complete), parked.key)

    def _require_ballast(self) -> None:
        if not self._journal.has_ballast and not self._journal.restore_ballast():
            raise JournalFullError(
                self._journal.folder, 64 * 1024, "the reserve for outcomes is used up"
            )

    def _is_foreign(self, lane: Lane) -> bool:
        """Tell whether this is an older cell's line of control, or another thread's or task's.

        Two of them in one lane would be recorded in an order that no replay can keep.
        """
        if lane not in self._pending.lanes or lane.root_thread != threading.get_ident():
            return True
        if lane.root_task is None:
            return False
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return False
        return task is not None and task is not lane.root_task

    def _divergence(self, verdict: Diverges) -> DivergenceError:
        return DivergenceError(
            self._world.where(),
            verdict.recorded,
            verdict.asked,
            verdict.differences,
            verdict.likely_cause,
        )
