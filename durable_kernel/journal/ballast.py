"""A file of 64 KB that can be given up when the disk is full (H34).

It makes room for the few frames that must still be written then: that an outcome is lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from durable_kernel.journal.disk import Disk
from durable_kernel.journal.files import NO_ROOM, write_file
from durable_kernel.journal.segments import BALLAST_BYTES, BALLAST_NAME

_stat = os.stat


class Ballast:
    """The ballast of one run."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / BALLAST_NAME
        self._name = str(self._path)
        self._disk = disk
        self._was_seen = False

    @property
    def is_there(self) -> bool:
        """Tell whether it is there, by the last look: each act asks, and nobody else takes it."""
        return self._was_seen or self._look()

    def _look(self) -> bool:
        try:
            self._was_seen = _stat(self._name).st_size >= BALLAST_BYTES
        except FileNotFoundError:
            self._was_seen = False
        return self._was_seen

    def give_up(self) -> bool:
        """Make its room free; False when there was none."""
        if not self._look():
            return False
        self._was_seen = False
        self._disk.unlink(self._path)
        with suppress(OSError):  # its room is free either way; only its return is not yet final
            self._disk.sync_folder(self._path.parent)
        return True

    def restore(self) -> bool:
        """Put it back; False when the disk has no room. Raises OSError for any other failure."""
        if self._look():
            return True
        # A file system that compresses must find nothing to compress.
        filling = blake3(b"ballast").digest(length=BALLAST_BYTES)
        try:
            write_file(self._disk, self._path, [filling])
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        self._was_seen = True
        return True
