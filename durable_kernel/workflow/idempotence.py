"""`idempotent()`: the user's word that a call may be made again after a crash, unasked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from durable_kernel.ports import REPEATABLE

__all__ = ["idempotent"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEPTH: ContextVar[int] = ContextVar("durable_idempotent_depth", default=0)
"""Not kept in the object: one may be entered twice, and in several tasks that take turns."""


class idempotent(ContextDecorator):  # noqa: N801 - used as a statement and as a decorator
    """Declare the acts inside to be repeatable.

        with durable.idempotent():
            client.post(...)

    or `@durable.idempotent()` above a function, plain or `async def`. An act in doubt that was
    announced inside is simply made again.
    """

    def __enter__(self) -> Self:
        _DEPTH.set(_DEPTH.get() + 1)
        REPEATABLE.set(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _DEPTH.set(_DEPTH.get() - 1)
        REPEATABLE.set(_DEPTH.get() > 0)

    def __call__(self, func: _Function) -> _Function:
        if not inspect.iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return await func(*args, **kwargs)

        return cast("_Function", run)
