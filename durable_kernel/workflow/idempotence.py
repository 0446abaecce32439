"""`idempotent()`: the user's word that a call may be made again after a crash. Then nobody is asked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self

from durable_kernel.ports import REPEATABLE

__all__ = ["idempotent"]


class idempotent(ContextDecorator):  # noqa: N801 - used as a statement and as a decorator
    """Declare the acts inside to be repeatable: `with durable.idempotent(): client.post(...)`, or `@durable.idempotent()`.

    An act in doubt that was announced inside is simply made again. Works for `async def` functions
    too.
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

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return await function(*args, **kwargs)

        return run

    def _recreate_cm(self) -> Self:
        return type(self)()
