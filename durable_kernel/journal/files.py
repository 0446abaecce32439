"""Make a whole file appear at once: a temporary name, sync, rename, sync the folder.

And open only files to read: a FIFO under a file's name would keep its reader waiting for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from durable_kernel.errors import JournalCorruptError
from durable_kernel.journal.disk import Disk
from durable_kernel.journal.segments import TEMPORARY_SUFFIX

# "Not now" rather than "this disk is failing": no space, quota, size limit, too many open files.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})

_OF_SOCKETS = frozenset({errno.ENXIO, errno.EOPNOTSUPP})  # Linux, macOS
_SORTS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path, advice: str = "") -> int:
    """Return a descriptor of a regular file, to read. Never waits.

    Raises JournalCorruptError (with `advice`) when something else has that name, FileNotFoundError,
    and OSError as the system does.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in _OF_SOCKETS:
            raise
        raise JournalCorruptError(path, 0, _stands_here(path.stat().st_mode), advice) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    raise JournalCorruptError(path, 0, _stands_here(mode), advice)


def read_regular(path: Path, bytes_max: int | None = None, advice: str = "") -> bytes:
    """Return the bytes of a regular file, at most so many. Raises as `open_regular`."""
    with open(open_regular(path, advice), "rb") as file:
        return file.read() if bytes_max is None else file.read(bytes_max)


def _stands_here(mode: int) -> str:
    sort = next((name for is_one, name in _SORTS if is_one(mode)), "something else")
    return f"{sort} stands where a file should be"


def write_file(disk: Disk, path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file; when this returns it is complete and survives the machine's death.

    Raises OSError as the disk does, a short write as ENOSPC; no file is left then, unless the
    process dies, which leaves the temporary one.
    """
    disk.close(open_written(disk, path, pieces))
    disk.sync_folder(path.parent)


def open_written(disk: Disk, path: Path, pieces: Iterable[bytes]) -> int:
    """Write a new file and return its descriptor, open for writing. The folder is not synced.

    Raises as `write_file`.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    fd = disk.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for piece in pieces:
            write_whole(disk, fd, piece)
        disk.sync(fd)
        disk.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            disk.close(fd)
        with suppress(OSError):
            disk.unlink(temporary)
        raise
    return fd


def write_whole(disk: Disk, fd: int, piece: bytes) -> None:
    """Write all bytes of the piece, or raise: a short write is how a full disk begins."""
    written = disk.write(fd, piece)
    if written != len(piece):
        raise OSError(errno.ENOSPC, f"the disk took {written} of {len(piece)} bytes")
