"""Locks that a cell makes: who takes them, in which order, is the same on replay (H6).

`threading.Lock` and `RLock`, and what is made of them: conditions, semaphores, barriers, queues,
futures. While a lane is alone they cost a look at the port; so do locks made by machinery, which
stay what they are.
"""

from __future__ import annotations

import _thread
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from durable_kernel.effects.callers import LIBRARY_ROOTS, LOCK_MACHINERY
from durable_kernel.effects.stand_ins import StandIn
from durable_kernel.effects.thread_waits import lane_in_crowd
from durable_kernel.ports import CURRENT_LANE, Lane

__all__ = ["install", "shared_rlock"]

_real_lock: Any = threading.Lock
_real_rlock: Any = threading.RLock
_LOCK_TYPE: Any = type(_real_lock())
_RLockBase: Any = _thread.RLock
_MAKERS = frozenset(
    {"threading", "queue", "concurrent.futures._base", "durable_kernel.effects.thread_pools"}
)
_THREAD_INIT = threading.Thread.__init__.__code__


class _Order:
    """What makes a lock known to the port: its name, and how often it was taken."""

    __slots__ = ("_attempts", "give_back", "name", "taken", "waiting")

    def __init__(self, lane: Lane, release: Callable[[], None]) -> None:
        lane.locks += 1
        self.name = f"{lane.home}{lane.branch}.{lane.locks}"
        self.taken = 0
        self.give_back = release
        self.waiting: list[Lane] = []
        self._attempts: dict[Lane, int] = {}

    def take(self, lane: Lane, real: Callable[..., bool], blocking: Any, timeout: float) -> bool:
        """Take the lock in the order of the lanes."""
        if timeout != -1 and (not blocking or timeout < 0):
            return real(blocking, timeout)  # raises, as it should
        mine = self._attempts[lane] = self._attempts.get(lane, 0) + 1
        timeout_s = (None if timeout == -1 else timeout) if blocking else 0.0
        self.waiting.append(lane)
        try:
            got = lane.port.take_lock(lane, self, mine, lambda: real(False), timeout_s)
        finally:
            self.waiting.remove(lane)
        return real(blocking, timeout) if got is None else got

    def tell(self) -> None:
        """Tell those who wait that it is free."""
        for lane in tuple(self.waiting):
            lane.port.nudge(lane)


class _Lock:
    """A `threading.Lock` of a cell."""

    __slots__ = ("__weakref__", "_lock", "_order")

    def __init__(self, lane: Lane) -> None:
        self._lock = _real_lock()
        self._order = _Order(lane, self._lock.release)

    @property  # type: ignore[misc]  # it is read only
    def __class__(self) -> Any:  # isinstance says what it says of the real one
        return _LOCK_TYPE

    def acquire(self, blocking: Any = True, timeout: float = -1) -> bool:
        lane = lane_in_crowd()
        if lane is None:
            return bool(self._lock.acquire(blocking, timeout))
        return self._order.take(lane, self._lock.acquire, blocking, timeout)

    def release(self) -> None:
        self._lock.release()
        if self._order.waiting:
            self._order.tell()

    def locked(self) -> bool:
        return bool(self._lock.locked())

    acquire_lock, release_lock, locked_lock = acquire, release, locked
    _is_owned = locked  # what a Condition finds out by trying to take it

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()

    def __repr__(self) -> str:
        state = "locked" if self._lock.locked() else "unlocked"
        return f"<{state} _thread.lock object at {id(self):#x}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("cannot pickle '_thread.lock' object")


class _RLock(_RLockBase):
    """A `threading.RLock` of a cell. Taking it again costs nothing."""

    __slots__ = ("_order",)

    def __init__(self, lane: Lane) -> None:
        super().__init__()
        self._order = _Order(lane, super().release)

    def acquire(self, blocking: Any = True, timeout: float = -1) -> bool:
        lane = lane_in_crowd()
        if lane is None or self._is_owned():
            return bool(super().acquire(blocking, timeout))
        return self._order.take(lane, super().acquire, blocking, timeout)

    def release(self) -> None:
        super().release()
        if self._order.waiting:
            self._order.tell()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _release_save(self) -> Any:
        state = super()._release_save()
        self._order.tell()
        return state

    def _acquire_restore(self, state: Any) -> None:
        if lane_in_crowd() is None:
            super()._acquire_restore(state)
            return
        self.acquire()
        for _ in range(state[0] - 1):
            super().acquire()

    def __repr__(self) -> str:
        return super().__repr__().replace(f"{type(self).__name__} object", "_thread.RLock object")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("cannot pickle '_thread.RLock' object")


def _lane_that_makes(frame: Any) -> Lane | None:
    """Return the lane of a cell that makes a lock; None: machinery makes it, or nobody's lane.

    A queue is judged by who makes it: that of a pool of connections is closed by a finalizer, at
    any time. A future's locks are taken by lanes alone, whoever makes it.
    """
    lane = CURRENT_LANE.get()
    if lane is None or lane.has_ended:
        return None
    while frame is not None and (name := frame.f_globals.get("__name__")) in _MAKERS:
        if name == "concurrent.futures._base":
            return lane
        if frame.f_code is _THREAD_INIT:  # the one by which a thread tells that it has started
            return None
        frame = frame.f_back
    if frame is None or LOCK_MACHINERY[frame.f_globals.get("__name__")]:
        return None
    # Libraries make locks when they are imported, in the first process that does so and cell.
    return None if _file_of(frame).startswith(LIBRARY_ROOTS) else lane


def _file_of(frame: Any) -> str:
    """Return the file whose code runs. The `__init__` of a data class has that of its class."""
    path: str = frame.f_code.co_filename
    if not path.startswith("<"):
        return path
    made = frame.f_globals.get("__name__") or type(frame.f_locals.get("self")).__module__
    module = None if made == "__main__" else sys.modules.get(made)
    return getattr(module, "__file__", None) or path


def shared_rlock() -> Any:
    """Make a lock of the running lane, whoever asks."""
    lane = CURRENT_LANE.get()
    return _real_rlock() if lane is None or lane.has_ended else _RLock(lane)


def _make_lock() -> Any:
    lane = _lane_that_makes(sys._getframe(1))
    return _real_lock() if lane is None else _Lock(lane)


class _LockKind(type):
    """Where `threading.Lock` is a class, instances of the real one are its instances."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _LOCK_TYPE)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, _LOCK_TYPE)

    def __repr__(cls) -> str:
        return repr(_LOCK_TYPE)

    def __call__(cls) -> Any:
        lane = _lane_that_makes(sys._getframe(1))
        return _real_lock() if lane is None else _Lock(lane)


@functools.wraps(_real_rlock)
def _make_rlock(*args: Any, **options: Any) -> Any:
    lane = _lane_that_makes(sys._getframe(1))
    if lane is None or args or options:
        return _real_rlock(*args, **options)
    return _RLock(lane)


def install() -> None:
    """Replace what makes locks, also where it was imported by name."""
    make: Any = StandIn("threading", "Lock", _make_lock)
    if isinstance(_real_lock, type):
        names = {"__module__": "threading", "__doc__": _real_lock.__doc__}
        make = _LockKind("Lock", (), names)
    modules: Any = threading, sys.modules.get("multiprocessing.dummy")
    for module in modules:
        if module is not None:
            module.Lock, module.RLock = make, _make_rlock
