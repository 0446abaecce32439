"""Tracebacks end at the user's line. What hooks and handlers of ours add below it is taken off.

So the traceback of an interrupted or diverged cell shows where the user's code was, as in the stock
kernel, and the one of a replayed cell is the one that was recorded.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

__all__ = ["trim", "trim_in"]

_OWN = "durable_kernel"
_BETWEEN = frozenset({"durable_kernel.effects.signals", "durable_kernel.runtime.interrupts"})
"""They stand between a cell and the handler of a signal that it has set."""


def trim(trace: TracebackType | None) -> None:
    """Cut the frames of this package off the end of a traceback, in place."""
    last = before = None
    current = trace
    while current is not None:
        module = str(current.tb_frame.f_globals.get("__name__", ""))
        if module in _BETWEEN and before is not None:
            before.tb_next = current.tb_next
        else:
            before = current
        if module != _OWN and not module.startswith(f"{_OWN}."):
            last = current
        current = current.tb_next
    if last is not None:
        last.tb_next = None


def trim_in(shell: Any) -> None:
    """Let IPython show and keep trimmed tracebacks."""
    stock = shell._get_exc_info

    def get_exc_info(exc_tuple: Any = None) -> Any:
        kind, value, trace = stock(exc_tuple)
        trim(trace)
        return kind, value, trace

    shell._get_exc_info = get_exc_info
