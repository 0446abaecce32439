"""Recorded cancellations, met again: who cancelled the call then has to do so now.

Knows asyncio, since every asynchronous effect is made in it; no library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from durable_kernel.ports.lanes import suspended
from durable_kernel.ports.words import Ending, Outcome, Step

__all__ = ["await_cancellation", "reach_ending", "through_cancellation"]

_CANCELLED = frozenset({"asyncio.exceptions:CancelledError", "builtins:GeneratorExit"})
_CANCELLING_TIMERS = frozenset({"Timeout._on_timeout", "_release_waiter", "CancelScope._timeout"})
_GRACE_S = 0.25

T = TypeVar("T")


async def through_cancellation(
    wait: Callable[[], Awaitable[T]],
) -> tuple[T, asyncio.CancelledError | None]:
    """Await what `wait` makes to its end, whoever cancels it. Returns the first cancellation."""
    first: asyncio.CancelledError | None = None
    while True:
        try:
            return await wait(), first
        except asyncio.CancelledError as error:
            first = first or error


async def reach_ending(step: Step, error: BaseException) -> None:
    """Wait for the turn of a live step that `error` has ended, before that is settled.

    One that was cancelled has its turn as well: who cancelled it, and whoever else was let go on
    meanwhile, comes to rest first. An interrupt or a close waits for nobody.
    """
    if isinstance(error, asyncio.CancelledError):
        await through_cancellation(step.turn)
    elif isinstance(error, Exception):
        await step.turn()


async def await_cancellation(outcome: Outcome) -> None:
    """Wait until whatever cancelled the recorded call does so again: CancelledError leaves here.

    An exception raised by ourselves would not do: `asyncio.timeout` and `wait_for` make a
    TimeoutError only of a cancellation of their own, and a task that another one cancelled must
    not end before its canceller got there. Returns when nobody came within the recorded duration
    of the call (`extra["elapsed_us"]`) or before the last pending time-out, whichever is later: the
    caller then raises the recorded exception (an interrupt from outside the process). Returns at
    once for any other outcome, and for a call that its caller closed (`extra["is_closed"]`).
    """
    if outcome.ending is not Ending.ABANDONED or outcome.error is None:
        return
    extra = outcome.error.extra
    if outcome.error.type_path not in _CANCELLED or extra.get("is_closed"):
        return
    with suspended():
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another event loop, whose cancellations have other rules
            return
        elapsed_s: float = extra.get("elapsed_us", 0) / 1_000_000
        pending: Iterable[asyncio.TimerHandle] = getattr(loop, "_scheduled", ())
        deadlines = [timer.when() - loop.time() for timer in pending if _may_cancel(timer)]
        nobody_came = loop.create_future()
        timer = loop.call_later(max(elapsed_s, *deadlines, 0.0) + _GRACE_S, _finish, nobody_came)
        try:
            await nobody_came
        finally:
            timer.cancel()


def _may_cancel(timer: asyncio.TimerHandle) -> bool:
    callback = getattr(timer, "_callback", None)
    return not timer.cancelled() and getattr(callback, "__qualname__", "") in _CANCELLING_TIMERS


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
