"""Make a whole file appear at once: a temporary name, sync, rename, sync the folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from durable_kernel.journal.disk import Disk
from durable_kernel.journal.segments import TEMPORARY_SUFFIX

# "Not now" rather than "this disk is failing": no space, quota, size limit, too many open files.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})


def write_file(disk: Disk, path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file; when this returns it is complete and survives the machine's death.

    Raises OSError as the disk does, a short write as ENOSPC; no file is left then, unless the
    process dies, which leaves the temporary one.
    """
    disk.close(open_written(disk, path, pieces))
    disk.sync_folder(path.parent)


def open_written(disk: Disk, path: Path, pieces: Iterable[bytes]) -> int:
    """Write a new file and return its descriptor, open for appending. The folder is not synced.

    Raises as `write_file`.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    fd = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
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
