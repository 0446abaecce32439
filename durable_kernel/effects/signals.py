"""The wakeup fd of signals: the kernel's own gives way to everybody's, and is not seen.

Loops take it for themselves and expect to find none; Trio's warns of a collision. So who asks finds
none where the kernel's own is, and that one is back when they let theirs go.
"""

from __future__ import annotations

import signal

from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import Witness

__all__ = ["forget", "install", "keep"]

_NONE = -1
_KEPT: list[int] = []
_INSTALLED: set[str] = set()
_real_set = signal.set_wakeup_fd


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


def install(witness: Witness) -> None:
    """Replace the function. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("signals")

    def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
        if fd == _NONE and _KEPT:
            before = _real_set(_KEPT[0], warn_on_full_buffer=False)
        else:
            before = _real_set(fd, warn_on_full_buffer=warn_on_full_buffer)
        return _NONE if before in _KEPT else before

    replace(signal, "set_wakeup_fd", set_wakeup_fd)
