"""Orphans: kernels that outlive what started them, because they could not look yet.

ipykernel looks for its parent each second, and ends its process where that is gone. It looks from a
thread of Python, so code that holds the GIL keeps it from looking, for hours if need be, and its
run stays locked meanwhile. Nobody hears such a kernel any more, and what it did is in the journal.
So whoever opens the run next ends it: that is a death like any other.

It is ended only if what stands in LOCK is that very process (its number, its boot, its start), and
the process that started it does not live. Only Linux tells that much; elsewhere the run is locked.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from durable_kernel.store import current_boot_id

__all__ = ["end_orphan"]

_HOLDER = re.compile(r"pid (?P<pid>\d+), boot (?P<boot>\S+), started (?P<started>\d+)")
_LAUNCHER = b"JPY_PARENT_PID="
_PROC = Path("/proc")


def end_orphan(holder: str) -> bool:
    """Kill the process that holds a run if it is an orphan; `holder` is what LOCK says of it.

    Returns True if it was killed; the lock is free an instant later.
    """
    found = _HOLDER.fullmatch(holder)
    if found is None or found["boot"] != current_boot_id():
        return False
    pid = int(found["pid"])
    with suppress(OSError):  # it ended meanwhile, is somebody else's, or there is no /proc
        process = os.pidfd_open(pid)  # from here on the number can't come to mean another one
        try:
            started = _state_of(pid)[19]
            if started == found["started"] and _has_lost_its_launcher(pid):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                return True
        finally:
            os.close(process)
    return False


def _has_lost_its_launcher(pid: int) -> bool:
    """Tell whether the process that Jupyter names as its parent is gone, or waits to be reaped."""
    variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    named = next((each for each in variables if each.startswith(_LAUNCHER)), b"")
    launcher = named.removeprefix(_LAUNCHER)
    if not launcher.isdigit() or int(launcher) <= 1:
        return False
    try:
        return _state_of(int(launcher))[0] in "ZX"
    except FileNotFoundError:
        return True


def _state_of(pid: int) -> list[str]:
    """Return the fields of proc(5)'s stat behind the name: the state is 0, the start is 19."""
    text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    return text.rpartition(")")[2].split()
