"""Orders that CPython makes from addresses: sets of tasks, iterated in the order they were made.

`asyncio.wait` returns sets, `as_completed` makes tasks while it iterates one, a TaskGroup cancels
its tasks in the order of one: another process has other addresses, so another order. Here such sets
are still sets, but they iterate by the numbers of their tasks. Without a lane nothing changes.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from durable_kernel.ports import CURRENT_LANE, Witness

__all__ = ["InOrder", "install", "number"]

_INSTALLED: set[str] = set()
_NUMBERS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_NEXT = itertools.count()
_UNKNOWN = sys.maxsize


def number(future: Any) -> None:
    """Give a future its place, if it has none yet."""
    if future not in _NUMBERS:
        _NUMBERS[future] = next(_NEXT)


def _place(future: Any) -> int:
    try:
        return _NUMBERS.get(future, _UNKNOWN)
    except TypeError:  # no weak reference can be made to it
        return _UNKNOWN


class InOrder(set[Any]):
    """A set that iterates its futures in the order in which they were made."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(set.__iter__(self), key=_place))

    def __reduce__(self) -> Any:
        return set, (list(self),)

    def pop(self) -> Any:
        for first in self:
            self.discard(first)
            return first
        raise KeyError("pop from an empty set")

    def copy(self) -> InOrder:
        return InOrder(self)


def _keep_order(name: str) -> None:
    """Let an operation of sets return a set of this kind."""
    real: Any = getattr(set, name)

    @functools.wraps(real)
    def operate(self: InOrder, *others: Any) -> Any:
        found = real(self, *others)
        return InOrder(found) if type(found) is set else found

    setattr(InOrder, name, operate)


for _name in (
    *("__and__", "__or__", "__sub__", "__xor__", "__rand__", "__ror__", "__rsub__", "__rxor__"),
    *("union", "intersection", "difference", "symmetric_difference"),
):
    _keep_order(_name)


def install(witness: Witness) -> None:
    """Replace the functions that make such sets. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("order")
    _hook_wait()
    _hook_as_completed()
    _hook_all_tasks()
    _hook_groups()


def _hook_wait() -> None:
    real = asyncio.wait

    @functools.wraps(real)
    async def wait(fs: Any, **options: Any) -> Any:
        if CURRENT_LANE.get() is None or asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
            return await real(fs, **options)
        fs = list(fs)
        for future in fs:
            if asyncio.isfuture(future):
                number(future)
        done, pending = await real(fs, **options)
        return InOrder(done), InOrder(pending)

    asyncio.wait = asyncio.tasks.wait = wait


def _hook_as_completed() -> None:
    real: Any = asyncio.as_completed

    def make_tasks(fs: Any) -> Any:
        """Make the tasks in the order that was given."""
        if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
            return fs  # the library says that this is no list
        return [asyncio.ensure_future(each) for each in dict.fromkeys(fs)]

    if sys.version_info >= (3, 13):

        @functools.wraps(real)
        def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
            is_ours = CURRENT_LANE.get() is not None and _is_in_loop()
            return real(make_tasks(fs) if is_ours else fs, timeout=timeout)

    else:

        @functools.wraps(real)
        def as_completed(fs: Any, *, timeout: float | None = None) -> Iterator[Any]:
            is_ours = CURRENT_LANE.get() is not None and _is_in_loop()
            yield from real(make_tasks(fs) if is_ours else fs, timeout=timeout)

    asyncio.as_completed = asyncio.tasks.as_completed = as_completed


def _is_in_loop() -> bool:
    return asyncio._get_running_loop() is not None


def _hook_all_tasks() -> None:
    """Let `asyncio.run` cancel what is left in the order in which it was made."""
    real = asyncio.all_tasks

    @functools.wraps(real)
    def all_tasks(loop: Any = None) -> Any:
        found: Iterable[Any] = real(loop)
        return InOrder(found) if _NUMBERS else found

    asyncio.all_tasks = asyncio.tasks.all_tasks = all_tasks


def _hook_groups() -> None:
    real: Any = asyncio.TaskGroup.__init__

    @functools.wraps(real)
    def init(self: Any) -> None:
        real(self)
        if CURRENT_LANE.get() is not None and type(self._tasks) is set:
            self._tasks = InOrder()

    asyncio.TaskGroup.__init__ = init  # type: ignore[method-assign]
