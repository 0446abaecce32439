"""A disk that fails on purpose, for loops over all fault points.

It works on real files but never waits for the real disk. The fault model:

* The n-th operation fails once with an errno, or a write takes only a part (`Fault`).
* The process dies at the n-th operation, before it or halfway through a write. From then on every
  operation raises SimulatedCrash. Files are as they are: the page cache survives a process.
* The disk is full: it takes `room_bytes` more, short write first, then ENOSPC. Unlinking and
  truncating give room back.
* The machine dies (`cut_power`): bytes that were not synced are kept, lost from some place on, or
  lost in one sector in the middle; names that were not synced are undone from some point on.

Not modelled: damage to synced bytes (tests flip those themselves), and bytes that a failed sync
lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from durable_kernel.journal.disk import RealDisk

SECTOR_BYTES = 512


class Fault(Enum):
    """What happens at the n-th operation."""

    IO_ERROR = auto()
    NO_SPACE = auto()
    SHORT_WRITE = auto()
    CRASH_BEFORE = auto()
    CRASH_HALFWAY = auto()


class SimulatedCrash(BaseException):
    """The process is dead. Not an `Exception`: nothing may catch it and go on."""


class _Rename(NamedTuple):
    folder: Path
    undo: Callable[[], None]


class FaultyDisk:
    """A `Disk` that fails once, at operation `fail_at` (from 1; 0 is never).

    `operations` lists the names of the operations so far, the failed one included.
    """

    def __init__(
        self,
        *,
        fail_at: int = 0,
        fault: Fault = Fault.IO_ERROR,
        only: frozenset[str] = frozenset(),
        room_bytes: int | None = None,
        has_spare_room: bool = True,
    ) -> None:
        self.operations: list[str] = []
        self.fail_at = fail_at
        self.fault = fault
        self.only = only  # count these operations alone; all when empty
        self.room_bytes = room_bytes
        self.has_spare_room = has_spare_room  # False: a file system that allocates nothing ahead
        self.is_dead = False
        self.has_failed = False
        self._real = RealDisk()
        self._paths: dict[int, Path] = {}  # open descriptors
        self._synced_bytes: dict[Path, int] = {}
        self._ends: dict[Path, int] = {}  # where what was written ends; zeros may follow
        self._names: list[_Rename] = []  # changes of names that are not synced yet

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self._strike("open")
        is_new = not path.exists()
        fd = self._real.open(path, flags, mode)
        self._paths[fd] = path
        if flags & os.O_TRUNC or is_new:
            self._synced_bytes[path] = self._ends[path] = 0
        self._synced_bytes.setdefault(path, os.fstat(fd).st_size)
        self._ends.setdefault(path, os.fstat(fd).st_size)
        if is_new:
            self._names.append(_Rename(path.parent, lambda: path.unlink(missing_ok=True)))
        return fd

    def write(self, fd: int, content: bytes, /) -> int:
        return self.write_at(fd, content, os.lseek(fd, 0, os.SEEK_CUR), moves=True)

    def write_at(self, fd: int, content: bytes, place: int, /, *, moves: bool = False) -> int:
        struck = self._strike("write", is_write=True)
        if struck:
            content = content[: len(content) // 2]
        elif self.room_bytes is not None:
            size_bytes = os.fstat(fd).st_size
            allowed = max(size_bytes - place, 0) + self.room_bytes
            if allowed <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content = content[:allowed]
            self.room_bytes -= max(place + len(content) - size_bytes, 0)
        taken = self._real.write_at(fd, content, place)
        if moves:
            os.lseek(fd, place + taken, os.SEEK_SET)
        path = self._paths[fd]
        self._ends[path] = max(self._ends[path], place + taken)
        if struck is Fault.CRASH_HALFWAY:
            raise SimulatedCrash
        return taken

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        self._strike("allocate")
        if not self.has_spare_room:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        more_bytes = place + size_bytes - os.fstat(fd).st_size
        if self.room_bytes is not None:
            if more_bytes > self.room_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room_bytes -= max(more_bytes, 0)
        self._real.truncate(fd, place + size_bytes)  # as far as anybody can see

    def sync(self, fd: int) -> None:
        self._strike("sync")
        path = self._paths.get(fd)
        if path is not None:  # a duplicate of a descriptor counts as the file being synced later
            self._synced_bytes[path] = self._ends[path]

    def truncate(self, fd: int, size_bytes: int, /) -> None:
        self._strike("truncate")
        self._give_back(os.fstat(fd).st_size - size_bytes)
        self._real.truncate(fd, size_bytes)
        path = self._paths[fd]
        self._synced_bytes[path] = min(self._synced_bytes[path], size_bytes)
        self._ends[path] = min(self._ends[path], size_bytes)

    def close(self, fd: int, /) -> None:
        self._strike("close")
        self._paths.pop(fd, None)
        self._real.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._strike("rename")
        replaced = new.read_bytes() if new.exists() else None
        self._real.rename(old, new)
        self._synced_bytes[new] = self._synced_bytes.pop(old, new.stat().st_size)
        self._ends[new] = self._ends.pop(old, new.stat().st_size)
        for fd, path in self._paths.items():
            if path == old:
                self._paths[fd] = new

        def undo() -> None:
            new.replace(old)
            self._synced_bytes[old] = self._synced_bytes.pop(new, 0)
            self._ends[old] = self._ends.pop(new, 0)
            if replaced is not None:
                new.write_bytes(replaced)

        self._names.append(_Rename(new.parent, undo))

    def link(self, old: Path, new: Path) -> None:
        self._strike("link")
        self._real.link(old, new)
        self._names.append(_Rename(new.parent, lambda: new.unlink(missing_ok=True)))

    def remove_folder(self, path: Path) -> None:
        self._strike("remove_folder")
        self._real.remove_folder(path)
        self._names.append(_Rename(path.parent, lambda: path.mkdir(mode=0o700)))

    def unlink(self, path: Path) -> None:
        self._strike("unlink")
        content = path.read_bytes()
        self._give_back(len(content))
        self._real.unlink(path)
        self._names.append(_Rename(path.parent, lambda: _restore(path, content)))

    def make_folder(self, path: Path) -> None:
        self._strike("make_folder")
        self._real.make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self._strike("sync_folder")
        self._names = [change for change in self._names if change.folder != path]

    # --- after the death of process or machine ---------------------------------------------------

    def close_all(self) -> None:
        """Close what the dead process left open."""
        for fd in self._paths:
            os.close(fd)
        self._paths.clear()

    def cut_power(self, choose: Callable[[int], int]) -> None:
        """Lose what was not synced; `choose(n)` picks one of 0 … n-1. Call `close_all` before."""
        for change in reversed(self._names[choose(len(self._names) + 1) :]):
            change.undo()
        self._names.clear()
        for path, synced_bytes in self._synced_bytes.items():
            if path.exists() and self._ends[path] > synced_bytes:
                _lose_some(path, synced_bytes, self._ends[path], choose)

    # --- striking --------------------------------------------------------------------------------

    def _strike(self, operation: str, *, is_write: bool = False) -> Fault | None:
        """Count the operation; fail if it is its turn. Return a fault that only a write can do."""
        if self.is_dead:
            raise SimulatedCrash
        if self.only and operation not in self.only:
            return None
        self.operations.append(operation)
        if len(self.operations) != self.fail_at:
            return None
        self.has_failed = True
        if self.fault is Fault.IO_ERROR:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.fault is Fault.NO_SPACE or (self.fault is Fault.SHORT_WRITE and not is_write):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.fault is Fault.SHORT_WRITE:
            return self.fault
        self.is_dead = True
        if self.fault is Fault.CRASH_BEFORE or not is_write:
            raise SimulatedCrash
        return self.fault

    def _give_back(self, size_bytes: int) -> None:
        if self.room_bytes is not None:
            self.room_bytes += size_bytes


def _restore(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _lose_some(path: Path, synced_bytes: int, end: int, choose: Callable[[int], int]) -> None:
    """Lose some of the bytes from `synced_bytes` to `end`. In spare room they are zeros again."""
    unsynced_bytes = end - synced_bytes
    way = choose(3)
    if way == 0:
        return
    at = synced_bytes + choose(unsynced_bytes + 1)
    with path.open("r+b") as file:
        if way == 1 and path.stat().st_size == end:
            file.truncate(at)
            return
        if way == 1:
            file.seek(at)
            file.write(bytes(end - at))
            return
        # Sectors reach the disk in any order: one is missing, though later ones are there.
        first = max(at - at % SECTOR_BYTES, synced_bytes)
        file.seek(first)
        file.write(bytes(min(first - first % SECTOR_BYTES + SECTOR_BYTES, end) - first))
