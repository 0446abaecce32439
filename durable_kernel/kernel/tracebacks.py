"""Tracebacks are those of the stock kernel: what hooks and handlers of ours add is taken out.

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
    """Take the frames of this package out of a traceback, in place. The first one stays."""
    while trace is not None:
        following = trace.tb_next
        while following is not None and _is_own(following):
            following = following.tb_next
        if following is not trace.tb_next:
            trace.tb_next = following
        trace = following


def _is_own(trace: TracebackType) -> bool:
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    return module == _OWN or module.startswith(f"{_OWN}.")


def _trim_chain(error: BaseException | None) -> None:
    """Trim what an exception came of, too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trim(error.__traceback__)
        error = error.__cause__ or error.__context__


def trim_in(shell: Any) -> None:
    """Let IPython show and keep trimmed tracebacks."""
    stock = shell._get_exc_info

    def get_exc_info(exc_tuple: Any = None) -> Any:
        kind, value, trace = stock(exc_tuple)
        trim(trace)
        _trim_chain(value)
        return kind, value, trace

    shell._get_exc_info = get_exc_info
