"""`idempotent()`: the user's word that a call may be made again after a crash, unasked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from durable_kernel.ports import REPEATABLE

__all__ = ["idempotent"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class idempotent(ContextDecorator):  # noqa: N801 - used as a statement and as a decorator
    """Declare the acts inside to be repeatable.

        with durable.idempotent():
            client.post(...)

    or `@durable.idempotent()` above a function, plain or `async def`. An act in doubt that was
    announced inside is simply made again.
    """

    def __enter__(self) -> Self:
        self._before = REPEATABLE.get()
        REPEATABLE.set(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        REPEATABLE.set(self._before)

    def __call__(self, func: _Function) -> _Function:
        if not inspect.iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return await func(*args, **kwargs)

        return cast("_Function", run)

    def _recreate_cm(self) -> Self:
        return type(self)()
