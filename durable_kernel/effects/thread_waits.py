"""Waiting for another thread: notifications and time-outs, where lanes share a cell.

All blocking classes of the standard library written in Python (Condition, Event, Semaphore,
Barrier, Queue, Future) wait in `Condition.wait`, for a lock made for this wait. That lock is ours:
the lane counts as resting until it is notified, and goes on when it is its turn.

A time-out is a word, too. On replay it takes no time; the clock by which the rest of a time-out is
reckoned stands still then, and goes ahead by what was waited.
"""

from __future__ import annotations

import functools
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from durable_kernel.effects.callers import LOCK_MACHINERY
from durable_kernel.ports import CURRENT_LANE, Lane

__all__ = ["hidden", "install", "lane_in_crowd", "wait_for"]

_real_lock = threading._allocate_lock  # type: ignore[attr-defined]  # what Condition.wait calls
_monotonic = time.monotonic
_get_ident = threading.get_ident


def lane_in_crowd() -> Lane | None:
    """Return the lane of the running thread if it has company; None: there is nothing to order."""
    lane = CURRENT_LANE.get()
    if lane is None or lane.has_ended or not lane.port.is_crowded:
        return None
    return lane if lane.root_thread == _get_ident() or lane.loop is not None else None


def wait_for(
    lane: Lane, kind: str, attempt: Callable[[], bool], timeout_s: float | None = None
) -> bool | None:
    """Wait until `attempt` succeeds, on the lane's turn. None: wait as if there were no lane."""
    found = lane.port.obtain(lane, kind, attempt, timeout_s)
    if found is None:
        return None
    if lane.stands_at_s is not None:
        lane.stands_at_s += found[1]
    return found[0]


class hidden:
    """Take the lane away while machinery waits for a moment. It does not rest meanwhile."""

    __slots__ = ("_lane",)

    def __enter__(self) -> None:
        self._lane = CURRENT_LANE.get()
        CURRENT_LANE.set(None)

    def __exit__(self, *_: object) -> None:
        CURRENT_LANE.set(self._lane)


class _Notification:
    """The lock for which one `Condition.wait` of one lane waits. Taken once, then waited for."""

    __slots__ = ("_is_armed", "_lane", "_lock")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._lock: Any = _real_lock()
        self._is_armed = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._is_armed:
            self._is_armed = True
            return bool(self._lock.acquire(False))
        timeout_s = 0.0 if not blocking else None if timeout < 0 else timeout
        got = wait_for(self._lane, "wait", self._try, timeout_s)
        return bool(self._lock.acquire(blocking, timeout)) if got is None else got

    def _try(self) -> bool:
        return bool(self._lock.acquire(False))

    def release(self) -> None:
        self._lock.release()
        self._lane.port.nudge(self._lane)


def _allocate_lock() -> Any:
    """Make the lock of one wait: a lane's, if a cell made the condition.

    What machinery waits for (that outputs are flushed) is no matter of the other lanes, and is not
    waited for on replay.
    """
    lane = lane_in_crowd()
    if lane is None:
        return _real_lock()
    frame = sys._getframe(1)
    if frame.f_code is not threading.Condition.wait.__code__:
        return _real_lock()
    lock = getattr(frame.f_locals["self"], "_lock", None)
    return _Notification(lane) if hasattr(lock, "_order") else _real_lock()


def _time() -> float:
    """Tell the time by which time-outs are reckoned. While a lane replays it stands still."""
    lane = CURRENT_LANE.get()
    if lane is None:
        return _monotonic()
    if not lane.port.is_live:
        if lane.stands_at_s is None:
            lane.stands_at_s = _monotonic() + lane.ahead_s
        return lane.stands_at_s
    if lane.stands_at_s is not None:
        lane.ahead_s, lane.stands_at_s = lane.stands_at_s - _monotonic(), None
    return _monotonic() + lane.ahead_s


class _Sight:
    """What a lane saw of an event: how often it looked, and what was there the last time."""

    __slots__ = ("is_set", "looks")

    def __init__(self) -> None:
        self.looks, self.is_set = 0, False


_SIGHTS: WeakKeyDictionary[threading.Event, WeakKeyDictionary[Lane, _Sight]] = WeakKeyDictionary()


def _look(lane: Lane, event: threading.Event, is_set: Callable[[], bool]) -> bool:
    """Look at an event. What a lane sees is a word whenever it changes: at which look it did."""
    sight = _SIGHTS.setdefault(event, WeakKeyDictionary()).setdefault(lane, _Sight())
    sight.looks += 1
    kind = f"event {sight.looks}"
    if lane.port.is_live:
        if is_set() != sight.is_set:
            sight.is_set = bool(lane.port.decide(lane, kind, is_set, is_free=True))
    elif lane.port.has_word(lane, kind):
        sight.is_set = bool(lane.port.decide(lane, kind, is_set, is_free=True))
    return sight.is_set


def _hook_events() -> None:
    real_is_set = threading.Event.is_set

    @functools.wraps(real_is_set)
    def is_set(self: threading.Event) -> bool:
        lane = lane_in_crowd()
        if lane is None or LOCK_MACHINERY[sys._getframe(1).f_globals.get("__name__")]:
            return real_is_set(self)
        return _look(lane, self, lambda: real_is_set(self))

    kind: Any = threading.Event
    kind.is_set = kind.isSet = is_set


def install() -> None:
    """Replace what waits."""
    _hook_events()
    from concurrent.futures import _base

    modules: Any = threading, queue, _base
    modules[0]._allocate_lock = _allocate_lock
    modules[0]._time = modules[1].time = _time
    modules[2].time = SimpleNamespace(**{**vars(time), "monotonic": _time})
