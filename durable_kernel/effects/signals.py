"""Signals: handlers of cells wait while the journal is written, and the wakeup fd is shared.

A handler that a cell sets (a time-out by SIGALRM, say) may raise anywhere in the main thread. It is
handed to whoever `deliver_by` named, who lets it run between two writes and counts it (H5, H16).
Nobody sees that: `getsignal` gives the cell its own handler.

The wakeup fd of the kernel gives way to everybody's: loops take it for themselves and expect to
find none; Trio's warns of a collision. So who asks finds none where the kernel's own is, and that
one is back when they let theirs go.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import CURRENT_LANE, Witness

__all__ = ["deliver_by", "forget", "install", "keep"]

Handler = Callable[[int, FrameType | None], Any]
Deliver = Callable[[Handler, int, FrameType | None], None]

_NONE = -1
_KEPT: list[int] = []
_INSTALLED: set[str] = set()
_DELIVERED_BY: list[Deliver] = []
_MACHINERY = frozenset({"asyncio", "durable_kernel", "ipykernel"})
_real_set = signal.set_wakeup_fd
_real_signal = signal.signal
_real_getsignal = signal.getsignal


def keep(fd: int) -> bool:
    """Let signals leave their bytes in `fd` while nobody else wants them. False: somebody does.

    Only the main thread can.
    """
    before = _real_set(fd, warn_on_full_buffer=False)
    if before != _NONE:
        _real_set(before)
        return False
    _KEPT[:] = [fd]
    return True


def forget(fd: int) -> None:
    """Take `fd` back, whoever has taken its place meanwhile."""
    if fd in _KEPT:
        _KEPT.clear()
    found = _real_set(_NONE)
    if found != fd:
        _real_set(found)


def deliver_by(deliver: Deliver | None) -> None:
    """Name who runs the handlers of cells; None: they run as they come."""
    _DELIVERED_BY[:] = [] if deliver is None else [deliver]


class _OfCell:
    """A handler that a cell has set."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _DELIVERED_BY:
            _DELIVERED_BY[0](self.handler, number, frame)
        else:
            self.handler(number, frame)


def _is_of_cell(handler: Any) -> bool:
    """Tell whether code sets this that a cell runs, and it is none of the kernel's own."""
    module = str(getattr(handler, "__module__", ""))
    is_own = module.partition(".")[0] in _MACHINERY
    return callable(handler) and not is_own and CURRENT_LANE.get() is not None


def _seen(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _OfCell) else handler


def install(witness: Witness) -> None:
    """Replace the functions. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("signals")

    def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
        if fd == _NONE and _KEPT:
            before = _real_set(_KEPT[0], warn_on_full_buffer=False)
        else:
            before = _real_set(fd, warn_on_full_buffer=warn_on_full_buffer)
        return _NONE if before in _KEPT else before

    def set_handler(signalnum: int, handler: Any, /) -> Any:
        if _is_of_cell(handler):
            handler = _OfCell(handler)
        return _seen(_real_signal(signalnum, handler))

    def get_handler(signalnum: int, /) -> Any:
        return _seen(_real_getsignal(signalnum))

    replace(signal, "set_wakeup_fd", set_wakeup_fd)
    replace(signal, "signal", set_handler)
    replace(signal, "getsignal", get_handler)
