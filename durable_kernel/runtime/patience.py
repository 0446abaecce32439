"""Patience: how long lanes that run keep the others from going on.

Counted in their own CPU time, so that a busy machine does not change what is recorded: a lane that
has computed for CPU_S_MAX since somebody was let go on, or that is blocked where no mark tells so,
keeps nobody any longer. Where the system tells no CPU time of threads, wall time counts.

Blocked is who has used no CPU time for IDLE_S_MAX, and, where the kernel tells what a thread does,
already who sleeps and has not run for ASLEEP_S; but never who waits for a processor. One that waits
for the interpreter's lock wakes each switch interval to ask for it, which takes CPU time. So
neither a crowd of computing threads nor a busy machine looks blocked.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from durable_kernel.ports import Lane

__all__ = ["ASLEEP_S", "CPU_S_MAX", "IDLE_S_MAX", "Patience", "cpu_s", "state_of"]

CPU_S_MAX = 0.02
IDLE_S_MAX = 0.1
ASLEEP_S = 0.012
"""More than two switch intervals of the interpreter; where those are longer, that many."""
_monotonic = time.monotonic


def cpu_s(ident: int) -> float | None:
    """Return the CPU time of a thread of this process in seconds; None where nobody tells.

    Asked by the kernel's number of the thread: to ask by `ident` for one that has ended is a crash.
    """
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001 - `enumerate` locks
    number = None if thread is None else thread.native_id
    if number is None or sys.platform != "linux":
        return None
    try:
        return time.clock_gettime(~number << 3 | 6)  # the clock id that pthread_getcpuclockid makes
    except OSError:  # it has ended
        return None


def state_of(ident: int) -> bytes:
    """Return what the kernel says that a thread of this process does, as in proc(5).

    `S` is asleep, `R` runs or waits for a processor. Empty where nobody tells.
    """
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    if thread is None or thread.native_id is None:
        return b""
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat", "rb") as file:  # noqa: PTH123 - quick
            return file.read().rpartition(b") ")[2][:1]
    except OSError:  # it has ended, or the system has no such files
        return b""


@dataclass(slots=True)
class _Seen:
    """What a thread had used when it was first seen, and when that last changed."""

    began_with_s: float
    used_s: float
    changed_at: float


class Patience:
    """With the lanes that run between two passes. Not locked: the turnstile is."""

    def __init__(self) -> None:
        self._passes = -1
        self._seen: dict[int, _Seen] = {}
        self._blocked: dict[int, float] = {}
        """CPU time with which a thread was found blocked: it is, until it has used more."""

    def is_over(self, passes: int, running: Iterable[Lane]) -> bool:
        """Tell whether every lane that runs has had its time. `passes` counts who went on."""
        now = _monotonic()
        if passes != self._passes:
            self._passes = passes
            self._seen.clear()
        # Where no lane runs, a loop is about to run one: that is no thread's time, but has an end.
        idents = [lane.root_thread or 0 for lane in running] or [0]
        tired = [self._is_tired(each, now) for each in idents]  # also behind the first that is not
        return all(tired)

    def _is_tired(self, ident: int, now: float) -> bool:
        used_s = cpu_s(ident) if ident else None
        if used_s is not None and self._blocked.get(ident) == used_s:
            return True
        seen = self._seen.get(ident)
        if seen is None:
            self._seen[ident] = _Seen(used_s or 0.0, used_s or 0.0, now)
            return False
        if used_s is None:
            return now - seen.changed_at > CPU_S_MAX
        if used_s != seen.used_s:
            seen.used_s, seen.changed_at = used_s, now
        idle_s = now - seen.changed_at
        asleep_s = max(ASLEEP_S, 2.2 * sys.getswitchinterval())
        # It may have run between the two looks, and be asleep again.
        if idle_s > asleep_s and self._is_blocked(ident, idle_s) and cpu_s(ident) == used_s:
            self._blocked[ident] = used_s
            return True
        return used_s - seen.began_with_s > CPU_S_MAX

    @staticmethod
    def _is_blocked(ident: int, idle_s: float) -> bool:
        state = state_of(ident)
        return state == b"S" or (idle_s > IDLE_S_MAX and state != b"R")
