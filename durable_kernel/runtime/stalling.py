"""Stalls: all lanes wait, and nobody can be let go on. Found after seconds, never a hang (H6).

A lane that computes is no stall, however long it takes: its thread uses CPU time. A lane that
waits for a lock that nobody will release uses none. Neither is it one when the process itself stood
still (a stopped process, a paused machine): only time that the watch saw pass counts.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from typing import Any, Protocol, cast

from durable_kernel.ports import Lane
from durable_kernel.runtime.patience import cpu_s

__all__ = ["STALL_S", "StallWatch", "stacks_of"]

STALL_S = 5.0
_LOOK_S = 0.25
_LOOK_S_MAX = 2 * _LOOK_S
"""Who waits looks more often than that, if it gets to run."""
_STACK_LINES = 4
_monotonic = time.monotonic


class Watched(Protocol):
    """The part of the turnstile that is looked at."""

    lanes: list[Lane]
    passes: int


class StallWatch:
    """Looks, now and then, whether anything has moved since the last look."""

    def __init__(self, turnstile: Watched, me: Lane | None) -> None:
        self._turnstile = turnstile
        self._me = me
        self._looked_at = _monotonic()
        self._still_s = 0.0
        self._seen: tuple[int, dict[int, object]] = (turnstile.passes, {})

    def look(self) -> str | None:
        """Return a sentence with the stacks once nothing has moved for STALL_S seconds."""
        now = _monotonic()
        since_s = now - self._looked_at
        if since_s < _LOOK_S:
            return None
        self._looked_at = now
        seen = self._turnstile.passes, _progress(self._turnstile.lanes)
        if seen != self._seen or any(lane.outside for lane in self._turnstile.lanes):
            self._seen, self._still_s = seen, 0.0
            return None
        self._still_s += min(since_s, _LOOK_S_MAX)
        if self._still_s < STALL_S:
            return None
        return stacks_of(self._turnstile.lanes)


def _progress(lanes: Iterable[Lane]) -> dict[int, object]:
    """Return, by thread, what changes as long as the code of its lane runs."""
    frames = sys._current_frames()  # noqa: SLF001 - the documented way to other threads' stacks
    found: dict[int, object] = {}
    for lane in list(lanes):
        ident = lane.root_thread
        if ident is None or lane.has_ended or lane.is_at_gate or lane.is_waiting:
            continue
        if lane.loop is not None and not _is_current(lane):  # its thread works, but not for it
            continue
        found[ident] = _cpu_s(ident) if ident in frames else None
    return found


def _is_current(lane: Lane) -> bool:
    """Tell whether the task of a lane is the one that its loop executes."""
    try:
        return asyncio.current_task(cast("Any", lane.loop)) is lane.root_task
    except RuntimeError:
        return False


def _cpu_s(ident: int) -> object:
    """Return the CPU time of a thread, in hundredths of a second; elsewhere its innermost line."""
    used_s = cpu_s(ident)
    if used_s is not None:
        return round(used_s, 1)
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - see above
    return None if frame is None else (id(frame), frame.f_lasti)


def stacks_of(lanes: Iterable[Lane]) -> str:
    """Write where each lane waits, a line for each of its innermost frames."""
    frames = sys._current_frames()  # noqa: SLF001 - see above
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines: list[str] = []
    for lane in list(lanes):
        if lane.has_ended:
            continue
        lines.append(f"lane {lane.path or 'main'}, thread {names.get(lane.root_thread, '?')}:")
        frame = frames.get(lane.root_thread or 0)
        stack = [each for each in traceback.extract_stack(frame) if frame is not None]
        inner = [each for each in stack if "durable_kernel" not in each.filename]
        lines += [
            f"  {each.name}, {each.filename} line {each.lineno}" for each in inner[-_STACK_LINES:]
        ]
    return "\n".join(lines)
