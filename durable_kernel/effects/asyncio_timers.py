"""Timers of an event loop: `call_later` and `call_at` in a cell, and time-outs, which rest on them.

A timer is a lane of its own. When it goes off is a word in the order of all lanes, and only then
its callback runs: so `asyncio.timeout` and `wait_for` end the same await again on replay, whatever
the clock says, and no replay waits for a clock. A timer that never went off does not do so until
the run is live; then it goes by the clock, a long one by its recorded end.

What a cell holds is a real TimerHandle: `cancel()`, `when()` and `cancelled()` are the library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
import time
from asyncio import base_events
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any
from weakref import WeakKeyDictionary

from durable_kernel.effects.asyncio_tasks import is_made_by_machinery
from durable_kernel.errors import Stop
from durable_kernel.ports import CURRENT_LANE, Lane, Witness, suspended

__all__ = ["install"]

_KIND = "timer"
_RECORDED_FROM_S = 1.0
"""A shorter timer that a crash cut begins anew."""
_wall = time.time
_INSTALLED: set[str] = set()
_MADE_BY: WeakKeyDictionary[Lane, Lane] = WeakKeyDictionary()


def install(witness: Witness) -> None:
    """Replace the place where timers are made. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("timers")
    real: Any = base_events.BaseEventLoop.call_at

    @functools.wraps(real)
    def call_at(
        self: Any, when: Any, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        lane = CURRENT_LANE.get()
        is_ours = lane is not None and not lane.has_ended and when is not None
        if not is_ours or is_made_by_machinery(sys._getframe(1)):
            return real(self, when, callback, *args, context=context)
        self._check_closed()
        if self.get_debug():
            self._check_thread()
            self._check_callback(callback, "call_at")
        assert lane is not None
        timer = _Timer(when, callback, args, self, context, lane)
        timer.begin()
        return timer

    base_events.BaseEventLoop.call_at = call_at  # type: ignore[method-assign, assignment]
    _hook_timeouts()


def _hook_timeouts() -> None:
    """Let a time-out be a timer also where its time is over as it begins.

    The library calls it back without one then; whether it is over by then depends on how busy the
    machine is, so the same code would have a timer live and none on replay, or the other way round.
    """
    real: Any = asyncio.Timeout.reschedule

    @functools.wraps(real)
    def reschedule(self: Any, when: float | None) -> None:
        real(self, when)
        lane, handle = CURRENT_LANE.get(), self._timeout_handler
        if lane is None or lane.has_ended or handle is None or when is None:
            return
        if isinstance(handle, asyncio.TimerHandle) or is_made_by_machinery(sys._getframe(1)):
            return
        handle.cancel()
        loop = asyncio.get_running_loop()
        timer = self._timeout_handler = _Timer(when, self._on_timeout, (), loop, None, lane)
        timer.begin()

    asyncio.Timeout.reschedule = asyncio.timeouts.Timeout.reschedule = reschedule  # type: ignore[method-assign]


class _Timer(asyncio.TimerHandle):
    """A timer that goes off when it is its turn."""

    __slots__ = ("_ends_at", "_going", "_lane", "_made_in")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        lane: Lane,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        # A timer that its callback sets again stands beside it, or names would grow without end.
        made_in = _MADE_BY.get(lane, lane)
        self._lane = lane.port.spawn(made_in, "c")
        self._lane.loop, self._lane.root_thread = loop, threading.get_ident()
        _MADE_BY[self._lane] = made_in
        self._made_in = copy_context()
        self._made_in.run(CURRENT_LANE.set, self._lane)
        self._ends_at: float | None = None
        self._ends_at = self._deadline()
        self._going: Coroutine[Any, Any, None] | None = self._go()

    def begin(self) -> None:
        self._made_in.run(self._advance)

    def cancel(self) -> None:
        """Cancel the timer: its lane ends."""
        if not self.cancelled():
            super().cancel()
            self._end()

    # --- going ---

    async def _go(self) -> None:
        await self._lane.port.decide_async(self._lane, _KIND, self._wait)
        self._going = None
        try:
            self._call()
        finally:
            self._end()

    async def _wait(self) -> bool:
        """Wait for the clock: what is left of a timer that a crash cut."""
        loop: asyncio.AbstractEventLoop = self._loop  # type: ignore[attr-defined]  # of Handle
        with suspended():
            due = loop.create_future()
            timer = loop.call_later(self._left_s(), _finish, due)
            try:
                await due
            finally:
                timer.cancel()
        return True

    def _call(self) -> None:
        """Run the callback as the loop would, in its context, with the lane of the timer."""
        context: Context = self._context  # type: ignore[attr-defined]  # of Handle
        previous = context.run(CURRENT_LANE.get)
        context.run(CURRENT_LANE.set, self._lane)
        try:
            self._run()
        finally:
            context.run(CURRENT_LANE.set, previous)

    def _deadline(self) -> float | None:
        """Return when a long timer goes off, in wall time: recorded, or to be recorded."""
        ends_at = _wall() + self._left_s()
        if self._left_s() < _RECORDED_FROM_S:
            return None
        source = self._lane.replay[_KIND]
        if source is None:
            self._lane.record[_KIND](ends_at)
            return ends_at
        recorded: float = source(lambda: ends_at)
        return recorded

    def _left_s(self) -> float:
        left_s: float = self.when() - self._loop.time()  # type: ignore[attr-defined]  # of Handle
        return left_s if self._ends_at is None else min(left_s, self._ends_at - _wall())

    def _advance(self, _done: Any = None) -> None:
        """Go on to the next wait, as a task would; but nobody finds a task here."""
        if self._going is None:
            return
        with contextlib.suppress(StopIteration, Stop):  # the latch says what stopped it
            waited = self._going.send(None)
            if waited is None:  # a bare yield
                self._loop.call_soon(self._advance, context=self._made_in)  # type: ignore[attr-defined]
                return
            waited._asyncio_future_blocking = False
            waited.add_done_callback(self._advance, context=self._made_in)

    def _end(self) -> None:
        going, self._going = self._going, None
        if going is not None:
            self._made_in.copy().run(going.close)
        self._lane.port.end(self._lane)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
