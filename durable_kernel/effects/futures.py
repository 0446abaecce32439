"""Tasks of a `ThreadPoolExecutor`: each is a lane, whatever worker runs it.

A submitted task rests until a worker has it and it is its turn to begin. Futures count as equal
only to themselves, but are hashed by their number: so the sets that `wait` returns, and those that
`as_completed` begins with, have the same order in each life.
"""

from __future__ import annotations

import functools
import threading
import zlib
from concurrent.futures import Future, _base, thread as pools
from contextvars import Context
from typing import Any

from durable_kernel.effects.thread_waits import hidden, lane_in_crowd, wait_for
from durable_kernel.ports import CURRENT_LANE, Lane, entered

__all__ = ["install", "run_task", "submitted"]


class Ticket:
    """A task's lane until the task begins. One that is dropped before ends its lane."""

    __slots__ = ("lane",)

    def __init__(self, lane: Lane) -> None:
        lane.is_waiting = True
        self.lane: Lane | None = lane

    def take(self) -> Lane:
        lane, self.lane = self.lane, None
        assert lane is not None, "a task runs once"
        lane.root_thread = threading.get_ident()
        return lane

    def __del__(self) -> None:
        if self.lane is not None:
            self.lane.port.end(self.lane)


def submitted() -> Ticket | None:
    """Make the lane of a task that the running lane submits."""
    lane = CURRENT_LANE.get()
    return None if lane is None or lane.has_ended else Ticket(lane.port.spawn(lane, "p"))


def run_task(ticket: Ticket, run: Any) -> Any:
    """Run a task in its lane, when it is its turn to begin."""
    lane = ticket.take()
    try:
        with entered(lane):
            lane.port.obtain(lane, "start", lambda: True)
            return run()
    finally:
        lane.port.end(lane)


def _hook_items() -> None:
    item: Any = pools._WorkItem  # the one place where submission and execution meet
    real_init, real_run = item.__init__, item.run

    @functools.wraps(real_init)
    def init(self: Any, *args: Any, **options: Any) -> None:
        real_init(self, *args, **options)
        ticket = submitted()
        if ticket is not None:
            self.durable_ticket = ticket

    @functools.wraps(real_run)
    def run(self: Any) -> None:
        ticket: Ticket | None = self.__dict__.pop("durable_ticket", None)
        if ticket is None:
            real_run(self)
            return
        _bring_along(ticket.lane, getattr(self, "fn", None))
        try:
            run_task(ticket, functools.partial(real_run, self))
        except BaseException as error:  # noqa: BLE001 - stopped before it began
            if not self.future.done():
                self.future.set_exception(error)

    item.__init__ = init
    item.run = run


def _bring_along(lane: Lane | None, function: Any) -> None:
    """Put the lane into the context that `asyncio.to_thread` hands on."""
    context = getattr(getattr(function, "func", None), "__self__", None)
    if isinstance(function, functools.partial) and isinstance(context, Context):
        context.run(CURRENT_LANE.set, lane)


# --- executors ------------------------------------------------------------------------------------


class _NobodyIdle:
    """Stands for the count of idle workers while a lane submits.

    Whether one is idle depends on timing; and too few on replay could not take what the order wants
    next. So each submission starts a worker until all are there.
    """

    def __init__(self, idle: Any) -> None:
        self.release = idle.release  # a worker may be done just now

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        return False


def _initialize(ticket: Ticket | None, initializer: Any, *args: Any) -> None:
    """Run what a new worker begins with: a lane of the one who submitted."""
    if ticket is None:
        initializer(*args)
    else:
        run_task(ticket, functools.partial(initializer, *args))


def _hook_workers() -> None:
    executor: Any = pools.ThreadPoolExecutor
    real_adjust = executor._adjust_thread_count

    @functools.wraps(real_adjust)
    def adjust(self: Any) -> None:
        if CURRENT_LANE.get() is None:
            real_adjust(self)
            return
        idle, self._idle_semaphore = self._idle_semaphore, _NobodyIdle(self._idle_semaphore)
        initializer = getattr(self, "_initializer", None)
        if initializer is not None and len(self._threads) < self._max_workers:
            self._initializer = functools.partial(_initialize, submitted(), initializer)
        try:
            with hidden():
                real_adjust(self)
        finally:
            self._idle_semaphore = idle
            if initializer is not None:
                self._initializer = initializer

    executor._adjust_thread_count = adjust


def _hook_shutdown() -> None:
    executor: Any = pools.ThreadPoolExecutor
    real_shutdown = executor.shutdown

    @functools.wraps(real_shutdown)
    def shutdown(self: Any, wait: bool = True, *, cancel_futures: bool = False) -> None:
        lane = lane_in_crowd()
        if lane is None or not wait:
            real_shutdown(self, wait, cancel_futures=cancel_futures)
            return
        real_shutdown(self, wait=False, cancel_futures=cancel_futures)
        workers = list(self._threads)
        wait_for(lane, "shutdown", lambda: not any(each.is_alive() for each in workers))
        with hidden():
            real_shutdown(self, wait)

    executor.shutdown = shutdown


# --- futures --------------------------------------------------------------------------------------


def _hook_order() -> None:
    future: Any = Future
    acquiring: Any = _base._AcquireFutures
    real_init = future.__init__

    @functools.wraps(real_init)
    def init(self: Any) -> None:
        real_init(self)
        lane = CURRENT_LANE.get()
        if lane is not None:
            lane.locks += 1
            name = f"{lane.home}{lane.branch}.{lane.locks}"
            self._durable_number = zlib.crc32(name.encode()) | (lane.locks << 32)

    def number(self: Any) -> int:
        found: int | None = self.__dict__.get("_durable_number")
        return object.__hash__(self) if found is None else found

    real_acquire = acquiring.__init__

    @functools.wraps(real_acquire)
    def acquire(self: Any, futures: Any) -> None:
        self.futures = sorted(futures, key=number)

    future.__init__, future.__hash__ = init, number
    acquiring.__init__ = acquire


def install() -> None:
    """Replace what tasks and futures are made of."""
    _hook_items()
    _hook_workers()
    _hook_shutdown()
    _hook_order()
