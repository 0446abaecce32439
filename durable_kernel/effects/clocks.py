"""Clocks: `time` and `datetime`. What a cell reads is recorded; replay reads the same.

A clock read is the most frequent observation, so its path is short: one ContextVar, the name of the
calling module, one append. Nothing is recorded for machinery, which sees real time.

Two shifts, never mixed. *Recorded* values come from the lane. The *offset* of a monotonic clock is
process-wide and holds for every caller, machinery too, so that `loop.call_at(time.monotonic() + 5)`
means five seconds after a reboot or on another machine (H15). Wall clocks have no offset.

Soft kinds are "time.NAME", "time.clock_gettime/ID" and "datetime.now" (µs since 1970).
Not seen: clocks read in C (`np.datetime64("now")`, SQL `now()`), references taken before install
(re-pointed in `timeit` only).
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from durable_kernel.effects.callers import CLOCK_MACHINERY
from durable_kernel.effects.stand_ins import ClassMethod, replace, replace_reader
from durable_kernel.ports import CURRENT_LANE, Source, Witness

__all__ = ["install", "is_monotonic", "reading", "set_offsets", "wall_behind_s"]

Read = Callable[[], Any]

_CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(time, name)
    for stem in (*_CLOCKS, "clock_gettime")
    for name in (stem, f"{stem}_ns")
    if hasattr(time, name)
}
_WALL_IDS = {getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name)}
# Recorded floats round to the next 1e-7 s after a year of uptime; the clock goes on behind that.
_MARGIN_NS = 1_000
_NS = 1_000_000_000


# --- families: clocks that are one clock ----------------------------------------------------------


def _families() -> dict[str, str]:
    """Map stems of kinds to the clock behind them. perf_counter is monotonic on Linux and macOS."""
    found = {f"time.{stem}": stem for stem in _CLOCKS[1:]}
    perf_counter = time.get_clock_info("perf_counter").implementation
    if perf_counter == time.get_clock_info("monotonic").implementation:
        found["time.perf_counter"] = "monotonic"
    by_id = (
        ("CLOCK_MONOTONIC", "monotonic"),
        ("CLOCK_PROCESS_CPUTIME_ID", "process_time"),
        ("CLOCK_THREAD_CPUTIME_ID", "thread_time"),
    )
    for name, family in by_id:
        if hasattr(time, name):
            found[f"time.clock_gettime/{getattr(time, name)}"] = family
    return found


_FAMILY = _families()
_OFFSETS_NS: dict[str, int] = {}
_SHIFTS: dict[str, list[Callable[[int], None]]] = {}


def _split(kind: str) -> tuple[str, bool]:
    """Return the kind of the same clock in seconds, and whether `kind` counts nanoseconds."""
    name, slash, clock_id = kind.partition("/")
    return name.removesuffix("_ns") + slash + clock_id, name.endswith("_ns")


def _family_of(kind: str) -> str | None:
    """Name the monotonic-type clock behind a soft kind; None for wall clocks and other kinds."""
    stem, _ = _split(kind)
    if stem in _FAMILY:
        return _FAMILY[stem]
    name, _, clock_id = stem.partition("/")
    if name == "time.clock_gettime" and int(clock_id) not in _WALL_IDS:
        return stem
    return None


def is_monotonic(kind: str) -> bool:
    """Tell whether values of this soft kind never go down, so that one more is the last + 1 ns."""
    return _family_of(kind) is not None


def reading() -> Mapping[str, float]:
    """Return what the monotonic-type clocks show now, in seconds, by soft kind. Records nothing."""
    return {
        f"time.{stem}": _REAL[stem]() + _OFFSETS_NS.get(_FAMILY[f"time.{stem}"], 0) / _NS
        for stem in _CLOCKS[1:]
    }


def set_offsets(last: Mapping[str, float]) -> None:
    """Let every monotonic-type clock go on from its last recorded value, for every caller (H15).

    `last`: values by soft kind, in the unit of the kind; other kinds are ignored. Call it once,
    when a run is opened and before an event loop has timers: the clocks jump here, and a time-out
    that machinery had already set would end too early or too late.
    """
    newest: dict[str, int] = {}
    for kind, value in last.items():
        family = _family_of(kind)
        if family is not None:
            value_ns = int(value) if _split(kind)[1] else round(value * _NS)
            newest[family] = max(value_ns, newest.get(family, value_ns))
    for family, value_ns in newest.items():
        offset_ns = value_ns + _MARGIN_NS - _read_family_ns(family)
        _OFFSETS_NS[family] = offset_ns
        for shift in _SHIFTS.get(family, ()):
            shift(offset_ns)


def wall_behind_s(last: Mapping[str, float]) -> float:
    """Return by how many seconds the wall clock is behind the last recorded wall time, or 0.0.

    Wall time has no offset: who opens a run has to say when it goes backwards (H15).
    """
    wall_ns = max((_wall_ns(kind, value) for kind, value in last.items()), default=0)
    return max(0, wall_ns - _REAL["time_ns"]()) / _NS


def _read_family_ns(family: str) -> int:
    name, slash, clock_id = family.partition("/")
    if slash:
        return int(_REAL["clock_gettime_ns"](int(clock_id)))
    return int(_REAL[f"{name}_ns"]())


def _wall_ns(kind: str, value: float) -> int:
    if kind == "datetime.now":
        return int(value) * 1_000
    if kind == "time.time_ns":
        return int(value)
    return round(value * _NS) if kind == "time.time" else 0


# --- time.* --------------------------------------------------------------------------------------


def _hook_clock(name: str) -> None:
    """Replace one clock without arguments. Each instruction is paid by every clock read (H5)."""
    kind = f"time.{name}"
    get, machinery = CURRENT_LANE.get, CLOCK_MACHINERY
    real = read = _REAL[name]

    def clock(caller: Mapping[str, Any]) -> Any:
        lane = get()
        if lane is None or machinery[caller.get("__name__")]:
            return read()
        source = lane.replay[kind]
        if source is None:
            value = read()
            lane.record[kind](value)
            return value
        return source(read)

    def shift(offset_ns: int) -> None:
        nonlocal read
        read = _shifted(real, offset_ns, counts_ns=kind.endswith("_ns"))

    replace_reader(time, name, clock)
    family = _family_of(kind)
    if family is not None:
        _SHIFTS.setdefault(family, []).append(shift)
        shift(_OFFSETS_NS.get(family, 0))


def _shifted(real: Read, offset_ns: int, *, counts_ns: bool) -> Read:
    if offset_ns == 0:
        return real
    offset = offset_ns if counts_ns else offset_ns / _NS
    return lambda: real() + offset


def _observe(kind: str, read: Read) -> Any:
    """Read `kind` for the cell that called the caller of this function, or for machinery."""
    lane = CURRENT_LANE.get()
    if lane is None or CLOCK_MACHINERY[sys._getframe(2).f_globals.get("__name__")]:
        return read()
    source: Source | None = lane.replay[kind]
    if source is not None:
        return source(read)
    value = read()
    lane.record[kind](value)
    return value


def _hook_clock_gettime(name: str) -> None:
    real = _REAL[name]
    counts_ns = name.endswith("_ns")

    def clock_gettime(clk_id: int, /) -> Any:
        kind = f"time.{name}/{int(clk_id)}"
        offset_ns = _OFFSETS_NS.get(_family_of(kind) or "", 0)
        read = _shifted(lambda: real(clk_id), offset_ns, counts_ns=counts_ns)
        return _observe(kind, read)

    replace(time, name, clock_gettime)


def _hook_broken_down(name: str) -> None:
    """Replace localtime, gmtime or ctime: without an argument they read the wall clock."""
    real, kind, now = getattr(time, name), f"time.{name}", _REAL["time"]

    def broken_down(seconds: float | None = None, /) -> Any:
        return real(_observe(kind, now) if seconds is None else seconds)

    replace(time, name, broken_down)


def _hook_formats() -> None:
    strftime, asctime, localtime, now = time.strftime, time.asctime, time.localtime, _REAL["time"]

    def hooked_strftime(format: str, /, *t: Any) -> str:
        if not t:
            t = (localtime(_observe("time.strftime", now)),)
        return strftime(format, *t)

    def hooked_asctime(*t: Any) -> str:
        if not t:
            t = (localtime(_observe("time.asctime", now)),)
        return asctime(*t)

    replace(time, "strftime", hooked_strftime)
    replace(time, "asctime", hooked_asctime)


# --- datetime ------------------------------------------------------------------------------------

_UTCNOW_DEPRECATED = (
    "datetime.datetime.utcnow() is deprecated and scheduled for removal in a future version. "
    "Use timezone-aware objects to represent datetimes in UTC: "
    "datetime.datetime.now(datetime.UTC)."
)


def _hook_datetime() -> None:
    """Replace now and utcnow. today() of both classes calls time.time, which is hooked."""
    now_ns = _REAL["time_ns"]
    fromtimestamp = datetime.__dict__["fromtimestamp"]  # a subclass may have another one

    def read_us() -> int:
        return int(now_ns()) // 1_000

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        moment: datetime = fromtimestamp.__get__(None, cls)(
            _observe("datetime.now", read_us) / 1e6, tz
        )
        return moment

    def utcnow(cls: type[datetime]) -> datetime:
        if sys.version_info >= (3, 12):
            warnings.warn(_UTCNOW_DEPRECATED, DeprecationWarning, stacklevel=2)
        moment = datetime.fromtimestamp(_observe("datetime.now", read_us) / 1e6, UTC)
        return cls(*moment.timetuple()[:6], moment.microsecond)

    for name, hook in (("now", now), ("utcnow", utcnow)):
        _replace_in_type(datetime, name, ClassMethod(datetime, name, hook))


def _replace_in_type(kind: type, name: str, value: object) -> None:
    """Change an attribute of a built-in type, also for references and call sites that exist.

    The dict behind the read-only `kind.__dict__` is the only object that it refers to.
    """
    (names,) = gc.get_referents(kind.__dict__)
    names[name] = value
    modified = ctypes.pythonapi.PyType_Modified
    modified.argtypes, modified.restype = [ctypes.py_object], None
    modified(kind)
    assert kind.__dict__[name] is value


# --- install -------------------------------------------------------------------------------------


def _repoint_timeit() -> None:
    """Give a `timeit` that was imported earlier the hooked clock: it had taken the real one."""
    timeit: Any = sys.modules.get("timeit")
    if timeit is None or timeit.default_timer is not _REAL["perf_counter"]:
        return
    timeit.default_timer = time.perf_counter
    for function in (timeit.Timer.__init__, timeit.timeit, timeit.repeat):
        function.__defaults__ = tuple(
            time.perf_counter if default is _REAL["perf_counter"] else default
            for default in function.__defaults__
        )


_INSTALLED: set[str] = set()


def install(witness: Witness) -> None:
    """Replace all clocks. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("clocks")
    for name in _REAL:
        if name.startswith("clock_gettime"):
            _hook_clock_gettime(name)
        else:
            _hook_clock(name)
    _hook_formats()
    for name in ("localtime", "gmtime", "ctime"):
        _hook_broken_down(name)
    _hook_datetime()
    _repoint_timeit()
