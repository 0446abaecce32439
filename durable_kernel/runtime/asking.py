"""Asking: one question of a lane that has company, from the asking to its deliveries.

A question is asked when the lane may, and answered when it is its turn. It may outlive a position:
a call that was under way when its cell ended is *carried*, and stands again in the next position;
so does one that was cut there. What was recorded of it before then stands before the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable_kernel.history import CallHistory, TurnKind
from durable_kernel.ports import Act, Call, Ending, Lane, through_cancellation
from durable_kernel.replay import Diverges, GoLive, Serve, Unfinished, Verdict
from durable_kernel.runtime.reusing import made_before
from durable_kernel.runtime.steps import LiveStep

if TYPE_CHECKING:
    from durable_kernel.runtime.crowd import Crowd

__all__ = ["Asking", "StepTurns"]


class Asking:
    """A question of a lane. `delivers`: its first delivery is waited for, too."""

    def __init__(self, crowd: Crowd, lane: Lane, call: Call, *, delivers: bool = True) -> None:
        self._crowd = crowd
        self._lane = lane
        self._call = call
        self._delivers = delivers
        self._verdict: Verdict | None = None
        self._begun: CallHistory | None = None
        """What earlier positions recorded of the call."""
        self._position = -1

    @property
    def is_current(self) -> bool:
        """Tell whether the answer is still one about the position that is there now."""
        return self._position == self._crowd.port.position

    def attempt(self) -> Verdict | None:
        """Try to get an answer. None: not yet."""
        if self._verdict is not None and not self.is_current:
            self._move()
        if self._verdict is None:
            if self._crowd.must_wait(self._lane):
                return None
            self._verdict = self._ask()
        return self._verdict if self._may_go(self._verdict) else None

    def _ask(self) -> Verdict:
        crowd, lane = self._crowd, self._lane
        verdict = crowd.port.replay.ask_call(lane.path, self._call)
        self._position = crowd.port.position
        if isinstance(verdict, GoLive):
            if self._begun is None:
                return made_before(crowd.port, lane, self._call, verdict)
            again = crowd.port.announce_cut(lane, verdict.ordinal, self._begun)
            verdict = Unfinished(verdict.ordinal, again)
        elif isinstance(verdict, Serve | Unfinished) and self._begun is not None:
            verdict = replace(verdict, call=_joined(self._begun, verdict.call))
        if isinstance(verdict, Unfinished) and not _goes_on(verdict.call):
            crowd.note_cut(lane)
        return verdict

    def _may_go(self, verdict: Verdict) -> bool:
        crowd, lane = self._crowd, self._lane
        if isinstance(verdict, GoLive | Diverges):
            return True
        if verdict.back:
            return crowd.reuse(lane, verdict, self._call.kind, blocks=self._delivers)
        if isinstance(verdict, Serve) and _is_carried(verdict.call):
            if not crowd.is_live_for(lane):
                return False
            # The run died before the next position began.
            self._verdict = Unfinished(verdict.ordinal, replace(verdict.call, settled=None))
            return False
        if isinstance(verdict, Unfinished) and not _goes_on(verdict.call):
            if not crowd.is_live_for(lane):
                return False
            crowd.port.replay.give_up_taken(lane.path)  # its head was delivered, and comes again
            return True
        if not self._delivers:
            return True
        kind = TurnKind.END if verdict.call.head is None else TurnKind.HEAD
        return crowd.may_take(lane, kind, verdict.ordinal, blocks=True)

    def accompany(self, step: object) -> None:
        """Let a stream that was cut be delivered in its turn, and be asked for again when live."""
        verdict = self._verdict
        if not isinstance(step, LiveStep) or not isinstance(verdict, Unfinished):
            return
        if _goes_on(verdict.call):
            turns = CutTurns(self._crowd, self._lane, verdict.ordinal)
            if self._delivers:
                step.parts = turns.before_live(step.parts)
            else:
                step.turns = turns

    def _move(self) -> None:
        """Ask again in the next position, unless the call is answered already."""
        verdict = self._verdict
        if isinstance(verdict, Serve) and not _is_carried(verdict.call):
            return
        if isinstance(verdict, Serve | Unfinished) and not verdict.back:
            self._begun = replace(verdict.call, settled=None)
        self._verdict = None


def _joined(begun: CallHistory, call: CallHistory) -> CallHistory:
    """Put what was recorded of a call in an earlier position before the rest of it."""
    return replace(call, head=begun.head or call.head, parts=[*begun.parts, *call.parts])


def _goes_on(call: CallHistory) -> bool:
    """Tell whether the lane has seen a part of the answer, and may have the rest for the asking.

    Then it goes on from where it saw that, or others would wait for what it did with it.
    """
    return call.head is not None and call.announced.act == Act.OBSERVATION


def _is_carried(call: CallHistory) -> bool:
    return call.settled is not None and call.settled.ending == Ending.CARRIED


class CutTurns:
    """What is left of a stream that was cut: its head has a turn, its repetition waits."""

    def __init__(self, crowd: Crowd, lane: Lane, ordinal: int) -> None:
        self._crowd = crowd
        self._lane = lane
        self._attempts: list[Callable[[], bool | None]] = [
            lambda: crowd.may_take(lane, TurnKind.HEAD, ordinal, blocks=False) or None,
            lambda: crowd.is_live_for(lane) or None,
        ]

    async def take(self) -> bool:
        """Wait for the turn of the head; next time until the run is live. False: it is."""
        if not self._attempts:
            return False
        attempt = self._attempts.pop(0)
        if not self._attempts:
            self._crowd.note_cut(self._lane)
        await self._crowd.turnstile.wait_async(self._lane, attempt)
        return True

    def before_live(self, parts: Iterable[bytes]) -> Iterable[bytes]:
        """Wrap the parts: who has read them all waits until the run is live."""
        return _Ending(parts, self._await_live)

    def _await_live(self) -> None:
        if self._attempts:
            attempt = self._attempts.pop()
            self._attempts.clear()
            self._crowd.note_cut(self._lane)
            self._crowd.turnstile.wait(self._lane, attempt)


class StepTurns:
    """The deliveries of a recorded step that are still to come."""

    def __init__(self, crowd: Crowd, lane: Lane, served: Serve, *, is_async: bool) -> None:
        kinds = [TurnKind.END] if served.call.head is None else [TurnKind.HEAD, TurnKind.END]
        self._kinds = kinds if is_async else kinds[1:]
        self._crowd = crowd
        self._lane = lane
        self._ordinal = served.ordinal
        settled = served.call.settled
        self._is_abandoned = settled is not None and settled.ending == Ending.ABANDONED
        self._is_cancelled = False
        self._position = crowd.port.position

    async def take(self) -> None:
        """Wait for the next delivery without blocking the loop."""
        if not self._kinds:
            return
        kind = self._kinds.pop(0)

        def wait() -> Awaitable[Any]:
            return self._crowd.turnstile.wait_async(
                self._lane, lambda: self._may_take(kind, blocks=False)
            )

        try:
            await wait()
        except asyncio.CancelledError:
            if self._is_abandoned and not self._kinds:
                self._is_cancelled = True
                await through_cancellation(wait)
            else:
                self._give_up(kind)
            raise

    def ending(self, parts: Iterable[bytes]) -> Iterable[bytes]:
        """Wrap the parts of a stream: who has read them all waits for the end's turn."""
        return _Ending(parts, self._take_end) if self._kinds else parts

    def _take_end(self) -> None:
        if self._kinds:
            self._kinds.clear()
            self._crowd.turnstile.wait(
                self._lane, lambda: self._may_take(TurnKind.END, blocks=True)
            )

    def _may_take(self, kind: TurnKind, *, blocks: bool) -> bool | None:
        if self._crowd.port.position != self._position:
            return True
        if self._awaits_canceller(kind, blocks=blocks):
            return None
        return self._crowd.may_take(self._lane, kind, self._ordinal, blocks=blocks) or None

    def _awaits_canceller(self, kind: TurnKind, *, blocks: bool) -> bool:
        """Tell whether somebody is still to cancel the call, as its end says somebody did.

        Who did had his turn before that end had its own. So once it is the end's turn, and nobody
        has anything left to do, nobody is going to: it came from outside.
        """
        if not self._is_abandoned or self._is_cancelled or kind is not TurnKind.END or blocks:
            return False
        return self._crowd.is_astir(self._lane, kind, self._ordinal)

    def _give_up(self, kind: TurnKind) -> None:
        """Who waits was cancelled, though nothing of that is recorded: the turn is not needed."""
        order = self._crowd.port.replay.order
        place = order.place_of(self._lane.path, kind, self._ordinal)
        if place is not None and self._crowd.port.position == self._position:
            order.take(place)


class _Ending:
    """Parts, and the end's turn behind them."""

    def __init__(self, parts: Iterable[bytes], take_end: Callable[[], None]) -> None:
        self._parts = parts
        self._take_end = take_end

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        self._take_end()
