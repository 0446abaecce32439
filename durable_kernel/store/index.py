"""Index: from a kernel id or a notebook to its run. A cache of METAs: it may be deleted.

One small file for each key, named by the key's hash, holding a run id. A reader believes an entry
only if that run's META says the same; else it looks through all METAs. A writer changes the entry
*before* META: dying between both leaves an entry that META contradicts, never one that hides a run.

No entry means no run only while the index is complete: the file `complete` holds what
the file system says of the folders of the runs and of the entries (inode, times) at a moment when
every META had its entry. Whatever is made, removed or renamed in one of them since, by anybody,
makes it a lie, and the next reader looks through all METAs again.

"No id" is never a key (jupyter facts §1): all kernels without one would share a run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import JournalCorruptError, UsageError
from durable_kernel.journal import Disk
from durable_kernel.journal.files import read_regular, write_whole
from durable_kernel.store.files import explained, make_private_folder, replace_file
from durable_kernel.store.places import is_safe_run_id

COMPLETE_NAME = "complete"
SORTS = ("kernel", "notebook")
_NAME_BYTES = 16
_ENTRY_BYTES_MAX = 1 << 10


class Index:
    """The entries below one folder, in a sub-folder for each sort of key ("kernel", "notebook")."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def __repr__(self) -> str:
        return f"<Index {self._folder}>"

    def get(self, sort: str, key: str) -> str | None:
        """Return the run id of an entry; None when there is none or it is damaged."""
        try:
            found = read_regular(self._path(sort, key), _ENTRY_BYTES_MAX).decode("ascii").strip()
        except (OSError, UnicodeDecodeError, JournalCorruptError):
            return None
        return found if is_safe_run_id(found) else None

    def lacks(self, sort: str, key: str, runs: Path) -> bool:
        """Tell for sure that no run has this key. False: unknown."""
        return self.is_complete(runs) and not os.path.lexists(self._path(sort, key))

    def is_complete(self, runs: Path) -> bool:
        """Tell whether every run below `runs` is known to have its entries."""
        try:
            marked = read_regular(self._folder / COMPLETE_NAME, _ENTRY_BYTES_MAX)
        except (OSError, JournalCorruptError):
            return False
        return marked == self._seen(runs)

    def mark_complete(self, runs: Path) -> None:
        """Note that every run has its entries. Not synced: what a power cut leaves is no match."""
        with suppress(OSError, UsageError):  # a cache of a cache
            make_private_folder(self._folder, self._disk)
            self._write_unsynced(self._folder / COMPLETE_NAME, self._seen(runs))

    def forget_complete(self) -> None:
        """Let the next reader look through all METAs."""
        path = self._folder / COMPLETE_NAME
        with explained(path), suppress(FileNotFoundError):
            self._disk.unlink(path)

    def replace(self, wanted: Mapping[tuple[str, str], str]) -> None:
        """Make the entries those of `wanted`: (sort, key) to run id. Others are removed."""
        kept: set[Path] = set()
        for (sort, key), run_id in wanted.items():
            path = self._path(sort, key)
            kept.add(path)
            if os.path.lexists(path):
                self.put(sort, key, run_id)
                continue
            # Not synced: where there was none, a power cut leaves none, or one that can't be read,
            # and METAs are asked again. Thousands of syncs would take half a minute.
            make_private_folder(self._folder, self._disk)
            make_private_folder(path.parent, self._disk)
            with explained(path):
                self._write_unsynced(path, f"{run_id}\n".encode())
        for path in self._folder.glob("*/*"):
            if path not in kept and not path.name.startswith("."):
                with explained(path), suppress(FileNotFoundError):
                    self._disk.unlink(path)

    def _write_unsynced(self, path: Path, content: bytes) -> None:
        """Write a small file; called under the store's lock, so its temporary name is free."""
        temporary = self._folder / ".entry.tmp"
        fd = self._disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_whole(self._disk, fd, content)  # half an id could name another run
        finally:
            self._disk.close(fd)
        self._disk.rename(temporary, path)

    def _seen(self, runs: Path) -> bytes:
        """Return what the file system says of the folders; names can't change without it."""
        lines = []
        for folder in (runs, *(self._folder / sort for sort in SORTS)):
            try:
                found = folder.stat()
            except OSError:
                lines.append("none")
                continue
            times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
            lines.append(f"{found.st_dev} {found.st_ino} {times}")
        return "\n".join(lines).encode()

    def put(self, sort: str, key: str, run_id: str) -> None:
        """Write an entry; durable on return: an older one could name an old run."""
        if self.get(sort, key) == run_id:
            return
        path = self._path(sort, key)
        make_private_folder(self._folder, self._disk)
        make_private_folder(path.parent, self._disk)
        replace_file(path, f"{run_id}\n".encode(), self._disk)

    def drop(self, sort: str, key: str, run_id: str) -> None:
        """Remove an entry if it names this run."""
        if self.get(sort, key) == run_id:
            path = self._path(sort, key)
            with explained(path):
                self._disk.unlink(path)

    def _path(self, sort: str, key: str) -> Path:
        raw = key.encode("utf-8", "surrogateescape")
        return self._folder / sort / blake3(raw).digest()[:_NAME_BYTES].hex()
