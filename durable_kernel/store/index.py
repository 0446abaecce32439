"""Index: from a kernel id or a notebook to its run. A cache of METAs: it may be deleted.

One small file for each key, named by the key's hash, holding a run id. A reader believes an entry
only when that run's META says the same; else it looks through all METAs. A writer changes the entry
*before* META: dying between both leaves an entry that META contradicts, never one that hides a run.

"No id" is never a key (jupyter facts §1): all kernels without one would share a run.
"""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import JournalCorruptError
from durable_kernel.journal import Disk
from durable_kernel.journal.files import read_regular
from durable_kernel.store.files import explained, make_private_folder, replace_file
from durable_kernel.store.places import is_safe_run_id

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
