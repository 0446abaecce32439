"""Sleeping: `time.sleep` and `asyncio.sleep`. What is recorded is when to wake, in wall time.

The deadline is on disk before the sleep begins, so a sleep of a day that is cut by a crash goes on
with what is left of it, on any machine. Replay waits for nothing that is over. One soft column,
"sleep"; the duration is not verified, rate limiters compute it from other clocks (H32).

Where a cell has several tasks, each wake-up is a word in their order: tasks wake as they woke, and
a time-out that cut a sleep cuts it again.

A sleep that is only a yield (`sleep(0)`) is left alone. A `time.sleep` that Ctrl-C ends is followed
by a call "sleep.interrupted", which names the sleep by its number; replay raises there again.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

from durable_kernel.effects.callers import SLEEP_MACHINERY
from durable_kernel.effects.exceptions import recorded_error
from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import (
    CURRENT_LANE,
    Call,
    Ending,
    Lane,
    Outcome,
    Witness,
    suspended,
    waiting,
)

__all__ = ["install"]

_KIND = "sleep"
_INTERRUPTED = "sleep.interrupted"
# A shorter sleep is not worth a write: if it is cut, it is slept again.
_FLUSH_FROM_S = 0.001

_wall = time.time
_monotonic = time.monotonic
_real_sleep = time.sleep
_real_asyncio_sleep = asyncio.sleep


def _plan(lane: Lane, duration: float, *, waits: bool = False) -> tuple[float, float]:
    """Record when a sleep of `duration` seconds ends, or find it. Returns (seconds to wait, end).

    A sleep that the journal does not know is not slept while the run still replays; unless who asks
    `waits` until it is live.
    """
    fresh: list[float] = []

    def produce() -> float:
        fresh.append(duration if waits or lane.port.is_live else 0.0)
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
    has_company = lane.port.is_crowded and lane.root_thread == threading.get_ident()
    left_s, _ = _plan(lane, seconds, waits=has_company)
    if has_company:
        _sleep_in_crowd(lane, left_s, call)
        return
    while lane.port.next_recorded(lane) == (call.kind, call.identity):
        _repeat_interruption(lane, call)
    try:
        _real_sleep(left_s)
    except KeyboardInterrupt as error:
        if lane.port.is_live:
            lane.port.begin(lane, call).settle(Outcome.of_error(error))
        raise


def _sleep_in_crowd(lane: Lane, left_s: float, call: Call) -> None:
    """Sleep while other lanes go on; wake at this lane's turn. What is recorded is not slept."""
    while lane.port.next_recorded(lane) == (call.kind, call.identity):
        _repeat_interruption(lane, call)
    over_at = _monotonic() + left_s
    if lane.port.has_word(lane):
        over_at = 0.0

    def is_over() -> bool:
        return _monotonic() >= over_at

    try:
        if lane.port.is_live:
            with waiting(lane):
                _real_sleep(left_s)
        lane.port.obtain(lane, "sleep", is_over)
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


async def _sleep_in_lane(delay: float, result: Any) -> Any:
    lane = CURRENT_LANE.get()
    if lane is None:  # a task that was made in a cell, in a context of its own
        return await _real_asyncio_sleep(delay, result)
    await _Sleep(lane, float(delay)).sleep()
    return result


class _Sleep:
    """One asynchronous sleep: when it ends is recorded, and when its task went on after it."""

    def __init__(self, lane: Lane, duration: float) -> None:
        self._lane = lane
        self._duration = duration
        self._deadline: float | None = None

    async def sleep(self) -> None:
        """Return when the sleep is over and it is the lane's turn.

        A recorded end is taken at once: the sleep may be over in a later cell, or be cancelled.
        """
        port = self._lane.port
        if port.has_word(self._lane) or port.has_observed(self._lane, _KIND):
            self._plan()
        await port.decide_async(self._lane, _KIND, self._sleep_what_is_left)

    def _plan(self) -> float:
        wait_s, self._deadline = _plan(self._lane, self._duration, waits=self._lane.port.is_crowded)
        return wait_s

    async def _sleep_what_is_left(self) -> None:
        if self._deadline is None:
            wait_s = self._plan()
        else:
            wait_s = max(0.0, min(self._deadline - _wall(), self._duration))
        with suspended():
            await _real_asyncio_sleep(wait_s)


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
