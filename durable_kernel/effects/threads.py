"""Threads: each one that a cell starts is a lane of its own; so is each task of a thread pool.

A thread's lane is named by its place among what its parent started; a pool task's by its
submission, whatever worker runs it. Threads that machinery starts for itself (workers of a pool,
monitors of progress bars) get none: what they run for a cell brings its lane along.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import thread as pools
from contextvars import Context
from typing import Any

from durable_kernel.ports import CURRENT_LANE, Lane, Witness, entered, waiting

__all__ = ["install"]

_MACHINERY = (
    "concurrent.futures.",
    "multiprocessing.",
    "IPython.",
    "ipykernel.",
    "tqdm.",
    "zmq.",
    "tornado.",
    "asyncio.",
    "logging.",
    "durable_kernel.",
)
_INSTALLED: set[str] = set()


def install(witness: Witness) -> None:
    """Replace the starting points. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("threads")
    _hook_threads()
    _hook_pool_tasks()


# --- threads --------------------------------------------------------------------------------------


def _hook_threads() -> None:
    real_start, real_join = threading.Thread.start, threading.Thread.join

    @functools.wraps(real_start)
    def start(self: threading.Thread) -> None:
        lane = CURRENT_LANE.get()
        if lane is None or lane.has_ended or _is_machinery(self):
            real_start(self)
            return
        child = lane.port.spawn(lane, "t")
        run = self.run
        self.run = functools.partial(_run_in, child, run, self)  # type: ignore[method-assign]
        try:
            real_start(self)
        except BaseException:
            child.port.end(child)
            raise

    @functools.wraps(real_join)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        lane = CURRENT_LANE.get()
        if lane is None or not lane.port.is_crowded:
            real_join(self, timeout)
            return
        if timeout is None:
            with waiting(lane):
                real_join(self)
            return

        def produce() -> bool:
            real_join(self, timeout)
            return self.is_alive()

        if not lane.port.decide(lane, "join", produce):
            with waiting(lane):
                real_join(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    threading.Thread.join = join  # type: ignore[method-assign]


def _run_in(lane: Lane, run: Any, thread: threading.Thread) -> None:
    """Run a thread in its lane. Its end wakes those who wait for it."""
    del thread.run  # type: ignore[attr-defined]  # the cycle, and what others see of the object
    lane.root_thread = threading.get_ident()
    try:
        with entered(lane):
            run()
    finally:
        lane.port.end(lane)


def _is_machinery(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    modules = (type(thread).__module__, getattr(target, "__module__", None) or "")
    return any(each.startswith(_MACHINERY) for each in (f"{name}." for name in modules))


# --- tasks of a pool ------------------------------------------------------------------------------


def _hook_pool_tasks() -> None:
    item = pools._WorkItem  # the one place where submission and execution meet
    real_init, real_run = item.__init__, item.run

    @functools.wraps(real_init)
    def init(self: Any, *args: Any, **options: Any) -> None:
        real_init(self, *args, **options)
        lane = CURRENT_LANE.get()
        if lane is not None and not lane.has_ended:
            self.durable_lane = lane.port.spawn(lane, "p")

    @functools.wraps(real_run)
    def run(self: Any) -> None:
        lane: Lane | None = self.__dict__.pop("durable_lane", None)
        if lane is None:
            real_run(self)
            return
        lane.root_thread = threading.get_ident()
        _bring_along(lane, getattr(self, "fn", None))
        try:
            with entered(lane):
                real_run(self)
        finally:
            lane.port.end(lane)

    item.__init__ = init
    item.run = run


def _bring_along(lane: Lane, function: Any) -> None:
    """Put the lane into the context that `asyncio.to_thread` hands on."""
    context = getattr(getattr(function, "func", None), "__self__", None)
    if isinstance(function, functools.partial) and isinstance(context, Context):
        context.run(CURRENT_LANE.set, lane)
