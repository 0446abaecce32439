"""One HTTP exchange on its way to an outcome: how it is measured, settled, and cancelled again.

Shared by the hooks of the HTTP libraries and knows none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import Any

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import Call, Ending, ErrorFacts, Outcome, Step, suspended

__all__ = ["Exchange", "await_cancellation"]

_CANCELLED = frozenset({"asyncio.exceptions:CancelledError", "builtins:GeneratorExit"})
_CANCELLING_TIMERS = frozenset({"Timeout._on_timeout", "_release_waiter", "CancelScope._timeout"})
_GRACE_S = 0.25


class Exchange:
    """A live call. The first ending counts; `elapsed_us` is its duration, None before.

    The clock runs from the construction to the ending, as the caller of the library sees it.
    """

    __slots__ = ("_started_s", "call", "elapsed_us", "step")

    def __init__(self, call: Call, step: Step) -> None:
        self.call = call
        self.step = step
        self.elapsed_us: int | None = None
        self._started_s = perf_counter()  # clock hooks let readings of ours pass

    def end(self) -> None:
        """Settle: the body was read to its end."""
        if self.elapsed_us is None:
            self.step.settle(Outcome.of_value({"elapsed_us": self._stop()}))

    def fail(self, error: BaseException) -> None:
        """Settle: the exchange raised `error`, or was cancelled or interrupted by it."""
        if self.elapsed_us is None:
            extra: dict[str, Any] = {"elapsed_us": self._stop()}
            if isinstance(error, RequestInterrupted):  # a class of ours, found by no name
                extra["is_read_interrupted"] = True
            self.step.settle(Outcome.of_error(error, **extra))

    def abandon(self) -> None:
        """Settle: the caller closed the answer before its end, or dropped it."""
        if self.elapsed_us is None:
            extra = {"elapsed_us": self._stop(), "is_closed": True}
            facts = ErrorFacts("builtins:GeneratorExit", "closed by its reader", (), extra)
            self.step.settle(Outcome(Ending.ABANDONED, None, facts))

    def _stop(self) -> int:
        self.elapsed_us = round((perf_counter() - self._started_s) * 1_000_000)
        return self.elapsed_us


async def await_cancellation(outcome: Outcome) -> None:
    """Wait until whatever cancelled the recorded call does so again: CancelledError leaves here.

    An exception raised by ourselves would not do: `asyncio.timeout` and `wait_for` make a
    TimeoutError only of a cancellation of their own, and a task that another one cancelled must
    not end before its canceller got there. Returns when nobody came within the recorded duration
    of the call or before the last pending time-out, whichever is later: the caller then raises the
    recorded exception (an interrupt from outside the process).
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
