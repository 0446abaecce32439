"""Doubts: calls that were announced, cut, and may or may not have happened.

Carries out what `replay.decide_doubt` says: make the call again, raise RequestInterrupted, stop the
run, or park until somebody decides. Several lanes may be parked at once; each is named by its
effect. Every method but the waiting runs under the port's lock.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from durable_kernel.errors import RequestInterrupted, RunSuspendedError, Stop
from durable_kernel.history import Announced, Choice, Resolved, Unsettled
from durable_kernel.ports import AnswerParser, Call, Ending, Lane, Outcome, Step, suspended
from durable_kernel.replay import (
    Doubt,
    InDoubtPolicy,
    Serve,
    Unfinished,
    decide_doubt,
    names_interruption,
)
from durable_kernel.runtime.parking import Parked
from durable_kernel.runtime.steps import LiveStep, StepKey
from durable_kernel.runtime.world import World

if TYPE_CHECKING:
    from durable_kernel.runtime.port import RunPort

__all__ = ["Doubts"]


class Doubts:
    """What is in doubt in one run. `leave` ends the process without unwinding (policy stop).

    `can_ask`: whoever sent the cell that is executed may have an answer. Set between cells.
    """

    def __init__(
        self,
        port: RunPort,
        world: World,
        policy: InDoubtPolicy | None,
        leave: Callable[[int], None],
    ) -> None:
        self.parked: list[Parked] = []
        self.can_ask = True
        self._port = port
        self._world = world
        self._policy = policy
        self._leave = leave

    def again(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None
    ) -> Step | Parked:
        """Put a call in doubt that was repeated unasked (H21)."""
        assert isinstance(step, LiveStep)
        assert step.cut is not None, "it repeats a cut call"
        port = self._port
        with port.interrupts, port.lock:
            if port.latch is not None:
                raise port.latch.with_traceback(None)
            port.forget(step)
            port.write(Unsettled(lane=lane.path, ordinal=step.ordinal, found=found))
            again = Unfinished(step.ordinal, step.cut)
            return self.resume(lane, call, again, step.key, answer, found)

    def resume(
        self,
        lane: Lane,
        call: Call,
        verdict: Unfinished,
        key: StepKey,
        answer: AnswerParser | None,
        found: str = "",
    ) -> Step | Parked:
        """Decide about a cut call. To be called from the stack of the lane that asks for it."""
        doubt = decide_doubt(
            verdict.call,
            self._world.wall_ns(),
            self._policy,
            code_names_it=names_interruption(sys._getframe(2), "durable_kernel"),  # noqa: SLF001 - the only way to a caller's frame
            can_ask=self.can_ask,
            is_listed=call.repeat.is_listed,
            was_repeated=bool(found),
        )
        parked = Parked(
            lane=lane,
            call=call,
            ordinal=verdict.ordinal,
            position=self._port.position,
            recorded=verdict.call,
            key=key,
            answer=answer,
            run_id=self._port.own_id,
            found=found,
        )
        queued = self._world.queued_resolution(parked)
        if queued is not None:
            return self._unpark(parked, queued)
        if doubt is Doubt.REPEAT:
            step = self._port.make_live(lane, verdict.ordinal, key, call, verdict.call)
            step.is_unasked = True
            return step
        if doubt is Doubt.RAISE:
            raise self._interrupt(lane, call, verdict, key)
        if doubt is Doubt.STOP:
            latch = self._port.set_latch(RunSuspendedError(parked.sentence()))
            self._leave(3)
            raise latch
        if doubt is Doubt.FAIL:
            then = "Then execute the notebook again: it goes on from here."
            raise self._port.set_latch(RunSuspendedError(f"{parked.sentence()} {then}"))
        self.parked.append(parked)
        return parked

    def _interrupt(
        self, lane: Lane, call: Call, verdict: Unfinished, key: StepKey
    ) -> RequestInterrupted:
        """Journal that RequestInterrupted is what the code saw, then hand it out (H4)."""
        wall_ns = verdict.call.announced.wall_ns
        step = LiveStep(self._port, call, wall_ns, lane, verdict.ordinal, key)
        step.settle(Outcome(Ending.INTERRUPTED))
        self._port.interruption = (step.lane, step.ordinal)
        return self.interruption_of(verdict.call.announced)

    def interruption_of(self, announced: Announced) -> RequestInterrupted:
        return RequestInterrupted(
            announced.label, self._world.where(), self._world.clock_text(announced.wall_ns)
        )

    # --- waiting for somebody to decide -----------------------------------------------------------

    def decided(self, begun: Step | Parked) -> Step:
        """Return a step that may be used: at once, or when somebody has decided."""
        if not isinstance(begun, Parked):
            return begun
        try:
            with suspended():
                decision = begun.wait_decided(self._look)
        except KeyboardInterrupt:
            raise self._left_in_doubt(begun) from None
        return self._unpark(begun, decision)

    async def decided_async(self, begun: Step | Parked) -> Step:
        """Do the same without blocking the event loop."""
        if not isinstance(begun, Parked):
            return begun
        try:
            with suspended():
                decision = await begun.wait_decided_async(self._look)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise self._left_in_doubt(begun) from None
        return self._unpark(begun, decision)

    def _look(self, parked: Parked) -> Resolved | None:
        """Look for a decision of another process. A run that stopped meanwhile decides itself."""
        if self._port.latch is not None:
            raise self._port.latch.with_traceback(None)
        return self._world.queued_resolution(parked)

    def _left_in_doubt(self, parked: Parked) -> Stop:
        """Stop the run, still in doubt: a user interrupted the waiting call. Journals nothing."""
        self._unlist(parked)
        return self._port.set_latch(RunSuspendedError(parked.sentence()))

    def _unlist(self, parked: Parked) -> None:
        if parked in self.parked:
            self.parked.remove(parked)

    def _unpark(self, parked: Parked, decision: Resolved) -> Step:
        """Journal the user's decision (synced before anything follows from it), then act on it."""
        port = self._port
        with port.interrupts, port.lock:
            self._unlist(parked)
            if port.latch is not None:
                raise port.latch.with_traceback(None)
            is_retry = decision.choice == Choice.RETRY
            port.write_resolved(decision)
            if is_retry:
                self._world.resolution_taken(decision)
                return port.make_live(
                    parked.lane, parked.ordinal, parked.key, parked.call, parked.recorded
                )
            # With the prefix of an answer that was cut, as on every later replay.
            complete = replace(parked.recorded, resolved=decision)
            return port.serve(parked.lane, Serve(parked.ordinal, complete), parked.key)
