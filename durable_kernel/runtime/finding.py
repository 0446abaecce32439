"""Finding: which run a process goes on with, its journal opened and folded, and how it begins.

Executes nothing and changes nothing but a torn tail; only a run that the user wants to begin anew
is put away. Whatever does not verify under this user's key raises before a single record is
believed (rule 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from durable_kernel import codec
from durable_kernel.checkpoint.objects import load_object, store_object
from durable_kernel.errors import JournalCorruptError
from durable_kernel.history import Outline, RecordCodec
from durable_kernel.journal import Journal, Level
from durable_kernel.runtime.kinship import Marks, find_kin
from durable_kernel.runtime.settings import Resume, Settings
from durable_kernel.runtime.starting import (
    DEATHS_MAX,
    DEATHS_MAX_COMMANDED,
    Beginning,
    Start,
    Told,
    began_anew,
    begin,
)
from durable_kernel.runtime.vitals import oom_kills_of_system, read_signs
from durable_kernel.store import RunPlace, Store, current_boot_id

__all__ = ["Found", "Sought", "begin_anew", "find", "records_of"]


def records_of(store: Store, run_id: str, *, with_objects: bool) -> RecordCodec:
    """Make the record codec of a run; `with_objects` only where every frame was verified (H19)."""
    return RecordCodec(
        sealer=codec.Sealer(store.seal_key(run_id)),
        store_object=store_object,
        load_object=load_object if with_objects else None,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A run whose journal is open and folded, and how to go on with it."""

    place: RunPlace
    outline: Outline
    records: RecordCodec
    journal: Journal
    beginning: Beginning
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sought:
    """The names that a process has for its run, but for `Settings.run`; strongest first.

    `run_id` is the run that another process handed over: that one, whatever `Settings.run` says.
    `read_marks` reads the notebook's file. It is called only if no kernel id is known.
    """

    kernel_id: str | None = None
    notebook: Path | None = None
    read_marks: Callable[[], Marks] = Marks
    run_id: str | None = None


def find(store: Store, settings: Settings, sought: Sought, told: Told) -> Found:
    """Find or create the run; where the user wants a clean state, archive it and make another."""
    place, sentences = _place(store, settings, sought)
    found = _open_journal(store, settings, place, told)
    if found.beginning.start is not Start.FRESH:
        return replace(found, told=sentences)
    found.journal.close()
    anew = _open_journal(store, settings, begin_anew(store, found.place, settings, sought), told)
    return replace(anew, told=(began_anew(found.place.run_id),))


def begin_anew(
    store: Store, place: RunPlace, settings: Settings, sought: Sought | None = None
) -> RunPlace:
    """Archive a run and create the one that takes its place: its names lead there from now on.

    `sought`: the names of the notebook now; by default those of the run.
    """
    meta = store.archive(place).meta
    kernel_id, path = meta.kernel_id, meta.notebook
    notebook = Path(path) if path is not None else None
    if sought is not None:
        kernel_id, notebook = sought.kernel_id, sought.notebook
    name = settings.run.removeprefix("=") if settings.run is not None else None
    is_anonymous = name is None and kernel_id is None and notebook is None
    return store.create(
        run_id=name,
        name=place.run_id if is_anonymous else None,  # which is how `fresh --undo` finds it
        notebook=notebook,
        kernel_id=kernel_id,
    )


def _open_journal(store: Store, settings: Settings, place: RunPlace, told: Told) -> Found:
    records = records_of(store, place.run_id, with_objects=True)
    outline = Outline(records)
    journal = _journal(store, place, settings.level, outline)
    signs = read_signs(place.folder)  # now that nobody else writes them
    stopped = outline.lives[-1].shutdown if outline.lives else None
    is_eager = settings.resume is Resume.EAGER
    beginning = begin(
        outline,
        signs,
        told,
        poison_s=settings.poison_s,
        oom_kills=oom_kills_of_system(),
        is_same_boot=bool(outline.openers) and outline.openers[-1].boot_id == current_boot_id(),
        deaths_max=DEATHS_MAX if is_eager else DEATHS_MAX_COMMANDED,
        may_begin_anew=(
            is_eager
            and place.meta.archived_ns is None
            and stopped is not None
            and stopped.wall_ns > max(place.meta.kernel_bound_ns, place.meta.notebook_bound_ns)
        ),
    )
    return Found(place, outline, records, journal, beginning)


def _journal(store: Store, place: RunPlace, level: Level, outline: Outline) -> Journal:
    """Open a run's journal and fold it in the same pass, or begin it where the run is new."""
    run_id, key = place.run_id, store.run_key(place.run_id)
    had_frames = place.meta.begun_ns is not None
    if not any(place.folder.glob("seg-*.dkj")):
        if had_frames:
            raise JournalCorruptError(place.folder, 0, "the journal of this run is missing")
        return Journal.create(place.folder, run_id=run_id, key=key, level=level, disk=store.disk)
    store.check_place(place)
    with store.explaining(run_id):
        journal = Journal.open(
            place.folder,
            run_id=run_id,
            key=key,
            level=level,
            disk=store.disk,
            anchor=store.anchor(run_id),
            on_frame=outline.add,
        )
    if had_frames and not outline.openers:
        journal.close()
        raise JournalCorruptError(place.folder, 0, "the journal of this run is empty by now")
    return journal


def _place(store: Store, settings: Settings, sought: Sought) -> tuple[RunPlace, tuple[str, ...]]:
    """Find or create the run, in the order of DESIGN §9. Returns what the user has to know."""
    if sought.run_id is not None:
        return store.get(f"={sought.run_id}"), ()
    if settings.run is not None:
        return _named(store, settings.run, sought), ()
    return _bound(store, sought)


def _named(store: Store, run: str, sought: Sought) -> RunPlace:
    """Return the run of a name; one that was archived made room for another one."""
    if store.exists(run.removeprefix("=")):  # "=ID": that run, archived or not
        named = store.get(run)
        if named.meta.archived_ns is None or run.startswith("="):
            return named
    return store.create(run_id=run, notebook=sought.notebook, kernel_id=sought.kernel_id)


def _bound(store: Store, sought: Sought) -> tuple[RunPlace, tuple[str, ...]]:
    kernel_id, notebook = sought.kernel_id, sought.notebook
    found = store.lookup(kernel_id=kernel_id, notebook=None)
    if found is not None:
        return found, ()
    if notebook is None:
        return store.create(kernel_id=kernel_id), ()
    marks = sought.read_marks()
    known = store.lookup(kernel_id=None, notebook=notebook)
    if known is not None and marks.run_id in (None, known.run_id):
        return known, ()
    kin = find_kin(store, notebook, marks, is_named_only=known is not None)
    if kin is not None and not kin.is_copy:
        return kin.place, (kin.sentence(kin.place.run_id),)
    if known is not None:
        return known, ()
    own = store.create(notebook=notebook, kernel_id=kernel_id)
    return own, () if kin is None else (kin.sentence(own.run_id),)
