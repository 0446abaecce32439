"""One writer: `flock` on the file LOCK of a run's folder.

The kernel drops the lock when its holder dies, however it dies. What stands in the file is for
messages only. The file is never deleted: a lock on a deleted file excludes nobody. The descriptor
is closed on exec and in forked children, which would keep the lock alive after the parent.

Known limit: on network file systems `flock` may be emulated or absent. The epoch in each frame and
the writer's check of its place (`writer.py`) show a second writer there after the fact.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from durable_kernel.errors import JournalCorruptError, RunLockedError
from durable_kernel.journal.files import open_regular

LOCK_NAME = "LOCK"
HOLDER_BYTES_MAX = 4096
_NO_FILE = frozenset({errno.EISDIR, errno.ENXIO, errno.EOPNOTSUPP})  # a folder; a socket
_ADVICE = "Nothing was changed. Remove it: the file LOCK holds nothing and is made anew."
RETRY_EVERY_S = 0.01
LOOK_S_MAX = 0.05  # `is_locked` holds a shared lock for an instant; that must not refuse a writer


class RunLock:
    """The right to write one run, held until `release` or the death of this process."""

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self._fd = fd
        os.register_at_fork(after_in_child=partial(_close_in_child, weakref.ref(self)))

    @classmethod
    def acquire(cls, folder: Path, *, timeout_s: float = 0) -> RunLock:
        """Take the lock, waiting up to `timeout_s`. Raises RunLockedError naming the holder."""
        try:
            fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            found = f"it can't be opened to be locked ({error.strerror})"
            raise JournalCorruptError(folder / LOCK_NAME, 0, found, _ADVICE) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                found = "this is no file, and is not locked"
                raise JournalCorruptError(folder / LOCK_NAME, 0, found, _ADVICE)
            deadline = monotonic() + max(timeout_s, LOOK_S_MAX)
            while not _try_lock(fd, fcntl.LOCK_EX):
                if monotonic() >= deadline:
                    raise RunLockedError(folder, _holder(fd))
                sleep(RETRY_EVERY_S)
            _write_holder(fd)
        except BaseException:
            os.close(fd)
            raise
        return cls(folder, fd)

    def __repr__(self) -> str:
        return f"<RunLock {self.folder} {'held' if self.is_held else 'not held'}>"

    @property
    def is_held(self) -> bool:
        return self._fd >= 0

    def release(self) -> None:
        """Give the lock up. Harmless when it is not held."""
        if (fd := self._fd) < 0:
            return
        self._fd = -1
        # Explicit: a child forked by foreign C code may still hold a copy of the descriptor.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)

    def forget_in_child(self) -> None:
        """Close the copy that a fork inherited; the parent keeps the lock."""
        # Close only: LOCK_UN would release the parent's lock, which shares this open file.
        if (fd := self._fd) >= 0:
            self._fd = -1
            os.close(fd)


def is_locked(folder: Path) -> str | None:
    """Return what the living writer wrote about itself ("" if nothing), None when there is none."""
    try:
        fd = open_regular(folder / LOCK_NAME)
    except (FileNotFoundError, JournalCorruptError):
        return None  # what is no file was never locked
    try:
        if _try_lock(fd, fcntl.LOCK_SH):
            return None
        return _holder(fd)
    finally:
        os.close(fd)


def _close_in_child(held: weakref.ref[RunLock]) -> None:
    """Run as a fork hook; those can't be unregistered, so they must not keep their lock alive."""
    if (lock := held()) is not None:
        lock.forget_in_child()


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    return os.pread(fd, HOLDER_BYTES_MAX, 0).decode("utf-8", "replace").strip()


def _write_holder(fd: int) -> None:
    text = (
        f"pid {os.getpid()}, boot {_boot_id() or 'unknown'}, started {_start_ticks() or 'unknown'}"
    )
    # For messages only: on a full disk the lock holds without them.
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{text}\n".encode(), 0)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _start_ticks() -> str:
    """Return this process's start in clock ticks since boot: with the pid it names one process."""
    if sys.platform != "linux":
        return ""
    try:
        after_name = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2]
    except OSError:
        return ""
    return after_name.split()[19]  # field 22 of proc(5); the pid and the name are cut off
