"""Tasks of `multiprocessing.pool.ThreadPool`, and `queue.SimpleQueue`.

Each task that a cell gives to a pool (one call, or one chunk of a map) is a lane, whatever worker
runs it. Its lane ends when its result is in the pool's queue of results, so results arrive in the
order of the lanes; who waits for one waits at its turn. A callback of one call runs in its lane.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import wrapt

from durable_kernel.effects.futures import Ticket, submitted
from durable_kernel.effects.thread_locks import shared_rlock
from durable_kernel.effects.thread_waits import hidden, lane_in_crowd, wait_for
from durable_kernel.errors import Stop
from durable_kernel.ports import CURRENT_LANE, Lane, entered

__all__ = ["install"]

_RealQueue: Any = queue.SimpleQueue
_ENDING = threading.local()


class _Stopped(Exception):
    """What a worker is told when the run has stopped: others would kill it, and its pool waits."""


# --- SimpleQueue ----------------------------------------------------------------------------------


class _SimpleQueue(_RealQueue):
    """A `queue.SimpleQueue` whose items are put and taken in the order of the lanes."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Lane] = []
        self._putting = threading.Lock()  # one of the lanes', if a lane makes this

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if lane_in_crowd() is None:
            super().put(item)
        else:
            with self._putting:
                super().put(item)
        for lane in tuple(self._waiting):
            lane.port.nudge(lane)

    def put_nowait(self, item: Any) -> None:
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        lane = lane_in_crowd()
        if lane is None or (timeout is not None and timeout < 0):
            return super().get(block, timeout)
        found: list[Any] = []
        take = super().get_nowait

        def attempt() -> bool:
            try:
                found.append(take())
            except queue.Empty:
                return False
            return True

        self._waiting.append(lane)
        try:
            got = wait_for(lane, "get", attempt, timeout if block else 0.0)
        finally:
            self._waiting.remove(lane)
        if got is None:
            return super().get(block, timeout)
        if not got:
            raise queue.Empty
        return found[0]

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def empty(self) -> bool:
        return self.qsize() == 0

    def qsize(self) -> int:
        lane = lane_in_crowd()
        size: Callable[[], int] = super().qsize
        return size() if lane is None else int(lane.port.decide(lane, "qsize", size))


_SimpleQueue.__name__ = _SimpleQueue.__qualname__ = "SimpleQueue"
_SimpleQueue.__module__ = "queue"


class _Results(_RealQueue):
    """The queue in which a pool's workers put results. A task's lane ends with that."""

    def __init__(self) -> None:
        super().__init__()
        self._putting = shared_rlock()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        lane: Lane | None = _ENDING.__dict__.pop("lane", None)
        if lane is None:
            super().put(item)
            return
        try:
            with entered(lane), self._putting:
                super().put(item)
        except Stop:
            super().put(item)
        finally:
            lane.port.end(lane)


# --- tasks ----------------------------------------------------------------------------------------


