"""The port: carries out what the replay machine decides.

The one place where an effect meets the journal.

Positions, lanes and questions are here; what is written of calls is in `recording`. Everything the
port does runs under one lock, with SIGINT deferred (H5).

The latch (H3): once the run diverged or stopped, every later `begin` and every crossing raises it,
whatever was caught meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from durable_kernel.codec import KnownSecrets
from durable_kernel.errors import (
    DivergenceError,
    DurableError,
    JournalFullError,
    RunSuspendedError,
    Stop,
)
from durable_kernel.history import CallHistory, Noted
from durable_kernel.journal import Journal
from durable_kernel.ports import (
    AnswerParser,
    Call,
    CountedLock,
    Ending,
    HostRules,
    Lane,
    Outcome,
    SharedGenerator,
    Step,
    machinery,
)
from durable_kernel.replay import (
    Diverges,
    GoLive,
    InDoubtPolicy,
    PositionReplay,
    Serve,
    ServeValue,
    Unfinished,
    Verdict,
)
from durable_kernel.runtime.asking import Asking, StepTurns
from durable_kernel.runtime.crowd import Crowd
from durable_kernel.runtime.doubts import Doubts
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.observing import Observing
from durable_kernel.runtime.obtaining import obtain, take_lock
from durable_kernel.runtime.parking import Parked
from durable_kernel.runtime.pending import lost_sentence
from durable_kernel.runtime.recording import Recording
from durable_kernel.runtime.reusing import drawn_before, made_before, step_key
from durable_kernel.runtime.shared_draws import SharedDraws
from durable_kernel.runtime.sources import RecordedSource, source_of
from durable_kernel.runtime.steps import RecordedStep, StepKey, UnjournaledStep
from durable_kernel.runtime.storing import Storing, is_plain_value
from durable_kernel.runtime.world import World

__all__ = ["RunPort"]

_OF_THREADS = frozenset("tp")
"""Kinds of lanes that run while others do: threads, and what is submitted to a pool."""
T = TypeVar("T")


class RunPort(Recording):
    """Implements `ports.Port` for one run; pointed at one position after the other."""

    def __init__(
        self,
        journal: Journal,
        storing: Storing,
        *,
        secrets: KnownSecrets,
        world: World,
        policy: InDoubtPolicy | None,
        interrupts: Interrupts,
        leave: Callable[[int], None],
        hosts: HostRules | None = None,
    ) -> None:
        super().__init__(journal, storing, world=world, interrupts=interrupts)
        self.run_id = self.own_id = journal.run_id
        self.hosts = hosts or HostRules()
        self.secrets = secrets
        self.latch: Stop | None = None
        self.position = -1
        self.interruption: tuple[str, int] | None = None
        self.later_word: Callable[[Lane, int], str] = lambda _lane, _position: ""
        self.where = world.where
        self._sources: list[RecordedSource] = []
        self.doubts = Doubts(self, world, policy, leave)
        self.crowd = Crowd(self, self._pending)
        self._shared_draws = SharedDraws(self.crowd, self._pending)
        self._pending.lanes = self.crowd.turnstile.lanes
        self.observing = Observing(
            self, self._pending, journal, storing.secrets, world.read_wall_ns, self._is_foreign
        )

    # --- for the runtime --------------------------------------------------------------------------

    def enter_position(
        self, position: int, replay: PositionReplay, *, is_crowded: bool = False
    ) -> Lane:
        """Point the port at a position. Returns the lane of its cell.

        `is_crowded`: lanes of earlier positions were left when it began.
        """
        with self.lock:
            self._pending.collect()
            self.position = position
            self._replay = self.observing.replay = replay
            self.interrupts_recorded = 0
            self._is_cut = False
            self.interrupts.begin()
            self.interruption = None
            self.cut_call = None
            self._sources = []
            # An older cell's callback may ask long after its cell: it must find its own records.
            lane = self.main = self._make_lane(threading.get_ident(), lambda: replay)
            self.crowd.enter(lane, position, is_crowded=is_crowded)
            self._shared_draws.enter()
            self._world.share_generators(is_shared=is_crowded)
            self._pending.enter()
            return lane

    def leave_position(self) -> None:
        """End the cell: what its own line of control still asks is no longer its own."""
        with self.lock:
            self._pending.collect()
            if self.main is not None:
                self.crowd.leave(self.main)

    def announce_cut(self, lane: Lane, ordinal: int, call: CallHistory) -> CallHistory:
        """Announce a call that was cut in an earlier position where its lane is now."""
        announced = replace(call.announced, ordinal=ordinal, lane=lane.path)
        self.write(announced)
        return replace(call, announced=announced)

    def go_live(self) -> None:
        """All recorded positions are replayed: lanes that are left go on in the world."""
        with self.lock:
            self._replay.is_open = True

    def _make_lane(self, thread: int | None, replay: Callable[[], PositionReplay]) -> Lane:
        lane = Lane("", self, lambda kind: source_of(lane, kind, replay(), self._sources))
        lane.root_thread = thread
        return lane

    @property
    def parked(self) -> list[Parked]:
        """The calls that wait for somebody's decision."""
        return self.doubts.parked

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
        """Count the soft observations that were asked beyond the records, and the unasked ones.

        Lanes that go on behind the cell's end are not counted: they still read what is recorded.
        """
        main = self.main
        if main is None or not self.crowd.has_others_than(main):
            unasked = sum(each.left for each in self._sources) + self._replay.untaken_soft()
            return sum(each.beyond for each in self._sources), unasked
        own = [each for each in self._sources if each.is_in(main)]
        return sum(each.beyond for each in own), sum(each.left for each in own)

    def set_latch(self, stop: Stop) -> Stop:
        """Stop the run: from now on every begin raises. The first reason stays."""
        with self.lock:
            if self.latch is None:
                self.latch = stop
                self._shared_draws.take_back()
                if self.main is not None and not self.main.has_ended:
                    self.interrupts.wake(self.main, stop)
            return self.latch

    # --- ports.Port -------------------------------------------------------------------------------

    def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        plain = self.observing.begin(lane, call)
        if plain is not None:
            return plain
        call = self._storing.redacted_call(call)
        if not self.crowd.turnstile.is_crowded or self._is_foreign(lane):
            return self.doubts.decided(self._ask(lane, call, answer))
        asking = Asking(self.crowd, lane, call)
        while True:
            verdict = cast("Verdict", self.crowd.turnstile.wait(lane, asking.attempt))
            with self.interrupts, self.lock:
                if asking.is_current or isinstance(verdict, Serve):
                    begun = self._carry_out(lane, call, verdict, answer)
                    asking.accompany(begun)
                    self.crowd.unsettled.discard(lane)
                    break
        return self.doubts.decided(begun)

    def recall(self, lane: Lane, call: Call) -> tuple[Any] | None:
        if (
            not self._replay.has_own_calls
            or self.crowd.turnstile.is_crowded
            or lane is not self.main
            or (self.latch or self.closed) is not None
            or lane.root_thread != threading.get_ident()
            or self._is_foreign(lane)
        ):
            return None
        call = self._storing.redacted_call(call)
        settled = self._replay.take_value(call, is_plain_value)
        return None if settled is None else (settled.value,)

    async def begin_async(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        plain = self.observing.begin(lane, call)
        if plain is not None:
            return plain
        call = self._storing.redacted_call(call)
        if not self.crowd.turnstile.is_crowded or self._is_foreign(lane):
            return await self.doubts.decided_async(self._ask(lane, call, answer))
        asking = Asking(self.crowd, lane, call, delivers=False)
        while True:
            verdict: Verdict = await self.crowd.turnstile.wait_async(lane, asking.attempt)
            with self.interrupts, self.lock:
                if asking.is_current or isinstance(verdict, Serve):
                    begun = self._carry_out(lane, call, verdict, answer, is_async=True)
                    asking.accompany(begun)
                    self.crowd.unsettled.discard(lane)
                    break
        return await self.doubts.decided_async(begun)

    def put_in_doubt(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        return self.doubts.decided(self.doubts.again(lane, call, step, found, answer))

    async def put_in_doubt_async(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        return await self.doubts.decided_async(self.doubts.again(lane, call, step, found, answer))

    def spawn(self, lane: Lane, kind: str) -> Lane:
        if kind in _OF_THREADS:
            self._world.share_generators(is_shared=True)
        return self.crowd.spawn(lane, kind, lambda: self._make_lane(None, lambda: self._replay))

    def end(self, lane: Lane) -> None:
        self.crowd.end(lane)

    def decide(
        self, lane: Lane, kind: str, produce: Callable[[], Any], *, is_free: bool = False
    ) -> Any:
        if not self.crowd.turnstile.is_crowded or self._is_foreign(lane):
            return produce()
        return self.crowd.decide(lane, kind, produce, is_free=is_free)

    async def decide_async(
        self, lane: Lane, kind: str, produce: Callable[[], Awaitable[Any]]
    ) -> Any:
        if not self.crowd.turnstile.is_crowded or self._is_foreign(lane):
            return await produce()
        return await self.crowd.decide_async(lane, kind, produce)

    def obtain(
        self, lane: Lane, kind: str, attempt: Callable[[], bool], timeout_s: float | None = None
    ) -> tuple[bool, float] | None:
        return (
            None
            if self._is_foreign(lane) or not self.crowd.turnstile.is_crowded
            else obtain(self.crowd, lane, kind, attempt, timeout_s)
        )

    def take_lock(
        self,
        lane: Lane,
        lock: CountedLock,
        mine: int,
        attempt: Callable[[], bool],
        timeout_s: float | None = None,
    ) -> bool | None:
        return (
            None
            if self._is_foreign(lane) or not self.crowd.turnstile.is_crowded
            else take_lock(self.crowd, lane, lock, mine, attempt, timeout_s)
        )

    def draw_shared(self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]) -> T:
        if self._is_foreign(lane) or not self.crowd.turnstile.is_crowded:
            return make()
        return self._shared_draws.draw(lane, generator, make)

    def nudge(self, lane: Lane) -> None:
        self.crowd.turnstile.nudge(lane.path)

    def has_word(self, lane: Lane, kind: str = "") -> bool:
        with self.lock:
            following = self._replay.next_word(lane.path)
            if following is not None:
                return kind in ("", following[1].kind)
            outlives = bool(kind and lane.branch) and not self._replay.is_open
            return outlives and self.later_word(lane, self.position) == kind

    def has_observed(self, lane: Lane, kind: str) -> bool:
        if lane.replay[kind] is None:
            return False
        return any(each.left for each in self._sources if each.is_of(lane, kind))

    def is_at_rest(self, lane: Lane | None = None) -> bool:
        return self.crowd.turnstile.is_at_rest(lane)

    @property
    def is_crowded(self) -> bool:
        return self.crowd.turnstile.is_crowded

    def next_recorded(self, lane: Lane) -> tuple[str, Mapping[str, Any]] | None:
        with self.lock:
            if self._is_foreign(lane):
                return None
            found = self._replay.next_call(lane.path)
            return None if found is None else (found.announced.kind, found.announced.identity)

    def draw(self, lane: Lane, kind: str, produce: Callable[[], Any]) -> Any:
        with self.interrupts, self.lock:
            if self.latch is not None:
                return produce()
            if self._is_foreign(lane):
                self._world.crossing(f"drew {kind} outside the cell's own line", is_act=True)
                return produce()
            if lane.branch and not self._replay.may_draw(lane.path, kind):
                self.crowd.await_next_position(lane, kind)
            verdict = self._replay.ask_draw(lane.path, kind)
            if isinstance(verdict, ServeValue):
                return verdict.value
            if isinstance(verdict, Diverges):
                raise self.set_latch(self.divergence(verdict))
            drawn = drawn_before(self._replay, lane, kind)
            if drawn is None:
                with machinery():
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

    # --- inside -----------------------------------------------------------------------------------

    def raise_closed(self) -> None:
        """End a thread that outlives its run: nothing of it can be recorded any more."""
        if self.closed is not None:
            raise self.closed.with_traceback(None)

    def _ask(self, lane: Lane, call: Call, answer: AnswerParser | None) -> Step | Parked:
        with self.interrupts, self.lock:
            if self.latch is not None:
                raise self.latch.with_traceback(None)
            if self._is_foreign(lane):
                self._world.crossing(
                    f"made a call outside the cell's own line: {call.label}", is_act=True
                )
                return UnjournaledStep()
            return self._carry_out(lane, call, self._replay.ask_call(lane.path, call), answer)

    def _carry_out(
        self,
        lane: Lane,
        call: Call,
        verdict: Verdict,
        answer: AnswerParser | None,
        *,
        is_async: bool = False,
    ) -> Step | Parked:
        """Do what the machine says. From the stack of the lane, under the lock."""
        if (stop := self.latch or self.closed) is not None:
            raise stop.with_traceback(None)
        if isinstance(verdict, Diverges):
            raise self.set_latch(self.divergence(verdict))
        if isinstance(verdict, GoLive) and self._replay.donor is not None:
            verdict = made_before(self, lane, call, verdict)
            if not isinstance(verdict, GoLive):
                self._pending.add_reused(lane, verdict, call.kind)
        key = step_key(self.run_id, self.position, self._replay, lane, verdict)
        if isinstance(verdict, Serve):
            return self.serve(lane, verdict, key, is_async=is_async)
        if isinstance(verdict, Unfinished):
            return self.doubts.resume(lane, call, verdict, key, answer)
        return self._announce(lane, call, verdict.ordinal, key)

    def serve(
        self, lane: Lane, verdict: Serve, key: StepKey, *, is_async: bool = False
    ) -> RecordedStep:
        """Make the step of a complete call. What is reused just now was delivered already."""
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
            raise self.doubts.interruption_of(call.announced)
        if call.settled is not None and call.settled.generators is not None:
            self._world.restore_generators(call.settled.generators)
        turns, parts = None, self._storing.parts_of(call)
        if self.crowd.turnstile.is_crowded and not verdict.back:
            turns = StepTurns(self.crowd, lane, verdict, is_async=is_async)
            parts = turns.ending(parts) if not is_async else parts
        return RecordedStep(outcome, self.head_of(call), parts, key, turns)

    def _outcome(self, call: CallHistory) -> Outcome:
        """Read a recorded outcome. What can't be read stops the run: nobody may go on without."""
        try:
            if call.settled is not None and not call.settled.blob:
                return self._storing.outcome(call)
            with machinery():  # what is decoded now may load an object
                return self._storing.outcome(call)
        except Exception as error:
            raise self.set_latch(
                RunSuspendedError(
                    f"{self._world.where()}: the recorded outcome of {call.announced.label} can't "
                    f"be read ({type(error).__name__}: {error}). The call is not made again. "
                    "Restore what it needs, and restart the kernel; or %durable fresh."
                )
            ) from error

    def head_of(self, call: CallHistory) -> Any:
        """Read what a stream told first; as `_outcome`, but nothing of it executes."""
        try:
            return self._storing.head_of(call)
        except DurableError as error:
            raise self.set_latch(
                RunSuspendedError(f"{self._world.where()}: {call.announced.label}: {error}")
            ) from error

    def _is_foreign(self, lane: Lane) -> bool:
        """Tell whether somebody asks who is not this lane's line of control, or one that is over.

        Two of them in one lane would be recorded in an order that no replay can keep.
        """
        if lane.has_ended or lane not in self.crowd.turnstile.lanes:
            return True
        if lane.root_thread != threading.get_ident() and not (lane.is_waiting or lane.loop):
            return True
        if lane.root_task is None:
            return False
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return False
        return task is not None and task is not lane.root_task

    def divergence(self, verdict: Diverges) -> DivergenceError:
        return DivergenceError(
            self._world.where(),
            verdict.recorded,
            verdict.asked,
            verdict.differences,
            verdict.likely_cause,
        )
