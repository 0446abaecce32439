"""The store of one user: runs by id, found again by kernel, notebook, name, or part of an id.

    home/  key  machine  lock  index/kernel/…  index/notebook/…  runs/RUN/META  runs/RUN/TRUST

Looking creates nothing. A run appears complete: its folder is made under a hidden name and renamed;
of two processes that create one id one wins and the other gets the same place. Changes of META are
made under `lock`. Nothing is deleted here.

This room does not open a journal for writing and does not know what a frame means, but for `trust`,
which shows what would run before it signs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from os import urandom as _urandom  # bound before any hook, so that no id is taken from a recording
from pathlib import Path
from time import time_ns as _time_ns  # noqa: TID251 - bound before any hook, as above
from typing import Any

from durable_kernel.errors import (
    JournalCorruptError,
    JournalFullError,
    RunMovedError,
    RunNotFoundError,
    UntrustedRunError,
    UsageError,
)
from durable_kernel.journal import REAL_DISK, Anchor, Disk, Frame, scan
from durable_kernel.journal.files import read_regular
from durable_kernel.store import binding, search
from durable_kernel.store.binding import KERNEL, NOTEBOOK, holders, keys_of, newest_holder
from durable_kernel.store.files import explained, first_free, held_lock, remove_tree, replace_file
from durable_kernel.store.index import Index
from durable_kernel.store.keys import TRUST, Keys
from durable_kernel.store.meta import META_NAME, Meta
from durable_kernel.store.places import check_run_id, default_home, machine_id_of_system, real_path
from durable_kernel.store.run_keys import RunKeys
from durable_kernel.store.shelf import RunPlace, Shelf
from durable_kernel.store.standing import Standing
from durable_kernel.store.trust import (
    TRUST_BYTES_MAX,
    TRUST_NAME,
    TrustFacts,
    advice_of,
    decode_trust,
    encode_trust,
    examine,
)


class Store(RunKeys):
    """The runs of one user.

    Args:
        home: the store's folder; by default DURABLE_HOME, else `durable` in Jupyter's data folder.
        environ: where DURABLE_HOME and DURABLE_KEY_FILE are looked up.
        wall_ns, entropy, disk: the clock, the source of entropy and the disk; tests bring others.
        machine_id: tells this machine's id; None: a random one is kept in the store.

    Every method that changes the disk raises UsageError when the store cannot be written,
    JournalFullError when the disk is full and JournalPoisonedError when it fails.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        wall_ns: Callable[[], int] = _time_ns,
        entropy: Callable[[int], bytes] = _urandom,
        disk: Disk = REAL_DISK,
        machine_id: Callable[[], str | None] = machine_id_of_system,
    ) -> None:
        self.home = Path(os.path.abspath(home if home is not None else default_home(environ)))
        self.runs = self.home / "runs"
        key_file = environ.get("DURABLE_KEY_FILE")
        # Absolute: a kernel runs in the folder of its notebook.
        own = Path(os.path.abspath(Path(key_file).expanduser())) if key_file else None
        key_path = own or self.home / "key"
        self._keys = Keys(key_path, entropy, disk)
        self._shelf = Shelf(
            self.home, self._keys, entropy=entropy, disk=disk, machine_id=machine_id
        )
        self._index = Index(self.home / "index", disk)
        self._wall_ns = wall_ns
        self.disk = self._disk = disk

    def __repr__(self) -> str:
        return f"<Store {self.home}>"

    # --- finding -------------------------------------------------------------------------------

    def exists(self, run_id: str) -> bool:
        return self._shelf.holds(run_id)

    def place(self, run_id: str) -> RunPlace:
        """Return the run of exactly this id; one with a damaged META too, `damage` says why.

        Raises RunNotFoundError.
        """
        return self._shelf.look(run_id)

    def get(self, asked: str) -> RunPlace:
        """Return the run that a user means: an id, a name, the unique start of an id, a notebook.

        What is archived is found only when nothing else is meant; `=ID` means exactly that id.
        Raises RunNotFoundError with near matches, UsageError for the start of several ids,
        JournalCorruptError when the run's META is damaged.
        """
        exact = asked.removeprefix("=")
        if self.exists(exact):
            place = self._shelf.read(exact)
            if asked != exact or place.meta.archived_ns is None:
                return place
        places = self.all()
        as_path = "" if "\0" in asked else real_path(asked)
        found = search.best(asked, [each.meta for each in places], as_path)
        if found is None:
            near = search.near(asked, [each.meta for each in places])
            raise RunNotFoundError(asked, self.home, near)
        return self._shelf.read(found.run_id)

    def all(self) -> list[RunPlace]:
        """Return every run, newest first. One whose META can't be read is there, with `damage`."""
        found: list[RunPlace] = []
        for run_id in self._shelf.run_ids():
            with suppress(FileNotFoundError):  # taken away while we looked
                found.append(self.place(run_id))
        return sorted(found, key=lambda each: (each.meta.created_ns, each.run_id), reverse=True)

    def lookup(self, *, kernel_id: str | None, notebook: Path | None) -> RunPlace | None:
        """Return the run bound to a kernel, else the one bound to a notebook, else None.

        Raises JournalCorruptError when META of the bound run is damaged: starting another run
        instead would repeat its acts.
        """
        if kernel_id and (place := self._bound(KERNEL, kernel_id)) is not None:
            return place
        if notebook is not None:
            return self._bound(NOTEBOOK, real_path(notebook))
        return None

    def frames(
        self,
        place: RunPlace,
        *,
        start: tuple[int, int] | None = None,
        is_verified: bool = True,
    ) -> Iterator[Frame]:
        """Yield a run's frames, as `journal.scan` does and with what it raises.

        Args:
            start: (segment, offset) of the frame to begin with; authenticity is not checked then.
            is_verified: False looks at any run, also a foreign one, and checks integrity only.
                Nothing of what it yields may be executed.
        """
        if not is_verified:
            yield from scan(place.folder, run_id=place.run_id, start=start)
            return
        with self.explaining(place.run_id):
            yield from scan(
                place.folder,
                run_id=place.run_id,
                key=self.run_key(place.run_id),
                anchor=self.anchor(place.run_id),
                start=start,
            )

    # --- creating and binding ------------------------------------------------------------------

    def create(
        self,
        *,
        run_id: str | None = None,
        name: str | None = None,
        notebook: Path | None = None,
        kernel_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> RunPlace:
        """Create a run, bound to its kernel and notebook; durable on return.

        A `run_id` that exists already is returned as it is (DURABLE_RUN attaches). If it was
        archived, the run that took its place is: `ID-2`, named ID. `parameters` are kept in the
        clear. Raises UsageError for an unsafe id and for parameters that can't be stored.
        """
        if run_id is not None:
            check_run_id(run_id)
        now_ns = self._wall_ns()
        meta = Meta(
            run_id=run_id or "",
            created_ns=now_ns,
            kernel_bound_ns=now_ns,
            notebook_bound_ns=now_ns,
            name=name,
            notebook=None if notebook is None else real_path(notebook),
            kernel_id=kernel_id or None,
            parameters=dict(parameters or {}),
        )
        self._shelf.make_folders()
        with self._changing():
            if run_id is not None and self.exists(run_id):
                place = self._shelf.read(run_id)
                if place.meta.archived_ns is None:
                    return place
                if (successor := self._successor(run_id)) is not None:
                    return successor
                taken = set(self._shelf.run_ids())
                meta = replace(meta, run_id=first_free(run_id, taken), name=name or run_id)
            elif run_id is None:
                meta = replace(meta, run_id=self._shelf.free_id(now_ns))
            return self._shelf.make(meta, lambda: self._index_keys(meta))

    def fork(
        self, parent: RunPlace, fill: Callable[[RunPlace], None], *, notebook: Path | None = None
    ) -> RunPlace:
        """Create a run whose past is copied; it appears once `fill` has written its folder.

        Raises as `create`, and what `fill` raises: no run appears then.
        """
        now_ns = self._wall_ns()
        self._shelf.make_folders()
        meta = Meta(
            run_id=self._shelf.free_id(now_ns),
            created_ns=now_ns,
            notebook=None if notebook is None else real_path(notebook),
            notebook_bound_ns=now_ns,
            begun_ns=now_ns,
            parameters=parent.meta.parameters,
            forked_from=parent.run_id,
            secrets_of=parent.meta.secrets_of or parent.run_id,
        )
        built = self._shelf.build(meta)
        try:
            with explained(built.folder):
                fill(built)
            with self._changing():
                return self._shelf.reveal(built, lambda: self._index_keys(meta))
        except Exception:
            with suppress(OSError):
                remove_tree(built.folder, self._disk)
            raise

    def bind(
        self, place: RunPlace, *, kernel_id: str | None = None, notebook: Path | None = None
    ) -> RunPlace:
        """Give a run these keys, and note that it was opened here. Every opener calls this.

        A key that is not given stays as it was. Raises what `check_place` raises.
        """
        self.check_place(place)
        with self._changing():
            now_ns = self._wall_ns()
            meta = self._shelf.read(place.run_id).meta.moved_to(self._shelf.locate(place.folder))
            # Before META: see index.py. A key that is not given may be another run's by now.
            if kernel_id:
                meta = replace(meta, kernel_id=kernel_id, kernel_bound_ns=now_ns)
                self._index.put(KERNEL, kernel_id, meta.run_id)
            if notebook is not None:
                binding.take_along(self._shelf, meta.notebook, path := real_path(notebook))
                meta = replace(meta, notebook=path, notebook_bound_ns=now_ns)
                self._index.put(NOTEBOOK, path, meta.run_id)
            return self._shelf.write(meta)

    def begin(self, place: RunPlace) -> RunPlace:
        """Note that the run's journal has frames. Without them it is damaged, not new."""
        with self._changing():
            meta = self._shelf.read(place.run_id).meta
            return self._shelf.write(replace(meta, begun_ns=self._wall_ns()))

    def archive(self, place: RunPlace) -> RunPlace:
        """Let no key find this run any more: the user begins afresh. Nothing is deleted.

        A damaged META is kept as META.damaged, and a bare one takes its place.
        """
        with self._changing(keeps_index=False):  # an older run may have its keys
            known = self.place(place.run_id)
            meta = replace(known.meta, archived_ns=self._wall_ns())
            if known.damage:
                self._shelf.set_aside(place.run_id)
            changed = self._shelf.write(meta)
            for sort, key in keys_of(meta):
                self._index.drop(sort, key, meta.run_id)
            return changed

    def revive(self, place: RunPlace) -> RunPlace:
        """Undo `archive`: the run's keys find it again, before any other run."""
        with self._changing():
            now_ns = self._wall_ns()
            meta = replace(
                self._shelf.read(place.run_id).meta,
                archived_ns=None,
                kernel_bound_ns=now_ns,
                notebook_bound_ns=now_ns,
            )
            self._index_keys(meta)
            return self._shelf.write(meta)

    def hide(self, place: RunPlace) -> Path:
        """Let nothing find a run, which the caller holds locked; returns its folder, to delete."""
        with self._changing(keeps_index=False):
            for sort, key in keys_of(place.meta):
                self._index.drop(sort, key, place.run_id)
            return self._shelf.hide(place.run_id)

    def bring_back(self, place: RunPlace) -> RunPlace | None:
        """Revive the run whose place this one took, and put this one away; None: there is none.

        One that is put away itself is revived.
        """
        meta = self._shelf.read(place.run_id).meta
        if meta.archived_ns is not None:
            return self.revive(place)
        found = search.predecessor(meta, [each.meta for each in self.all() if not each.damage])
        if found is None:
            return None
        self.archive(place)
        return self.revive(self.place(found.run_id))

    # --- trust and place -----------------------------------------------------------------------

    def anchor(self, run_id: str) -> Anchor | None:
        """Return the foreign prefix that the user trusted, for the journal to check; None if none.

        Raises JournalCorruptError when TRUST is damaged, UntrustedRunError when another key signed
        it.
        """
        path = self.runs / check_run_id(run_id) / TRUST_NAME
        try:
            raw = read_regular(path, TRUST_BYTES_MAX, advice_of(run_id))
        except FileNotFoundError:
            return None
        with self.explaining(run_id):
            return decode_trust(path, raw, run_id, self._keys.derive(TRUST, run_id))

    def examine(self, place: RunPlace) -> TrustFacts:
        """Return what `trust` would accept; nothing is changed. Raises what a scan raises."""
        return examine(place.folder, place.run_id)

    def trust(self, place: RunPlace, expected: TrustFacts | None = None) -> TrustFacts:
        """Accept a run's bytes as the user's own: exactly those that are there now.

        Args:
            expected: what `examine` told the user, who agreed to just that. UsageError when the
                journal has changed since.

        Raises what a scan without a key raises. Signs META too, but accepts no new place: that is
        `adopt`. A META that can't be read is kept as META.damaged, and a new one names this place.
        """
        facts = self.examine(place)
        if facts.anchor is None:
            raise UsageError(f"run {place.run_id} has no journal yet: there is nothing to trust.")
        if expected is not None and expected.anchor != facts.anchor:
            raise UsageError(
                f"run {place.run_id} changed while you were looking at it; nothing was trusted. "
                f"Look again with `durable trust {place.run_id}`."
            )
        key = self._keys.derive(TRUST, place.run_id)
        with self._changing():
            now_ns = self._wall_ns()
            content = encode_trust(facts, now_ns, key)
            replace_file(place.folder / TRUST_NAME, content, self._disk)
            known = self.place(place.run_id)
            meta = known.meta
            if known.damage:
                self._shelf.set_aside(place.run_id)
                meta = facts.put_on(meta, now_ns).moved_to(self._shelf.locate(place.folder))
            self._shelf.write(meta)
        return facts

    def standing(self, place: RunPlace) -> Standing:
        """Return how a run stands to this user, for people. Makes no key. Raises as a scan does."""
        frames = sum(1 for _ in scan(place.folder, run_id=place.run_id))
        own_frames = 0
        if self._keys.exist():
            anchor = None
            with suppress(UntrustedRunError, JournalCorruptError):
                anchor = self.anchor(place.run_id)
            key = self.run_key(place.run_id)
            with suppress(UntrustedRunError):
                for _ in scan(place.folder, run_id=place.run_id, key=key, anchor=anchor):
                    own_frames += 1
        return self._standing(place, frames, own_frames)

    @contextmanager
    def explaining(self, run_id: str) -> Iterator[None]:
        """Let what is refused as foreign say whose key it may have been."""
        try:
            yield
        except UntrustedRunError as error:
            why = self._standing(self.place(run_id), 1, 0).why_foreign()
            raise UntrustedRunError(error.run_id, error.path, error.offset, why) from None

    def _standing(self, place: RunPlace, frames: int, own_frames: int) -> Standing:
        recorded, found = place.meta.location, self._shelf.locate(place.folder)
        return Standing(
            frames=frames,
            own_frames=own_frames,
            is_meta_signed=place.is_signed,
            key_id=place.meta.key_id,
            own_key_id=self._keys.key_id() if self._keys.exist() else None,
            key_path=self._keys.path,
            recorded=str(recorded),
            found=str(found),
            is_in_place=recorded.is_same_place(found),
            damage=place.damage,
        )

    def lost_key(self) -> str:
        """Say that a key was made just now although there are runs of another; "" otherwise."""
        if not self._keys.was_made_now:
            return ""
        others = {each.meta.key_id for each in self.all()} - {None, self._keys.key_id()}
        if not others:
            return ""
        return (
            f"there was no key file {self._keys.path}, so a new key was made; but this store has "
            f"runs of another key ({', '.join(sorted(map(str, others)))}), which are foreign now. "
            "If the old key file has a backup, put it back before you go on."
        )

    def check_place(self, place: RunPlace) -> None:
        """Check that the run lies where its last opener left it, and that META is the user's (H12).

        Raises RunMovedError, UntrustedRunError, JournalCorruptError.
        """
        place = self._shelf.read(place.run_id)  # as it is now: it may have been adopted meanwhile
        self._check_signed(place)
        recorded, found = place.meta.location, self._shelf.locate(place.folder)
        if not recorded.is_same_place(found):
            raise RunMovedError(place.run_id, str(recorded), str(found))

    def adopt(self, place: RunPlace) -> RunPlace:
        """Note that the run was moved, not copied, and lives here now. The user said so.

        Raises UntrustedRunError when META is not the user's: that is `trust`'s question.
        """
        with self._changing():
            place = self._shelf.read(place.run_id)
            self._check_signed(place)
            return self._shelf.write(place.meta.moved_to(self._shelf.locate(place.folder)))

    def _check_signed(self, place: RunPlace) -> None:
        if not place.is_signed:
            with self.explaining(place.run_id):
                raise UntrustedRunError(place.run_id, place.folder / META_NAME, 0)

    def _bound(self, sort: str, key: str) -> RunPlace | None:
        """Return the live run that has this key: from the index if META agrees, else from METAs."""
        indexed = self._index.get(sort, key)
        if indexed is not None and self.exists(indexed):
            place = self._shelf.read(indexed)
            if place.meta.archived_ns is None and (sort, key) in keys_of(place.meta):
                return place
        elif self._index.lacks(sort, key, self.runs):
            return None
        found = newest_holder(self._shelf, sort, key)
        # A cache: a store that can't be written can still be read. Under the lock, and looked at
        # again: somebody may be binding this key just now.
        if self.runs.is_dir():
            with suppress(UsageError, JournalFullError, OSError), self._changing():
                self._reindex()
                found = newest_holder(self._shelf, sort, key)
        return found

    def _reindex(self) -> None:
        """Make the index what METAs say. With one that can't be read it is not complete."""
        places = self.all()
        if not any(each.damage for each in places):
            self._index.replace(holders(places))
            self._index.mark_complete(self.runs)

    def _successor(self, run_id: str) -> RunPlace | None:
        """Return the live run that took an archived one's place: the newest one named so."""
        for each in self.all():
            if each.meta.name == run_id and each.meta.archived_ns is None and not each.damage:
                return each
        return None

    @contextmanager
    def _changing(self, *, keeps_index: bool = True) -> Iterator[None]:
        """Hold the store's lock: META is read, changed and replaced by one process at a time.

        What is changed has its entries in the index afterwards, if `keeps_index`.
        """
        with held_lock(self.home / "lock"):
            is_empty = next(self._shelf.run_ids(), None) is None
            was_complete = is_empty or self._index.is_complete(self.runs)
            if not keeps_index:
                self._index.forget_complete()
            yield
            if was_complete and keeps_index:
                self._index.mark_complete(self.runs)

    def _index_keys(self, meta: Meta) -> None:
        for sort, key in keys_of(meta):
            self._index.put(sort, key, meta.run_id)
