"""`step`: any function becomes an effect.

Its result is journaled; after a crash it is served, not computed again. A step is an act: it is
announced, synced, before its body runs, and if the process dies inside it, it is in doubt, unless
it is declared idempotent. Its identity is its name. Its body runs without a lane: what it does
belongs to the step, not to the cell.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any, overload

from durable_kernel.errors import StepFailedError
from durable_kernel.ports import (
    CURRENT_LANE,
    REPEAT_ALWAYS,
    REPEAT_NEVER,
    Act,
    Call,
    Ending,
    ErrorFacts,
    Outcome,
    Repeat,
    Step,
    await_cancellation,
    carried_with,
    reach_ending,
    rebuild_raised,
    suspended,
)
from durable_kernel.workflow.context import STEP_IN_PROGRESS, warn_not_durable

__all__ = ["step"]


@overload
def step(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...
@overload
def step(
    function: None = None, /, *, name: str | None = None, idempotent: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def step(function: Callable[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> Any:
    """Run a function as a durable step, or make one.

    Three forms, each for plain and for `async def` functions:

        result = durable.step(fetch, url)                    # call; await it when fetch is async
        @durable.step                                          # decorator
        @durable.step(name="charge", idempotent=True)          # decorator with options

    A bare `durable.step(f)` is the decorator form, so it returns a function; a function without
    arguments is called by `durable.step(f)()`. `idempotent=True` says that running it again after a
    crash does no harm.

    The result must be storable (plain values, arrays, data frames, picklable objects), else
    OutcomeNotStorableError is raised.
    """
    if function is None:
        return functools.partial(_decorate, **_options(kwargs))
    if not args and not kwargs:
        return _decorate(function)
    return _decorate(function)(*args, **kwargs)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    unknown = set(given) - {"name", "idempotent"}
    if unknown:
        raise TypeError(
            f"step() has no option {', '.join(sorted(unknown))}; it takes name and idempotent."
        )
    return given


def _decorate(
    function: Callable[..., Any], *, name: str | None = None, idempotent: bool = False
) -> Callable[..., Any]:
    label = name or _name_of(function)
    repeat = (
        Repeat(REPEAT_ALWAYS.seconds_max, "declared idempotent") if idempotent else REPEAT_NEVER
    )
    call = Call("step", label, {"name": label}, {}, Act.REMOTE, repeat, runs_user_code=True)
    return _asynchronous(call, function) if _is_async(function) else _synchronous(call, function)


def _name_of(function: Callable[..., Any]) -> str:
    """Name a function without its address: the name is what replay compares."""
    if isinstance(function, functools.partial):
        return _name_of(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return named.__qualname__


def _is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a call gives a coroutine: also of a marked function, or of an object."""
    by_class = inspect.iscoroutinefunction(type(function).__call__)
    return by_class or asyncio.iscoroutinefunction(function)


def _synchronous(call: Call, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        lane = CURRENT_LANE.get()
        if lane is None:
            _warn_unless_nested()
            return function(*args, **kwargs)
        recalled = lane.port.recall(lane, call)
        if recalled is not None:
            return recalled[0]
        begun = lane.port.begin(lane, call)
        if begun.outcome is not None:
            return _served(begun.outcome, call)
        token = STEP_IN_PROGRESS.set(begun)
        try:
            with suspended():
                value = function(*args, **kwargs)
        except BaseException as error:
            STEP_IN_PROGRESS.reset(token)
            begun.settle(Outcome.of_error(error, **carried_with(error)))
            raise
        STEP_IN_PROGRESS.reset(token)
        begun.settle(Outcome.of_value(value))
        return value

    return run


def _asynchronous(call: Call, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        lane = CURRENT_LANE.get()
        if lane is None:
            _warn_unless_nested()
            return await function(*args, **kwargs)
        recalled = lane.port.recall(lane, call)
        if recalled is not None:
            return recalled[0]
        begun = await lane.port.begin_async(lane, call)
        if begun.outcome is not None:
            await begun.turn()
            await await_cancellation(begun.outcome)
            return _served(begun.outcome, call)
        started_s = perf_counter()
        try:
            with suspended(), _Body(begun):
                value = await function(*args, **kwargs)
        except BaseException as error:
            elapsed_us = round((perf_counter() - started_s) * 1_000_000)
            extra = carried_with(error)
            await reach_ending(begun, error)
            begun.settle(Outcome.of_error(error, elapsed_us=elapsed_us, **extra))
            raise
        await begun.turn()
        begun.settle(Outcome.of_value(value))
        return value

    return run


class _Body:
    """Names the live step while its body runs, so that `idempotency_key()` inside is the step's."""

    __slots__ = ("_before", "_step")

    def __init__(self, begun: Step) -> None:
        self._step = begun

    def __enter__(self) -> None:
        self._before = STEP_IN_PROGRESS.get()
        STEP_IN_PROGRESS.set(self._step)

    def __exit__(self, *_: object) -> None:
        STEP_IN_PROGRESS.set(self._before)


def _warn_unless_nested() -> None:
    """Warn, but not inside a step's body: a step there is part of the outer one, and fine."""
    if STEP_IN_PROGRESS.get() is None:
        warn_not_durable("step")


def _served(outcome: Outcome, call: Call) -> Any:
    if outcome.ending is Ending.VALUE:
        return outcome.value
    if outcome.ending is Ending.FAILED:
        raise StepFailedError(call.label)
    facts = outcome.error or ErrorFacts("builtins:RuntimeError", "the step failed")
    raise rebuild_raised(facts)
