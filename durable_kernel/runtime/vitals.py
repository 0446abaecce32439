"""Vitals: what a process that dies leaves beside its journal. Two small files in the run's folder.

    LIFE      what it was doing, for how long it had been live in that cell, how much memory it had;
              fixed size, rewritten in place: by the main thread as recorded cells begin and end,
              and by the flush timer. What the page cache has survives the process, not the machine.
    SIGNALS   a byte for each signal that Python's C handler saw and no Python code yet: it is the
              process's wakeup fd, so a cell that holds the GIL for ever leaves a trace as well.

Hints for the next opener about what to do by itself. They are not signed, may be deleted, and never
decide what is true. A place where they can't be written costs only the hints.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from durable_kernel.effects import signals

__all__ = [
    "LIFE_NAME",
    "NOTHING_KNOWN",
    "SIGNALS_NAME",
    "Doing",
    "LastSigns",
    "Vitals",
    "oom_kills_of_system",
    "read_signs",
]

LIFE_NAME = "LIFE"
SIGNALS_NAME = "SIGNALS"
_MAGIC = b"DKL1"
_LAYOUT = struct.Struct("<4sIBqQQIqIq")
_NEVER = -1
_SIGNALS_READ_MAX = 1 << 16
_perf_counter = time.perf_counter  # bound before any hook: ours is no reading of the user's
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_STATM = "/proc/self/statm"
_STATM_BYTES_MAX = 256
_VMSTAT = Path("/proc/vmstat")


class Doing(IntEnum):
    """What the process was about when it wrote LIFE last."""

    IDLE = 0
    RESTORING = 1
    """Executing a position that has its commit already."""
    IN_CELL = 2
    """In a position that is not committed: new, or resumed."""


@dataclass(frozen=True, slots=True)
class LastSigns:
    """What the process before this one left.

    `live_s`: how long it ran in the cell past all records. `deaths`: how many processes before it
    died in that cell in a row, without a new hard record. `stuck`: how many before it died in a row
    while position `stuck_at` was executed again. `oom_kills`: what the system had counted when it
    started, or -1. `unheard`: signals that it was sent and never saw.
    """

    epoch: int = 0
    doing: Doing = Doing.IDLE
    position: int = _NEVER
    live_s: float = 0.0
    rss_bytes: int = 0
    deaths: int = 0
    stuck_at: int = _NEVER
    stuck: int = 0
    oom_kills: int = _NEVER
    unheard: frozenset[int] = frozenset()


NOTHING_KNOWN = LastSigns()


class Counted(Protocol):
    """Deaths as in `LastSigns`, with the last process counted."""

    @property
    def deaths(self) -> int: ...

    @property
    def stuck_at(self) -> int: ...

    @property
    def stuck(self) -> int: ...


def read_signs(folder: Path) -> LastSigns:
    """Read what the last process left; `NOTHING_KNOWN` where that is missing or damaged."""
    try:
        raw = (folder / LIFE_NAME).read_bytes()
        magic, epoch, doing, position, live_ms, rss, deaths, stuck_at, stuck, kills = (
            _LAYOUT.unpack(raw)
        )
        known = LastSigns(
            epoch, Doing(doing), position, live_ms / 1e3, rss, deaths, stuck_at, stuck, kills
        )
    except (OSError, struct.error, ValueError):
        return NOTHING_KNOWN
    if magic != _MAGIC:
        return NOTHING_KNOWN
    with suppress(OSError), (folder / SIGNALS_NAME).open("rb") as file:
        known = replace(known, unheard=frozenset(file.read(_SIGNALS_READ_MAX)))
    return known


def oom_kills_of_system(vmstat: Path = _VMSTAT) -> int:
    """Return how many processes the system killed for their memory since it started; -1 unknown."""
    with suppress(OSError, ValueError):
        for line in vmstat.read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return _NEVER


class Vitals:
    """Writes LIFE and SIGNALS. Cells and the flush timer call it, from two threads.

    `counted`: what earlier processes died of.
    """

    def __init__(self, folder: Path, epoch: int, counted: Counted) -> None:
        self._lock = threading.Lock()
        self._live_since: float | None = None
        self._life = _open(folder / LIFE_NAME, os.O_RDWR | os.O_CREAT)
        self._signals = _open(folder / SIGNALS_NAME, os.O_RDWR | os.O_CREAT)
        self._statm = _open(Path(_STATM), os.O_RDONLY)
        self._is_listening = self._is_quiet = False
        self._epoch = epoch
        self._doing, self._position, self._told = Doing.IDLE, _NEVER, _NEVER
        self._live_s, self._rss = 0.0, 0
        self._deaths = counted.deaths
        self._last_facts = counted.stuck_at, counted.stuck, oom_kills_of_system()
        self._forget_signals()
        self._listen()
        self._write()

    def _listen(self) -> None:
        """Let unheard signals leave their trace. Only the main thread can."""
        if self._signals is None or threading.current_thread() is not threading.main_thread():
            return
        self._is_listening = signals.keep(self._signals)  # else somebody's loop wants them

    def hear(self) -> None:
        """Forget the signals so far: Python code saw them."""
        # Each cell asks, and cutting a file is dear: who wrote nothing stands at its beginning.
        if self._signals is not None:
            with suppress(OSError):
                if os.lseek(self._signals, 0, os.SEEK_CUR):
                    self._forget_signals()

    def rest(self) -> None:
        """Forget them between two cells, where nobody listens to signals: the next need not."""
        self.hear()
        self._is_quiet = True

    def _forget_signals(self) -> None:
        if self._signals is not None:
            with suppress(OSError):
                os.lseek(self._signals, 0, os.SEEK_SET)
                os.ftruncate(self._signals, 0)

    def enter(self, position: int, doing: Doing, *, is_new: bool) -> None:
        """Note that a position begins to be executed.

        Of a new one nothing is written to LIFE until the next tick: the journal has its beginning.
        But where LIFE tells of an older attempt with that number, the deaths there are not its own.
        """
        with self._lock:
            if is_new:
                self._deaths = 0
            self._doing, self._position, self._live_s = doing, position, 0.0
            self._live_since = None
            if not self._is_quiet:
                self.hear()  # what came before is none of this cell's
            self._is_quiet = False
            if not is_new or position == self._told:
                self._write()

    def leave(self) -> None:
        """Note that it is over."""
        with self._lock:
            was_restoring = self._doing is Doing.RESTORING
            self._doing, self._live_since = Doing.IDLE, None
            if was_restoring:  # of another cell the journal tells that it is over
                self._write()

    def tick(self, *, is_live: bool) -> None:
        """Keep how long the cell has been live, and the memory of the process."""
        with self._lock:
            if self._doing is not Doing.IN_CELL:
                return
            if is_live and self._live_since is None:
                self._live_since = _perf_counter()
            self._live_s = 0.0 if self._live_since is None else _perf_counter() - self._live_since
            self._rss = self._rss_bytes()
            self._write()

    def close(self) -> None:
        """Let go of the files; what they say stays. Safe to call twice."""
        with self._lock:
            if self._is_listening and threading.current_thread() is threading.main_thread():
                if self._signals is not None:
                    signals.forget(self._signals)
                self._is_listening = False
            if not self._is_listening:  # else a signal would go to whoever gets this number next
                self._close("_signals")
            self._close("_life")
            self._close("_statm")

    def _close(self, name: str) -> None:
        fd = getattr(self, name)
        setattr(self, name, None)
        if fd is not None:
            os.close(fd)

    def _write(self) -> None:
        if self._life is None:
            return
        packed = _LAYOUT.pack(
            _MAGIC,
            self._epoch,
            self._doing,
            self._position,
            int(self._live_s * 1e3),
            self._rss,
            self._deaths,
            *self._last_facts,
        )
        self._told = self._position
        with suppress(OSError):
            os.pwrite(self._life, packed, 0)

    def _rss_bytes(self) -> int:
        """Return the resident memory of this process; 0 where the system does not tell."""
        if self._statm is None:
            return 0
        try:
            return int(os.pread(self._statm, _STATM_BYTES_MAX, 0).split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0


def _open(path: Path, flags: int) -> int | None:
    """Open the file of a hint; None where that can't be done."""
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
