"""Tasks of an event loop: each one that a cell makes is a lane of its own.

All ways to a task end at `BaseEventLoop.create_task`: gather, TaskGroup, wait_for, as_completed,
ensure_future. A lane is named by its place among what its parent made; it runs from one delivery to
its next await, and ends with the task. The task's own context says whose lane it is, so user code
that copies contexts keeps working.

Tasks that machinery makes for itself (a kernel, a client that writes a body) get none: they act in
the lane that they were made in. Who runs a loop (`asyncio.run` in a thread) waits meanwhile.

Not hooked: loops that are not asyncio's (uvloop). What their tasks do is told as unrecorded, and a
sentence says why. Nor tasks that share one context that the user made: they can't be told apart.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from asyncio import base_events
from collections.abc import Coroutine
from contextvars import Context
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import wrapt

from durable_kernel.effects.asyncio_order import number
from durable_kernel.effects.callers import TASK_MACHINERY
from durable_kernel.ports import CURRENT_LANE, Lane, Witness, waiting

__all__ = ["install", "is_made_by_machinery"]

_INSTALLED: set[str] = set()
_RESERVED: WeakKeyDictionary[Coroutine[Any, Any, Any], Lane] = WeakKeyDictionary()
_UNKNOWN_LOOP = (
    "tasks of uvloop are not recorded: what they do outside can't be replayed. Let this notebook "
    "use the loops of asyncio, which are the default."
)


def install(witness: Witness) -> None:
    """Replace the places where tasks are made and loops are run. Again: nothing changes."""
    if _INSTALLED:
        return
    _INSTALLED.add("tasks")
    _hook_tasks()
    _hook_loops()
    _hook_submissions()
    wrapt.register_post_import_hook(_detect_uvloop, "uvloop")


def is_made_by_machinery(frame: FrameType | None) -> bool:
    """Tell whether what is made in `frame`, below asyncio's own, belongs to nobody's cell."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("asyncio."):
        frame = frame.f_back
    return frame is not None and TASK_MACHINERY[frame.f_globals.get("__name__")]


# --- tasks ----------------------------------------------------------------------------------------


def _hook_tasks() -> None:
    real: Any = base_events.BaseEventLoop.create_task

    @functools.wraps(real)
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        lane = CURRENT_LANE.get()
        if lane is None or lane.has_ended or is_made_by_machinery(sys._getframe(1)):
            return real(self, coro, **options)
        child = _RESERVED.pop(coro, None) if _RESERVED else None
        if child is None:
            child = lane.port.spawn(lane, "a")
        child.loop, child.root_thread = self, threading.get_ident()
        child.is_waiting = False
        try:
            task = _make_in(child, functools.partial(real, self, coro, **options), options)
        except BaseException:
            child.port.end(child)
            raise
        if not task.done():
            child.root_task = task
        number(task)
        task.add_done_callback(functools.partial(_end, child), context=Context())
        return task

    base_events.BaseEventLoop.create_task = create_task  # type: ignore[method-assign]


def _make_in(child: Lane, make: Any, options: dict[str, Any]) -> Any:
    """Make a task whose context names its lane. An eager one begins to run in here."""
    context: Context | None = options.get("context")
    if context is not None:
        context.run(CURRENT_LANE.set, child)
        return make()
    lane = CURRENT_LANE.get()
    CURRENT_LANE.set(child)  # the task copies the context that it finds
    try:
        return make()
    finally:
        CURRENT_LANE.set(lane)


def _end(lane: Lane, _task: Any) -> None:
    lane.port.end(lane)
    lane.root_task = None  # it refers to the lane through its context


# --- loops ----------------------------------------------------------------------------------------


def _hook_loops() -> None:
    real: Any = base_events.BaseEventLoop.run_forever

    @functools.wraps(real)
    def run_forever(self: Any) -> None:
        lane = CURRENT_LANE.get()
        if lane is None or lane.has_ended:
            real(self)
            return
        with waiting(lane):
            real(self)

    base_events.BaseEventLoop.run_forever = run_forever  # type: ignore[method-assign]


def _hook_submissions() -> None:
    """Let a task that another thread submits have its number from the moment of submission."""
    real = asyncio.run_coroutine_threadsafe

    @functools.wraps(real)
    def run_coroutine_threadsafe(coro: Any, loop: Any) -> Any:
        lane = CURRENT_LANE.get()
        if lane is None or lane.has_ended or not asyncio.iscoroutine(coro):
            return real(coro, loop)
        child = lane.port.spawn(lane, "a")
        child.is_waiting = True  # the loop makes its task
        child.loop = loop
        _RESERVED[coro] = child
        return real(coro, loop)

    asyncio.run_coroutine_threadsafe = run_coroutine_threadsafe
    asyncio.tasks.run_coroutine_threadsafe = run_coroutine_threadsafe


def _detect_uvloop(module: Any) -> None:
    """Say a sentence where a cell makes a task in a loop whose order nobody can keep."""
    real: Any = module.Loop.create_task
    told: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

    @functools.wraps(real)
    def create_task(self: Any, coro: Any, **options: Any) -> Any:
        lane = CURRENT_LANE.get()
        if lane is not None and self not in told:
            told[self] = True
            lane.port.note(lane, _UNKNOWN_LOOP)
        return real(self, coro, **options)

    module.Loop.create_task = create_task
