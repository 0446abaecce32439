"""Sleeping: `time.sleep` and `asyncio.sleep`. What is recorded is when to wake, in wall time.

The deadline is on disk before the sleep begins, so a sleep of a day that is cut by a crash goes on
with what is left of it, on any machine. Replay waits for nothing that is over. One soft column,
"sleep"; the duration is not verified, rate limiters compute it from other clocks (H32).

Sleeps that are over still wake tasks in the order of their deadlines, one at a time, each after the
loop came to rest; and not before a time-out of the same cell that was to end earlier. Not exact: a
time-out around several sleeps, of which the recorded ones take no time.

A sleep that is only a yield (`sleep(0)`) is left alone. A `time.sleep` that Ctrl-C ends is followed
by a call "sleep.interrupted", which names the sleep by its number; replay raises there again.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import inspect
import itertools
import sys
import time
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from durable_kernel.effects.callers import SLEEP_MACHINERY
from durable_kernel.effects.exceptions import recorded_error
from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import CURRENT_LANE, Call, Ending, Lane, Outcome, Witness

__all__ = ["install"]

_KIND = "sleep"
_INTERRUPTED = "sleep.interrupted"
# A shorter sleep is not worth a write: if it is cut, it is slept again.
_FLUSH_FROM_S = 0.001
# A task that spins must not keep others asleep (H24).
_TURNS_MAX = 16

_wall = time.time
_real_sleep = time.sleep
_real_asyncio_sleep = asyncio.sleep


def _plan(lane: Lane, duration: float) -> tuple[float, float]:
    """Record when a sleep of `duration` seconds ends, or find it. Returns (seconds to wait, end).

    A sleep that the journal does not know is not slept while the run still replays.
    """
    fresh: list[float] = []

    def produce() -> float:
        fresh.append(duration if lane.port.is_live else 0.0)
        return _wall() + fresh[0]

    source = lane.replay[_KIND]
    if source is None:
        deadline = produce()
        lane.record[_KIND](deadline)
    else:
        deadline = source(produce)
    if not fresh:
        return max(0.0, min(deadline - _wall(), duration)), deadline
    if fresh[0] >= _FLUSH_FROM_S:
        lane.port.flush()
    return fresh[0], deadline


def _lane_that_sleeps(seconds: Any) -> Lane | None:
    """Return the lane if a cell asks to sleep for a while; None: it is the library's own affair."""
    lane = CURRENT_LANE.get()
    if lane is None or SLEEP_MACHINERY[sys._getframe(2).f_globals.get("__name__")]:
        return None
    is_number = isinstance(seconds, float) or hasattr(seconds, "__index__")
    return lane if is_number and seconds > 0 else None


# --- time.sleep -----------------------------------------------------------------------------------


def _hook_time() -> None:
    def sleep(seconds: float, /) -> None:
        lane = _lane_that_sleeps(seconds)
        if lane is None:
            _real_sleep(seconds)
        else:
            _sleep_in(lane, float(seconds))

    replace(time, "sleep", sleep)


def _sleep_in(lane: Lane, seconds: float) -> None:
    """Sleep for what is left. Ctrl-C here is exact: it is recorded and raised again (H16)."""
    lane.sleeps += 1
    call = Call(_INTERRUPTED, "an interrupted sleep", {"sleep": lane.sleeps})
    left_s, _ = _plan(lane, seconds)
    while lane.port.next_recorded(lane) == (call.kind, call.identity):
        _repeat_interruption(lane, call)
    try:
        _real_sleep(left_s)
    except KeyboardInterrupt as error:
        if lane.port.is_live:
            lane.port.begin(lane, call).settle(Outcome.of_error(error))
        raise


def _repeat_interruption(lane: Lane, call: Call) -> None:
    """Raise the recorded Ctrl-C. One that was taken back was no wish of the user: sleep on.

    A stop of the kernel interrupts, too, and takes that back so that the cell can be finished.
    """
    step = lane.port.begin(lane, call)
    if step.outcome is None:
        step.settle(Outcome.of_value(None))
    elif step.outcome.ending is not Ending.VALUE:
        raise recorded_error(step.outcome, KeyboardInterrupt)


# --- asyncio.sleep --------------------------------------------------------------------------------


class _Sleepers:
    """Tasks of one loop whose recorded sleep is over. Wakes the one that was first to wake."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[float, int, float, Lane, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._turns = 0
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, lane: Lane, deadline: float, duration: float) -> None:
        """Return when it is this sleeper's turn."""
        woken: asyncio.Future[None] = self._loop.create_future()
        ends_at = self._loop.time() + duration
        entry = (deadline, next(self._arrivals), ends_at, lane, woken)
        heapq.heappush(self._waiting, entry)
        self._schedule()
        await woken

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._wake_first)

    def _wake_first(self) -> None:
        self._is_scheduled = False
        while self._waiting and self._waiting[0][-1].done():  # cancelled
            heapq.heappop(self._waiting)
        if not self._waiting:
            return
        _, _, ends_at, lane, woken = self._waiting[0]
        if self._timer is not None:
            self._timer.cancel()
        time_out_at = self._earlier_time_out(lane, ends_at)
        if time_out_at is not None:
            self._timer = self._loop.call_at(time_out_at, self._schedule)
            return
        self._turns += 1
        if not getattr(self._loop, "_ready", ()) or self._turns > _TURNS_MAX:
            self._turns = 0
            heapq.heappop(self._waiting)
            woken.set_result(None)
        self._schedule()

    def _earlier_time_out(self, lane: Lane, ends_at: float) -> float | None:
        """Find when a timer of the same cell goes off that a full sleep would not outrun."""
        timers: list[Any] = getattr(self._loop, "_scheduled", [])
        earlier = [
            timer.when()
            for timer in timers
            if not timer.cancelled()
            and timer.when() < ends_at
            and timer._context.get(CURRENT_LANE) is lane
        ]
        return min(earlier, default=None)


_SLEEPERS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sleepers] = WeakKeyDictionary()


async def _sleep_in_lane(delay: float, result: Any) -> Any:
    lane = CURRENT_LANE.get()
    if lane is None:  # a task that was made in a cell, in a context of its own
        return await _real_asyncio_sleep(delay, result)
    wait_s, deadline = _plan(lane, float(delay))
    if wait_s > 0:
        return await _real_asyncio_sleep(wait_s, result)
    loop = asyncio.get_running_loop()
    sleepers = _SLEEPERS.get(loop)
    if sleepers is None:
        sleepers = _SLEEPERS[loop] = _Sleepers(loop)
    await sleepers.wait(lane, deadline, float(delay))
    return result


def _hook_asyncio() -> None:
    """Replace asyncio.sleep by a plain function.

    Who asks is only known when the coroutine is made: later a loop or a task is its caller.
    """

    @functools.wraps(_real_asyncio_sleep)
    def sleep(delay: float, result: Any = None) -> Coroutine[Any, Any, Any]:
        if _lane_that_sleeps(delay) is None:
            return _real_asyncio_sleep(delay, result)
        return _sleep_in_lane(delay, result)

    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(sleep)
    else:
        marker: Any = asyncio.coroutines
        sleep.__dict__["_is_coroutine"] = marker._is_coroutine
    asyncio.sleep = asyncio.tasks.sleep = sleep


_INSTALLED: set[str] = set()


def install(witness: Witness) -> None:
    """Replace both. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("sleeping")
    _hook_time()
    _hook_asyncio()
