"""Threads: each one that a cell starts is a lane of its own.

A thread's lane is named by its place among what its parent started. Threads that machinery starts
for itself (workers of a pool, monitors of progress bars) get none: what they run for a cell brings
its lane along (`futures`, `thread_pools`).

A new thread rests until it is its turn to begin, and its parent goes on meanwhile; who joins it
rests until it has ended.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from durable_kernel.effects import (
    futures,
    thread_locks,
    thread_pools,
    thread_sockets,
    thread_waits,
)
from durable_kernel.effects.thread_waits import hidden, lane_in_crowd, wait_for
from durable_kernel.errors import Stop
from durable_kernel.ports import CURRENT_LANE, Lane, Witness, blocked, entered

__all__ = ["install", "runs_in_greenlet"]

_MACHINERY = (
    "concurrent.futures.",
    "multiprocessing.",
    "IPython.",
    "ipykernel.",
    "tqdm.",
    "zmq.",
    "tornado.",
    "trio.",  # its pool: whether a loop asks it for something depends on when answers come
    "asyncio.",
    "logging.",
    "durable_kernel.",
)
_INSTALLED: set[str] = set()
_LANES: WeakKeyDictionary[threading.Thread, Lane] = WeakKeyDictionary()
_OF_LOOPS: WeakSet[threading.Thread] = WeakSet()
_JOINING: WeakKeyDictionary[threading.Thread, list[Lane]] = WeakKeyDictionary()


def install(witness: Witness) -> None:
    """Replace the starting points. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("threads")
    _hook_threads()
    _hook_is_alive()
    thread_waits.install()
    thread_locks.install()
    futures.install()
    thread_pools.install()
    thread_sockets.install()


def runs_in_greenlet() -> bool:
    """Tell whether a greenlet runs, other than its thread's first. It has a context of its own."""
    library: Any = sys.modules.get("greenlet")
    return hasattr(library, "getcurrent") and library.getcurrent().parent is not None


def _hook_threads() -> None:
    real_start, real_join = threading.Thread.start, threading.Thread.join

    @functools.wraps(real_start)
    def start(self: threading.Thread) -> None:
        lane = CURRENT_LANE.get()
        if lane is None or lane.has_ended or _is_machinery(self):
            if _belongs_to_loop(self):
                _OF_LOOPS.add(self)
            with hidden():
                real_start(self)
            return
        child = lane.port.spawn(lane, "t")
        child.is_waiting = True
        _LANES[self] = child
        run = self.run
        self.run = functools.partial(_run_in, child, run, self)  # type: ignore[method-assign]
        try:
            with hidden():
                real_start(self)
        except BaseException:
            child.port.end(child)
            raise

    @functools.wraps(real_join)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        lane = lane_in_crowd()
        if lane is None:
            real_join(self, timeout)
            return
        if self in _OF_LOOPS:
            with blocked(lane), hidden():
                real_join(self, timeout)
            return
        real_join(self, 0)  # raises if it can't be joined
        joining = _JOINING.setdefault(self, [])
        joining.append(lane)
        try:
            is_over = wait_for(lane, "join", lambda: _is_over(self), _at_least_zero(timeout))
        finally:
            joining.remove(lane)
        if is_over is None:
            real_join(self, timeout)
        elif is_over:
            real_join(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    threading.Thread.join = join  # type: ignore[method-assign]


def _hook_is_alive() -> None:
    real_is_alive = threading.Thread.is_alive

    @functools.wraps(real_is_alive)
    def is_alive(self: threading.Thread) -> bool:
        child = _LANES.get(self)
        if child is None or lane_in_crowd() is None:
            return real_is_alive(self)
        return real_is_alive(self) and not child.has_ended  # a thread ends a moment after its lane

    threading.Thread.is_alive = is_alive  # type: ignore[method-assign]


def _at_least_zero(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else max(0.0, timeout_s)


def _is_over(thread: threading.Thread) -> bool:
    lane = _LANES.get(thread)
    return (lane is not None and lane.has_ended) or not thread.is_alive()


def _run_in(lane: Lane, run: Callable[[], None], thread: threading.Thread) -> None:
    """Run a thread in its lane. Its end lets go on those who wait for it."""
    del thread.run  # the cycle, and what others see of the object
    lane.root_thread = threading.get_ident()
    try:
        with entered(lane):
            _begin(lane, run, thread)
    finally:
        lane.port.end(lane)
        for joining in tuple(_JOINING.get(thread, ())):
            joining.port.nudge(joining)


def _begin(lane: Lane, run: Callable[[], None], thread: Any) -> None:
    """Wait for the turn to begin, and run. What the code raises is told inside the lane."""
    try:
        lane.port.obtain(lane, "start", lambda: True)
        run()
    except Stop:  # the latch says it again, to the cell
        pass
    except SystemExit:
        pass
    except BaseException as error:  # noqa: BLE001 - what the thread's own bootstrap does
        error.__traceback__ = getattr(error.__traceback__, "tb_next", None)
        thread._invoke_excepthook(thread)


def _belongs_to_loop(thread: threading.Thread) -> bool:
    """Tell whether asyncio made the thread.

    The one that ends a loop's pool is there only if the pool was used, and a replay that looks up
    no names does not use it.
    """
    module = getattr(getattr(thread, "_target", None), "__module__", None) or ""
    return f"{module}.".startswith("asyncio.")


def _is_machinery(thread: threading.Thread) -> bool:
    target, kind = getattr(thread, "_target", None), type(thread).__module__
    if kind == "multiprocessing.dummy":  # threads in the guise of processes: the pool's and users'
        kind = ""
    modules = (kind, getattr(target, "__module__", None) or "")
    return any(each.startswith(_MACHINERY) for each in (f"{name}." for name in modules))
