"""The shelf: the folder that holds the runs, and their METAs, one by one.

It reads and makes single runs; which of them is meant, and by which key, is said in `store.py`.
Whatever changes a META is called under the store's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from durable_kernel.errors import JournalCorruptError, JournalError, RunNotFoundError
from durable_kernel.journal import Disk
from durable_kernel.journal.files import read_regular
from durable_kernel.store.files import (
    SignedFile,
    create_file,
    explained,
    make_private_folder,
    replace_file,
    write_new,
)
from durable_kernel.store.keys import META, Keys
from durable_kernel.store.meta import (
    FILE_BYTES_MAX,
    META_NAME,
    Meta,
    advice_of,
    decode_meta,
    encode_meta,
)
from durable_kernel.store.places import (
    Location,
    current_boot_id,
    hash_machine_id,
    is_safe_run_id,
    new_run_id,
    real_path,
)

MACHINE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class RunPlace:
    """One run's folder and what META says of it, as read at one moment.

    `is_signed`: META carries this user's signature. `damage`: why META could not be read; `meta`
    then holds the id and the folder's time only.
    """

    run_id: str
    folder: Path
    meta: Meta
    is_signed: bool = True
    damage: str = ""


class Shelf:
    """The runs below one store's home.

    Args:
        machine_id: tells this machine's id; for None a random one is kept.
    """

    def __init__(
        self,
        home: Path,
        keys: Keys,
        *,
        entropy: Callable[[int], bytes],
        disk: Disk,
        machine_id: Callable[[], str | None],
    ) -> None:
        self.runs = home / "runs"
        self._home = home
        self._keys = keys
        self._entropy = entropy
        self._disk = disk
        self._ask_machine_id = machine_id
        self._machine_id = ""

    def __repr__(self) -> str:
        return f"<Shelf {self.runs}>"

    # --- reading -------------------------------------------------------------------------------

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, in no order."""
        with suppress(FileNotFoundError), os.scandir(self.runs) as entries:
            for entry in entries:
                # Hidden: a run that is being made, or whose maker died.
                if is_safe_run_id(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def holds(self, run_id: str) -> bool:
        return is_safe_run_id(run_id) and (self.runs / run_id).is_dir()

    def read(self, run_id: str) -> RunPlace:
        """Read META of one run.

        Raises JournalCorruptError, JournalVersionError, FileNotFoundError.
        """
        folder = self.runs / run_id
        path = folder / META_NAME
        try:
            raw = read_regular(path, FILE_BYTES_MAX, advice_of(run_id))
        except FileNotFoundError:
            if not folder.is_dir():
                raise
            found = "the file is missing"
            raise JournalCorruptError(path, 0, found, advice_of(run_id)) from None
        except OSError as error:
            found = f"it can't be read ({error.strerror})"
            raise JournalCorruptError(path, 0, found, advice_of(run_id)) from error
        meta, signed = decode_meta(path, raw)
        if meta.run_id != run_id:
            found = f"it belongs to run {meta.run_id!r}"
            raise JournalCorruptError(path, 0, found, advice_of(run_id))
        return RunPlace(run_id, folder, meta, self._is_own(run_id, signed))

    def look(self, run_id: str) -> RunPlace:
        """Read META of one run, damaged or not. Raises RunNotFoundError."""
        if not self.holds(run_id):
            raise RunNotFoundError(run_id, self._home)
        try:
            return self.read(run_id)
        except JournalError as error:
            folder = self.runs / run_id
            meta = Meta(run_id=run_id, created_ns=folder.stat().st_mtime_ns)
            return RunPlace(run_id, folder, meta, is_signed=False, damage=str(error))

    def mentioning(self, text: str) -> Iterator[RunPlace]:
        """Yield the runs whose META holds `text` somewhere.

        Raises JournalCorruptError for a damaged one that does: it may be the one that is sought.
        """
        needle = text.encode("utf-8", "surrogateescape")
        for run_id in self.run_ids():
            try:
                raw = read_regular(self.runs / run_id / META_NAME, FILE_BYTES_MAX)
            except (FileNotFoundError, JournalCorruptError):
                continue  # nothing there mentions anything
            if needle in raw:  # cheaper than to decode and verify each
                with suppress(FileNotFoundError):
                    yield self.read(run_id)

    def locate(self, folder: Path) -> Location:
        """Return where a folder lies now."""
        found = folder.stat()
        return Location(
            self._this_machine(), current_boot_id(), found.st_dev, found.st_ino, real_path(folder)
        )

    # --- writing -------------------------------------------------------------------------------

    def make_folders(self) -> None:
        """Make the store's home and the folder of the runs where missing."""
        make_private_folder(self._home, self._disk)
        make_private_folder(self.runs, self._disk)

    def free_id(self, wall_ns: int) -> str:
        """Return a new id that no run has."""
        while self.holds(run_id := new_run_id(wall_ns, self._entropy)):
            pass
        return run_id

    def make(self, meta: Meta, before_it_appears: Callable[[], None]) -> RunPlace:
        """Make the folder of a run with a free id; it appears with its META, durable on return."""
        return self.reveal(self.build(meta), before_it_appears)

    def build(self, meta: Meta) -> RunPlace:
        """Make the folder of a run with a free id, under a hidden name; it has its META."""
        folder = self.runs / meta.run_id
        building = self.runs / f".new-{meta.run_id}-{self._entropy(4).hex()}"
        with explained(building):
            self._disk.make_folder(building)
        # A rename keeps the inode, and the device; the path is that of later.
        meta = meta.moved_to(replace(self.locate(building), path=real_path(folder)))
        meta = replace(meta, key_id=self._keys.key_id())
        content = encode_meta(meta, self._keys.derive(META, meta.run_id))
        with explained(building / META_NAME, len(content)):
            write_new(building / META_NAME, content, self._disk)
            self._disk.sync_folder(building)
        return RunPlace(meta.run_id, building, meta)

    def reveal(self, built: RunPlace, before_it_appears: Callable[[], None]) -> RunPlace:
        """Give what was built its name; durable on return."""
        before_it_appears()
        folder = self.runs / built.run_id
        with explained(folder):
            self._disk.rename(built.folder, folder)
            self._disk.sync_folder(self.runs)
        return replace(built, folder=folder)

    def write(self, meta: Meta) -> RunPlace:
        """Replace a run's META, signed; durable on return."""
        folder = self.runs / meta.run_id
        meta = replace(meta, key_id=self._keys.key_id())
        content = encode_meta(meta, self._keys.derive(META, meta.run_id))
        replace_file(folder / META_NAME, content, self._disk)
        return RunPlace(meta.run_id, folder, meta)

    def set_aside(self, run_id: str) -> None:
        """Keep a damaged META as META.damaged, if there is one."""
        path = self.runs / run_id / META_NAME
        with explained(path), suppress(FileNotFoundError):
            self._disk.rename(path, path.with_name(f"{META_NAME}.damaged"))

    def hide(self, run_id: str) -> Path:
        """Give a run's folder a hidden name, and return it; durable on return."""
        folder = self.runs / run_id
        hidden = self.runs / f".gone-{run_id}-{self._entropy(4).hex()}"
        with explained(folder):
            self._disk.rename(folder, hidden)
            self._disk.sync_folder(self.runs)
        return hidden

    # --- who and where -------------------------------------------------------------------------

    def _is_own(self, run_id: str, signed: SignedFile) -> bool:
        """Tell whether the user signed this META. Looking creates no key."""
        return self._keys.exist() and signed.is_signed_with(self._keys.derive(META, run_id))

    def _this_machine(self) -> str:
        if not self._machine_id:
            self._machine_id = self._ask_machine_id() or self._kept_machine_id()
        return self._machine_id

    def _kept_machine_id(self) -> str:
        """Return the random id of a system that has none (a container): it stays with the store."""
        path = self._home / "machine"
        if not path.exists():
            create_file(path, f"{self._entropy(MACHINE_ID_BYTES).hex()}\n".encode(), self._disk)
        return hash_machine_id(path.read_text("ascii").strip())
