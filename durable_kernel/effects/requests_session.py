"""requests, as far as urllib3 below it does not answer for it.

`elapsed` is a difference of two readings of a clock that requests takes when it is imported: it has
to be the hooked one, so that `elapsed` is recorded (H32). And where requests turns a read error of
urllib3 into its own, one that is also a RequestInterrupted has to stay one (H23).
"""

from __future__ import annotations

import time
from typing import Any

import wrapt

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import Witness

__all__ = ["install"]


def install(witness: Witness) -> None:
    """Put the hooks into requests, now or when it is imported."""
    wrapt.register_post_import_hook(_patch, "requests")


def _patch(module: Any) -> None:
    if hasattr(module.sessions, "preferred_clock"):
        module.sessions.preferred_clock = time.perf_counter
    kind = module.exceptions.ChunkedEncodingError
    if "__new__" not in vars(kind):
        kind.__new__ = _keep_interruption(kind)


def _keep_interruption(kind: Any) -> Any:
    class ReadInterrupted(kind, RequestInterrupted):  # known at run time
        """The rest of an answer can't be had; `args[0]` is urllib3's exception, and says why."""

        def __init__(self, cause: RequestInterrupted) -> None:
            kind.__init__(self, cause)
            self.call, self.where = cause.call, cause.where
            self.announced_at = cause.announced_at

        def __str__(self) -> str:
            return str(self.args[0])

    def choose(cls: Any, *args: Any, **options: Any) -> Any:
        if cls is kind and args and isinstance(args[0], RequestInterrupted):
            return OSError.__new__(ReadInterrupted, *args)
        return OSError.__new__(cls, *args)

    return choose
