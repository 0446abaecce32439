"""Usage: what the process has spent, as `resource.getrusage` and `os.times` tell it.

Clocks that come as a record of numbers; `%time` prints them. The record waits as bytes, because
what waits in a column may not change. Unlike the clocks of `time`, they have no offset: what an
earlier process spent is not counted.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from durable_kernel.effects.callers import CLOCK_MACHINERY
from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import CURRENT_LANE, Witness

try:
    import resource
except ImportError:  # Windows
    _resource: ModuleType | None = None
else:
    _resource = resource

__all__ = ["install"]

# Two times, then fourteen counts (man 2 getrusage); five times (man 2 times).
_RUSAGE = struct.Struct("<2d14q")
_TIMES = struct.Struct("<5d")


def _observe(kind: str, read: Callable[[], bytes]) -> bytes:
    """Read `kind` for the cell that called the caller of this function, or for machinery."""
    lane = CURRENT_LANE.get()
    if lane is None or CLOCK_MACHINERY[sys._getframe(2).f_globals.get("__name__")]:
        return read()
    source = lane.replay[kind]
    if source is not None:
        return bytes(source(read))
    value = read()
    lane.record[kind](value)
    return value


def _hook_getrusage(module: Any) -> None:
    real = module.getrusage

    def getrusage(who: int, /) -> Any:
        packed = _observe(f"resource.getrusage/{who}", lambda: _RUSAGE.pack(*real(who)))
        return module.struct_rusage(_RUSAGE.unpack(packed))

    replace(module, "getrusage", getrusage)


def _hook_times() -> None:
    real = os.times

    def times() -> os.times_result:
        return os.times_result(_TIMES.unpack(_observe("os.times", lambda: _TIMES.pack(*real()))))

    replace(os, "times", times)


_INSTALLED: set[str] = set()


def install(witness: Witness) -> None:
    """Replace both. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("usage")
    if _resource is not None:
        _hook_getrusage(_resource)
    _hook_times()