class _Task:
    """A function that runs in the lane of its ticket."""

    def __init__(
        self,
        ticket: Ticket,
        function: Callable[..., Any],
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._ticket = ticket
        self._function = function
        self._callbacks = callback, error_callback

    def __call__(self, *args: Any, **options: Any) -> Any:
        lane = self._ticket.take()
        _ENDING.lane = lane
        with entered(lane):
            try:
                lane.port.obtain(lane, "start", lambda: True)
                return self._run(args, options)
            except Stop as stop:
                raise _Stopped(str(stop)) from None

    def _run(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        done, failed = self._callbacks
        try:
            value = self._function(*args, **options)
        except Exception as error:
            if failed is not None:
                failed(error)
            raise
        if done is not None:
            done(value)
        return value


def _hook_tasks(pool: Any) -> None:
    kind = pool.ThreadPool
    real_queues, real_apply = kind._setup_queues, kind.apply_async
    real_tasks = kind._guarded_task_generation

    @functools.wraps(real_queues)
    def set_up_queues(self: Any) -> None:
        real_queues(self)
        if CURRENT_LANE.get() is not None:
            self._outqueue = _Results()
            self._quick_get = self._outqueue.get

    @functools.wraps(real_apply)
    def apply_async(
        self: Any,
        func: Any,
        args: Any = (),
        kwds: Any = {},  # noqa: B006 - as it is there
        callback: Any = None,
        error_callback: Any = None,
    ) -> Any:
        ticket = submitted() if isinstance(self._outqueue, _Results) else None
        if ticket is None:
            return real_apply(self, func, args, kwds, callback, error_callback)
        return real_apply(self, _Task(ticket, func, callback, error_callback), args, kwds)

    @functools.wraps(real_tasks)
    def tasks(self: Any, result_job: Any, func: Any, iterable: Iterable[Any]) -> Iterator[Any]:
        """Take all that is to be done from the iterable at once: it is the cell's code."""
        ticket = submitted() if isinstance(self._outqueue, _Results) else None
        if ticket is None:
            return iter(real_tasks(self, result_job, func, iterable))
        found: list[Any] = []
        try:
            for each in iterable:
                if ticket is None:
                    ticket = submitted()
                assert ticket is not None, "the first one was not"
                found.append((result_job, len(found), _Task(ticket, func), (each,), {}))
                ticket = None
        except Exception as error:  # noqa: BLE001 - told to who waits, as it is there
            failing = pool._helper_reraises_exception
            found.append((result_job, len(found) + 1, failing, (error,), {}))
        return iter(found)

    kind._setup_queues, kind.apply_async = set_up_queues, apply_async
    kind._guarded_task_generation = tasks


# --- results --------------------------------------------------------------------------------------


def _hook_results(pool: Any) -> None:
    kind = pool.ApplyResult
    real_wait, real_get, real_ready = kind.wait, kind.get, kind.ready

    def wait_in(lane: Lane, result: Any, timeout: float | None) -> bool | None:
        timeout_s = None if timeout is None else max(0.0, timeout)
        return wait_for(lane, "result", result._event.is_set, timeout_s)

    @functools.wraps(real_wait)
    def wait(self: Any, timeout: float | None = None) -> None:
        lane = lane_in_crowd()
        if lane is None or wait_in(lane, self, timeout) is None:
            real_wait(self, timeout)

    @functools.wraps(real_get)
    def get(self: Any, timeout: float | None = None) -> Any:
        lane = lane_in_crowd()
        if lane is not None and wait_in(lane, self, timeout) is False:
            raise pool.TimeoutError
        with hidden():
            return real_get(self, timeout)

    @functools.wraps(real_ready)
    def ready(self: Any) -> bool:
        lane = lane_in_crowd()
        if lane is None:
            return bool(real_ready(self))
        return bool(lane.port.decide(lane, "ready", lambda: bool(real_ready(self))))

    kind.wait, kind.get, kind.ready = wait, get, ready

    iterator = pool.IMapIterator
    real_next = iterator.next

    @functools.wraps(real_next)
    def following(self: Any, timeout: float | None = None) -> Any:
        lane = lane_in_crowd()
        if lane is None:
            return real_next(self, timeout)

        def attempt() -> bool:
            return bool(self._items) or self._index == self._length

        got = wait_for(lane, "next", attempt, None if timeout is None else max(0.0, timeout))
        if got is False:
            raise pool.TimeoutError
        with hidden():
            return real_next(self, timeout)

    iterator.next = iterator.__next__ = following


def _hook_ends(pool: Any) -> None:
    kind = pool.ThreadPool
    real_join, real_terminate = kind.join, kind.terminate

    @functools.wraps(real_join)
    def join(self: Any) -> None:
        lane = lane_in_crowd()
        if lane is not None and self._state in (pool.CLOSE, pool.TERMINATE):
            threads = [self._worker_handler, self._task_handler, self._result_handler, *self._pool]
            wait_for(lane, "join", lambda: not any(each.is_alive() for each in threads))
        with hidden():
            real_join(self)

    @functools.wraps(real_terminate)
    def terminate(self: Any) -> None:
        with hidden():
            real_terminate(self)

    kind.join, kind.terminate = join, terminate


def _hook_pool(pool: Any) -> None:
    _hook_tasks(pool)
    _hook_results(pool)
    _hook_ends(pool)


def install() -> None:
    """Replace what its tasks are made of, as soon as there are such pools."""
    modules: Any = queue
    modules.SimpleQueue = _SimpleQueue
    wrapt.register_post_import_hook(_hook_pool, "multiprocessing.pool")
