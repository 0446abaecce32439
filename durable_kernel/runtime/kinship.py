"""Kinship: whether a notebook is one that a run knows under another path (DESIGN §9).

A notebook that was moved keeps its run; a copy gets one of its own. Which of both it is tells the
old path: the file is still there, or it is gone. That both are the same notebook tells its
metadata, if a run is named there, or its cells: a common cell id, or else half of what was run.

Only runs whose notebook lay in the same folder, or had the same name, are looked at: reading all
journals of a store would take longer than a start may.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from durable_kernel.errors import CodecError, JournalError, RunError
from durable_kernel.history import Cell, RecordCodec
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.places import real_path

__all__ = ["Kin", "Marks", "find_kin", "is_same_notebook"]

_RUNS_MAX = 20
_FRAMES_MAX = 20_000
"""What is looked at of each journal; a start of some 10 ms each."""

_COMMON_SOURCES_MIN = 2
"""One line of imports is common to many notebooks."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a notebook's file says of itself: a run, and its code cells, by id and by source."""

    run_id: str | None = None
    cell_ids: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Kin:
    """A run that knows the notebook under another path. `is_copy`: that file is still there."""

    place: RunPlace
    is_copy: bool

    def sentence(self, own_id: str) -> str:
        """Say what was made of it. `own_id`: the run that the notebook has now."""
        known = self.place.meta.notebook
        if self.is_copy:
            return (
                f"this notebook is a copy of {known}, whose run is {self.place.run_id}. It has a "
                f"run of its own, {own_id}, which starts empty."
            )
        return f"run {own_id} knew this notebook as {known}; that file is gone, so it goes on here."


def find_kin(
    store: Store, notebook: Path, marks: Marks, *, is_named_only: bool = False
) -> Kin | None:
    """Find the run that knows this notebook under another path. Executes nothing.

    `is_named_only`: look at no other run than the one that the notebook names.
    """
    if marks.run_id is not None and store.exists(marks.run_id):
        named = store.place(marks.run_id)
        if (kin := _kin(store, named, notebook, marks)) is not None:
            return kin
    if is_named_only or (not marks.cell_ids and not marks.sources):
        return None
    own = Path(real_path(notebook))
    near = [each for each in store.all() if _is_near(each.meta.notebook, own)]
    near.sort(key=lambda each: each.meta.notebook_bound_ns, reverse=True)
    found = [_kin(store, each, notebook, marks) for each in near[:_RUNS_MAX]]
    alike = [each for each in found if each is not None]
    # One whose file is gone comes first: the notebook's copies are its kin as well.
    return min(alike, key=lambda each: each.is_copy, default=None)


def is_same_notebook(cells: Iterable[Cell], marks: Marks) -> bool:
    """Tell whether a notebook with these marks has the cells that a run recorded."""
    recorded = list(cells)
    if any(each.request.get("cell_id") in marks.cell_ids for each in recorded):
        return True
    sources = {each.source.strip() for each in recorded} - {""}
    common = sources & marks.sources
    return len(common) >= _COMMON_SOURCES_MIN and 2 * len(common) >= len(sources)


def _is_near(known: str | None, own: Path) -> bool:
    if known is None or known == str(own):
        return False
    path = Path(known)
    return path.parent == own.parent or path.name == own.name


def _kin(store: Store, place: RunPlace, notebook: Path, marks: Marks) -> Kin | None:
    known = place.meta.notebook
    if place.damage or place.meta.archived_ns is not None or known is None:
        return None
    if known == real_path(notebook) or not is_same_notebook(_cells(store, place), marks):
        return None
    return Kin(place, is_copy=os.path.lexists(known))


def _cells(store: Store, place: RunPlace) -> Iterator[Cell]:
    """Yield the first cells of a run; none of one that cannot be read, or is not the user's."""
    records = RecordCodec()
    with suppress(RunError, JournalError, CodecError):
        for frame in islice(store.frames(place), _FRAMES_MAX):
            if frame.type == Cell.CODE:
                record = records.unpack(frame)
                assert isinstance(record, Cell)
                yield record
