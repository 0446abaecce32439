"""Keeping: what a cell left that was cut while it computed, into the journal and back (H16).

Executing such a cell again would not stop where the signal came. So the names that it changed are
pickled before its commit, and a restart binds them instead of executing it. They are always sealed:
nobody looked for secrets in them. Pieces are complete blobs before the `Kept` record, which is
written with the commit; a process that dies in between leaves an open position and a blob too many.

What can't be kept is named with its reason, and the run stops there until the user decides.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from durable_kernel.checkpoint.changed import Before, Changed, changed_names, folder_now
from durable_kernel.checkpoint.names import KeptNamesError, load_names, store_names
from durable_kernel.codec import Sealed
from durable_kernel.effects.connections import facts_of, reduced_lock
from durable_kernel.history import Kept, PositionHistory, RecordCodec, blob_list, blob_ref
from durable_kernel.journal import BlobStore
from durable_kernel.ports import CURRENT_LANE, machinery

__all__ = ["KEPT_BYTES_MAX", "Keeping", "is_brought_back", "unkept", "unkept_sentence"]

KEPT_BYTES_MAX = 1 << 30
"""How large the names of one cell may be, pickled."""

_STILL_RUNNING = "threads or tasks that it started were still running"

Bound = Callable[[Mapping[str, Any]], None]


class Keeping:
    """Knows the names of the cells of one run, once `watch` was called."""

    def __init__(
        self,
        records: RecordCodec,
        blobs: BlobStore,
        note_variable: Callable[[str, str], None],
        *,
        bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        self.bytes_max = bytes_max
        self._records = records
        self._blobs = blobs
        self._note_variable = note_variable
        self._names: MutableMapping[str, Any] | None = None
        self._bound: Bound = lambda _values: None
        self._before: Before | None = None
        self._folder: str | None = None

    def watch(self, names: MutableMapping[str, Any], bound: Bound = lambda _values: None) -> None:
        """Say where cells have their names. `bound` is told what was brought back into them."""
        self._names, self._bound = names, bound

    def begin(self) -> None:
        """Look at the names as a cell finds them."""
        if self._names is not None:
            self._before = Before.of(self._names, self._before, self._folder)
            self._folder = None

    def look_around(self) -> None:
        """Look at what takes a call of the system, before the next cell begins."""
        self._folder = folder_now()

    # --- into the journal -------------------------------------------------------------------------

    def keep(
        self,
        source: str,
        handlers: Sequence[Any],
        generators: Mapping[str, Any],
        *,
        has_others: bool,
    ) -> Kept | None:
        """Store what this cell and handlers of signals changed. None: nobody said where names are.

        Raises JournalFullError or another JournalError; then nothing refers to what was stored.
        """
        names, before = self._names, self._before
        if names is None or before is None:
            return None
        if has_others:
            return Kept(names=[], refused=[["", _STILL_RUNNING]])
        with machinery():  # a pickler draws ids and imports modules: that is no cell's
            changed = changed_names(names, before, source, handlers)
            return self._keep(names, before, changed, generators)

    def _keep(
        self,
        names: Mapping[str, Any],
        before: Before,
        changed: Changed,
        generators: Mapping[str, Any],
    ) -> Kept:
        blobs = [self._put(self._records.encode(_surroundings(before)))]
        refused = store_names(
            names,
            changed,
            before,
            lambda piece: blobs.append(self._put(piece)),
            facts_of=facts_of,
            reduce=reduced_lock,
            bytes_max=self.bytes_max,
        )
        left_out = {each.name for each in refused}
        return Kept(
            names=[name for name in changed.names if name not in left_out],
            gone=list(changed.gone),
            refused=[[each.name, each.reason] for each in refused],
            blobs=blobs,
            generators=generators,
        )

    def _put(self, piece: bytes) -> list[Any]:
        sealed = self._records.encode(Sealed(piece))
        return blob_list(self._blobs.put(sealed, compress=False))

    # --- and back ---------------------------------------------------------------------------------

    def bring_back(self, history: PositionHistory) -> None:
        """Bind what the cell left. Names that could not be kept are taken away.

        Raises KeptNamesError, SealedSecretError or JournalCorruptError; then no name is bound.
        """
        kept, names = history.kept, self._names
        assert kept is not None, "only what was kept is brought back"
        if names is None:
            raise KeptNamesError("nobody says where the names of cells are")
        _load_modules(history)
        lane = CURRENT_LANE.set(None)  # what an unpickler draws or reads is nobody's record
        try:
            surroundings = self._records.decode(self._piece(kept.blobs[0]))
            _surround(surroundings, self._note_variable)
            pieces = io.BufferedReader(_Pieces(map(self._piece, kept.blobs[1:])))
            values = load_names(pieces, names, facts_of=facts_of)
        finally:
            CURRENT_LANE.reset(lane)
        for name in (*kept.gone, *(name for name, _ in kept.refused)):
            names.pop(name, None)
        self._bound(values)

    def _piece(self, listed: list[Any]) -> bytes:
        sealed: Any = self._records.decode(self._blobs.read(blob_ref(listed)))
        piece: bytes = sealed.value
        return piece


def is_brought_back(history: PositionHistory, *, partly: bool) -> bool:
    """Tell whether what a cell left is bound in place of executing it. `partly`: what was kept."""
    kept = history.kept
    return kept is not None and (partly or not kept.refused) and bool(kept.blobs)


def unkept(kept: Kept) -> str:
    """List what could not be kept, and why."""
    return "; ".join(f"`{name}`: {why}" if name else why for name, why in kept.refused)


def unkept_sentence(position: int, kept: Kept) -> str:
    """Say at once what a restart will not bring back."""
    return (
        f"cell {position} was interrupted in the middle of computing, so a restart does not "
        f"execute it again, and it can't keep all that the cell changed ({unkept(kept)}). A "
        "restart stops before this cell and asks. To have it better, run the cell to its end."
    )


class _Pieces(io.RawIOBase):
    """A file made of pieces, of which one at a time is in memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size


def _surroundings(before: Before) -> list[Any]:
    """List what the cell changed of the process itself: variables, folder, import path."""
    then, now = before.variables, dict(os.environ)
    variables = {
        name: now.get(name)
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }
    folder, path = folder_now(), tuple(sys.path)
    return [
        variables,
        folder if folder != before.folder else None,
        list(path) if path != before.path else None,
    ]


def _surround(surroundings: list[Any], note_variable: Callable[[str, str], None]) -> None:
    variables, folder, path = surroundings
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
            note_variable(name, value)
    if folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise KeptNamesError(f"its working folder {folder}: {error.strerror}") from error
    if path is not None:
        sys.path[:] = path


def _load_modules(history: PositionHistory) -> None:
    """Load the project modules that the cell loaded, as they were recorded then."""
    for each in history.loads:
        if not all(part.isidentifier() for part in each.name.split(".")):
            continue  # a script: it has left names, and these are kept
        try:
            if each.name in sys.modules:
                importlib.reload(sys.modules[each.name])
            else:
                importlib.import_module(each.name)
        except Exception as error:
            raise KeptNamesError(f"its module {each.name} can't be loaded: {error}") from error
