"""Status: what `ls` and `show` tell of a run, as plain values.

A summary is folded from the whole journal, which takes time; STATE in the run's folder keeps the
last one with the sizes of the segments that it was made from. It is believed as long as these are
the same. STATE is a cache and is not signed: nothing may be decided by it, and it may be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgpack

from durable_kernel.errors import CodecError, JournalError, UntrustedRunError, UsageError
from durable_kernel.history import Outline
from durable_kernel.journal import REAL_DISK, Disk
from durable_kernel.journal.files import read_regular
from durable_kernel.journal.segments import SEGMENT_NAME
from durable_kernel.store.files import replace_file
from durable_kernel.store.shelf import RunPlace

STATE_NAME = "STATE"
VERSION = 1
_STATE_BYTES_MAX = 1 << 20

Sizes = dict[str, int]
"""Bytes of each segment, by file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of `ls`. Times are wall clock in ns.

    `status` is one word of `Outline.status`; or "running" while a kernel is inside a cell, and
    "broken" when META or the journal can't be read: `damage` says why. `calls` (of these, `reused`
    from an attempt before), `acts` and `in_doubt` count the timeline as it is now, without what a
    branch left behind. `kernel_pid` is that of the living writer.
    """

    run_id: str
    name: str | None
    notebook: str | None
    status: str
    created_ns: int
    last_activity_ns: int
    cells: int = 0
    calls: int = 0
    reused: int = 0
    acts: int = 0
    in_doubt: int = 0
    size_bytes: int = 0
    is_finished: bool = False
    archived_ns: int | None = None
    kernel_pid: int | None = None
    damage: str = ""


def summary(place: RunPlace, outline: Outline, holder: str | None) -> RunSummary:
    """Sum a run up.

    Args:
        outline: of the whole journal.
        holder: what `journal.is_locked` says: None when no process writes the run.
    """
    positions = outline.positions
    opened_ns = outline.openers[-1].wall_ns if outline.openers else 0
    in_doubt = sum(
        # While a writer lives, what it announced itself is on its way and not in doubt.
        1
        for position in positions
        for call in position.pending.values()
        if call.act and (holder is None or call.wall_ns < opened_ns)
    )
    status = outline.status
    if holder is not None and outline.open_position is not None:
        status = "in doubt" if in_doubt else "running"
    return RunSummary(
        run_id=place.run_id,
        name=place.meta.name,
        notebook=place.meta.notebook,
        status=status,
        created_ns=place.meta.created_ns,
        last_activity_ns=max(_moments(outline), default=place.meta.created_ns),
        cells=len(outline.cells),
        calls=sum(position.calls for position in positions),
        reused=sum(position.reused for position in positions),
        acts=sum(len(position.acts) for position in positions),
        in_doubt=in_doubt,
        size_bytes=_folder_bytes(place.folder),
        is_finished=outline.status == "finished",
        archived_ns=place.meta.archived_ns,
        kernel_pid=outline.openers[-1].pid if holder is not None and outline.openers else None,
    )


def known_summary(
    place: RunPlace,
    read: Callable[[RunPlace], Outline],
    holder: str | None,
    *,
    disk: Disk = REAL_DISK,
) -> RunSummary:
    """Sum a run up from STATE if that is current, else by `read`, and keep the result in STATE.

    What a living writer does changes between two looks, so its run is always read. A run that can't
    be read is "broken": one of them does not hide the others.
    """
    if place.damage:
        return _broken(place, place.damage)
    sizes = segment_sizes(place.folder)  # before reading: what is appended meanwhile is noticed
    if holder is None and (kept := _kept(place, sizes)) is not None:
        return kept
    try:
        found = summary(place, read(place), holder)
    except (JournalError, UntrustedRunError, CodecError) as error:
        return _broken(place, str(error))
    if holder is None:
        # A cache: a full or read-only disk is no reason not to tell.
        with suppress(JournalError, UsageError):
            replace_file(place.folder / STATE_NAME, _encode(found, sizes), disk)
    return found


def segment_sizes(folder: Path) -> Sizes:
    """Return the bytes of each segment. What a run is can't change without these."""
    with os.scandir(folder) as entries:
        return {
            entry.name: entry.stat().st_size
            for entry in entries
            if SEGMENT_NAME.fullmatch(entry.name)
        }


def _broken(place: RunPlace, damage: str) -> RunSummary:
    return RunSummary(
        run_id=place.run_id,
        name=place.meta.name,
        notebook=place.meta.notebook,
        status="broken",
        created_ns=place.meta.created_ns,
        last_activity_ns=place.meta.created_ns,
        archived_ns=place.meta.archived_ns,
        damage=damage,
    )


def _moments(outline: Outline) -> Iterator[int]:
    """Yield the times of the records that an outline keeps."""
    yield from (each.wall_ns for each in outline.openers)
    for position in outline.positions:
        yield position.cell.wall_ns
        yield from (each.wall_ns for each in position.announced)
        if position.committed is not None:
            yield position.committed.wall_ns
    yield from (each.wall_ns for each in outline.branches)
    yield from (each.wall_ns for each in (outline.shutdown, outline.finished) if each is not None)


def _folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    total += _folder_bytes(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


# --- STATE ----------------------------------------------------------------------------------------


def _encode(found: RunSummary, sizes: Sizes) -> bytes:
    fields = {"version": VERSION, "sizes": sizes, "summary": asdict(found)}
    packed: bytes = msgpack.packb(fields, unicode_errors="surrogateescape")
    return packed


def _kept(place: RunPlace, sizes: Sizes) -> RunSummary | None:
    """Return the summary in STATE if it is whole and of these segments; META's part is renewed."""
    try:
        raw = read_regular(place.folder / STATE_NAME, _STATE_BYTES_MAX)
        fields: Any = msgpack.unpackb(raw, unicode_errors="surrogateescape")
        if fields["version"] != VERSION or fields["sizes"] != sizes:
            return None
        kept = RunSummary(**fields["summary"])
    except (OSError, ValueError, TypeError, KeyError, JournalError):
        return None
    meta = place.meta
    return replace(
        kept,
        run_id=place.run_id,
        name=meta.name,
        notebook=meta.notebook,
        created_ns=meta.created_ns,
        archived_ns=meta.archived_ns,
    )
