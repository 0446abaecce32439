"""The disk as the journal sees it: the port through which every change of the disk goes.

A fake (`durable_kernel.testing.faulty_disk`) fails the n-th operation, so that tests can loop over
all fault points. Reading does not go through here: it changes nothing.

Whatever is not synced may be lost, or reach the disk out of order, when the machine dies; it
survives the death of the process. A name (created, renamed, removed) is durable after
`sync_folder` of the folder that holds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Protocol

_allocate = getattr(os, "posix_fallocate", None)  # macOS has none


class Disk(Protocol):
    """What the journal does to a disk. Every method raises OSError as the operating system does."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Return a descriptor that is closed on exec."""
        ...

    def write(self, fd: int, content: bytes, /) -> int:
        """Return how many bytes were taken: may be fewer than given, without an error."""
        ...

    def write_at(self, fd: int, content: bytes, place: int, /) -> int:
        """Write at a place of a file that is not in append mode. Returns as `write`."""
        ...

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        """Let the file have zeros there, on blocks of its own. OSError where that can't be."""
        ...

    def sync(self, fd: int) -> None:
        """Return once the file's bytes and size survive the death of the machine."""
        ...

    def truncate(self, fd: int, size_bytes: int, /) -> None: ...

    def close(self, fd: int, /) -> None: ...

    def rename(self, old: Path, new: Path) -> None:
        """Replace `new` atomically."""
        ...

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name. OSError where the file system knows no such thing."""
        ...

    def unlink(self, path: Path) -> None: ...

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make one folder for the owner alone; one that is there already is left as it is."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Return once the folder's names survive the death of the machine."""
        ...


class RealDisk:
    """The operating system's disk."""

    # Bound once: a kernel's hooks replace functions of `os` later, for user code.
    write = staticmethod(os.write)
    write_at = staticmethod(os.pwrite)
    truncate = staticmethod(os.ftruncate)
    close = staticmethod(os.close)

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        if _allocate is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        _allocate(fd, place, size_bytes)

    def sync(self, fd: int) -> None:
        if sys.platform == "darwin":  # there, fsync leaves the bytes in the drive's cache
            _full_sync(fd)
        else:
            os.fdatasync(fd)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def remove_folder(self, path: Path) -> None:
        os.rmdir(path)

    def make_folder(self, path: Path) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not path.is_dir():
                raise

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _full_sync(fd: int) -> None:
    """Sync through the drive's cache; plain fsync where the file system knows no F_FULLFSYNC."""
    try:
        fcntl.fcntl(fd, getattr(fcntl, "F_FULLFSYNC", 51))  # 51 in macOS' sys/fcntl.h
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
            raise
        os.fsync(fd)


REAL_DISK = RealDisk()
