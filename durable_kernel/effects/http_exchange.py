"""One HTTP exchange on its way to an outcome: how it is measured, settled, and cancelled again.

Shared by the hooks of the HTTP libraries and knows none of them.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from durable_kernel.effects.http_keys import Keyed
from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import Call, Ending, ErrorFacts, Outcome, Step, await_cancellation

__all__ = ["Exchange", "await_cancellation"]


class Exchange:
    """A live call. The first ending counts; `elapsed_us` is its duration, None before.

    The clock runs from the construction to the ending, as the caller of the library sees it.
    `keyed` is the Idempotency-Key that it bears beside its own headers.
    """

    __slots__ = ("_started_s", "call", "elapsed_us", "keyed", "step")

    def __init__(self, call: Call, step: Step, keyed: Keyed | None = None) -> None:
        self.call = call
        self.step = step
        self.keyed = keyed
        self.elapsed_us: int | None = None
        self._started_s = perf_counter()  # clock hooks let readings of ours pass

    def set_head(self, head: dict[str, Any]) -> None:
        """Record the head of the answer."""
        if self.keyed is not None:
            self.keyed.note_head(head)
        self.step.set_head(head)

    def end(self) -> None:
        """Settle: the body was read to its end."""
        if self.elapsed_us is None:
            spent_us = self.elapsed_us = round((perf_counter() - self._started_s) * 1_000_000)
            self.step.settle(Outcome(Ending.VALUE, {"elapsed_us": spent_us}))

    def fail(self, error: BaseException, **extra: Any) -> None:
        """Settle: the exchange raised `error`, or was cancelled or interrupted by it.

        `extra` belongs to the hook, and is what `codec` carries.
        """
        if self.elapsed_us is None:
            extra["elapsed_us"] = self._stop()
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
