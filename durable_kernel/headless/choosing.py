"""Choosing: which run a `durable run` means.

The named one; else an unfinished one of the same notebook and parameters; else a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_kernel.errors import UsageError
from durable_kernel.history import Outline, RecordCodec
from durable_kernel.history.views import when
from durable_kernel.runtime import Marks, find_kin, records_of
from durable_kernel.store import RunPlace, Store

__all__ = ["Chosen", "choose_run", "cut_ends", "outline_of"]

_HOUR_S = 3600.0
_NO_MARKS = Marks()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The run to execute. `sentence` says why, for people; `outline` is None for a new one."""

    place: RunPlace
    outline: Outline | None
    sentence: str

    @property
    def is_finished(self) -> bool:
        return self.outline is not None and self.outline.status == "finished"


def outline_of(store: Store, place: RunPlace, *, is_verified: bool = True) -> Outline:
    """Fold a run's journal. A run that has no journal yet gives an empty outline.

    `is_verified`: raise UntrustedRunError for frames that the user's key did not sign. Without it
    only the bytes are checked: good enough for showing, never for executing.
    """
    if not is_verified:
        return Outline.of(store.frames(place, is_verified=False), RecordCodec())
    records = records_of(store, place.run_id, with_objects=False)
    if not any(place.folder.glob("seg-*.dkj")):
        return Outline(records)
    return Outline.of(store.frames(place), records)


def cut_ends(place: RunPlace) -> frozenset[str]:
    """Name the files that keep torn ends: what a killed process left half written, and was cut."""
    return frozenset(each.name for each in place.folder.glob("*.torn"))


def choose_run(
    store: Store,
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    name: str | None,
    fresh: bool,
    now_ns: int,
    resume_within_s: float | None,
    marks: Marks = _NO_MARKS,
) -> Chosen:
    """Find or create the run.

    Args:
        name: `--run NAME`; None looks for an unfinished run of this notebook with these parameters.
        fresh: leave any earlier run alone (it is archived, not deleted) and start anew.
        resume_within_s: an unnamed run that was last opened longer ago is not resumed (UsageError);
            None: however long ago.
        marks: what the notebook says of itself; so its run is known after it was moved or renamed.
    """
    if name is not None:
        return _named(store, name, notebook, parameters, fresh=fresh)
    moved = "" if fresh else _follow_move(store, notebook, marks)
    found = _unfinished(store, notebook, parameters, skip_damaged=fresh)
    if found is None:
        return _new(store, notebook, parameters, None)
    place, outline = found
    if fresh:
        store.archive(place)
        return _new(store, notebook, parameters, None)
    age_s = (now_ns - outline.openers[-1].wall_ns) / 1e9 if outline.openers else 0.0
    if resume_within_s is not None and age_s > resume_within_s:
        raise UsageError(
            f"{notebook.name}: run {place.run_id} is {outline.status} and was last opened "
            f"{_age(age_s)} ago. Without a terminal a run is not resumed by itself after "
            f"{_age(resume_within_s)}. Say --resume, or --fresh for a new run."
        )
    return Chosen(place, outline, moved + _resuming(place, outline, age_s))


def _follow_move(store: Store, notebook: Path, marks: Marks) -> str:
    """Let the run of a notebook that was moved know where it is now. Returns what to say of it.

    A notebook that has a run under its path is none that was moved here; nor is a copy.
    """
    path = str(notebook.resolve())
    if any(each.meta.notebook == path for each in store.all()):
        return ""
    kin = find_kin(store, notebook, marks)
    if kin is None or kin.is_copy:
        return ""
    store.bind(kin.place, notebook=notebook)
    return kin.sentence(kin.place.run_id) + " "


def _named(
    store: Store, name: str, notebook: Path, parameters: Mapping[str, Any], *, fresh: bool
) -> Chosen:
    place = store.get(name) if store.exists(name) else None
    if place is None or place.meta.archived_ns is not None:
        return _new(store, notebook, parameters, name)
    if fresh:
        store.archive(place)
        return _new(store, notebook, parameters, name)
    if dict(place.meta.parameters or {}) != dict(parameters):
        raise UsageError(
            f"run {name} was started with other parameters ({dict(place.meta.parameters or {})}). "
            "Name another run, or say --fresh to leave this one alone and start a new one."
        )
    outline = outline_of(store, place)
    if outline.status == "finished":
        return Chosen(place, outline, f"run {name} is finished; there is nothing to do.")
    return Chosen(place, outline, _resuming(place, outline, None))


def _new(store: Store, notebook: Path, parameters: Mapping[str, Any], name: str | None) -> Chosen:
    place = store.create(run_id=name, notebook=notebook, parameters=dict(parameters))
    return Chosen(place, None, f"run {place.run_id} starts.")


def _unfinished(
    store: Store, notebook: Path, parameters: Mapping[str, Any], *, skip_damaged: bool
) -> tuple[RunPlace, Outline] | None:
    if not skip_damaged:
        store.lookup(kernel_id=None, notebook=notebook)  # raises if META of its run is damaged
    wanted = str(notebook.resolve())
    for place in store.all():
        meta = place.meta
        if meta.archived_ns is not None or meta.notebook != wanted:
            continue
        if dict(meta.parameters or {}) != dict(parameters):
            continue
        if place.damage and skip_damaged:
            continue
        if place.damage:
            raise UsageError(
                f"the newest run of {notebook.name}, {place.run_id}, can't be read: {place.damage} "
                "Restore it, or say --fresh to leave it alone and start a new run."
            )
        outline = outline_of(store, place)
        return None if outline.status == "finished" else (place, outline)
    return None


def _resuming(place: RunPlace, outline: Outline, age_s: float | None) -> str:
    if not outline.openers:
        return f"run {place.run_id} starts."
    since = when(outline.openers[0].wall_ns)
    age = f", {_age(age_s)} old" if age_s is not None else ""
    last = outline.last_cell
    failed = f" Cell {last.position} failed, and begins anew." if last and last.has_failed else ""
    cells = len(outline.cells)
    return f"run {place.run_id} goes on (recorded since {since}{age}, {cells} cells).{failed}"


def _age(seconds: float) -> str:
    if seconds < _HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
