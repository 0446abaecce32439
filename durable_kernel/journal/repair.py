"""Cut a torn tail off: copy it aside, cut, sync. Can be killed at any point and done again.

The copy has a name made of the place and the bytes, so a second attempt finds the first one's. It
is complete and durable before the first byte is cut.
"""

from __future__ import annotations

import os
from dataclasses import replace

from blake3 import blake3

from durable_kernel.journal.damage import TornTail, read_from
from durable_kernel.journal.disk import Disk
from durable_kernel.journal.files import write_file
from durable_kernel.journal.segments import TORN_SUFFIX


def copy_aside(disk: Disk, torn: TornTail) -> TornTail:
    """Return the tail with its copy named. Raises OSError as the disk does."""
    if torn.size_bytes == 0:
        return torn
    fd = os.open(torn.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tail = read_from(fd, torn.offset, torn.size_bytes)
    finally:
        os.close(fd)
    digest = blake3(tail).hexdigest(length=8)
    copy = torn.file.with_name(f"{torn.file.name}.{torn.offset}-{digest}{TORN_SUFFIX}")
    write_file(disk, copy, [tail])
    return replace(torn, copy=copy)


def cut(disk: Disk, torn: TornTail) -> None:
    """Cut the tail off, for good when this returns. Raises OSError as the disk does."""
    if torn.offset == 0:  # the segment's header: no frame was ever in it
        disk.unlink(torn.file)
        disk.sync_folder(torn.file.parent)
        return
    fd = disk.open(torn.file, os.O_WRONLY)
    try:
        disk.truncate(fd, torn.offset)
        disk.sync(fd)
    finally:
        disk.close(fd)
