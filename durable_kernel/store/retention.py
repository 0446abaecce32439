"""Retention: what of a store may be deleted, and why. Decides; `sweeping` deletes.

Whole runs are never looked at unless somebody says which: by name, by age, by the size of the
store. What is inside a run is deleted only where nothing that can still be executed or shown rests
on it:

    a blob that no frame names                    a process died between blob and frame
    a blob that only a withdrawn branch names     left behind, and nothing may reuse it any more
    what a dead process left half done            temporary files, unfinished blobs
    what was cut off a torn end                   only with an age: it is kept for people to look at

Frames are never cut out of a journal: each tag vouches for all that stands before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from durable_kernel.errors import CodecError, JournalError, UntrustedRunError
from durable_kernel.history import Cell, Outline, PositionOutline, RecordCodec
from durable_kernel.journal import Frame, is_locked
from durable_kernel.journal.copying import blob_files, mentioned_digests
from durable_kernel.store.shelf import RunPlace
from durable_kernel.store.status import RunSummary, known_summary
from durable_kernel.store.store import Store

__all__ = [
    "LOOKS_NAME",
    "Freeable",
    "Kept",
    "Policy",
    "Sweep",
    "plan_sweep",
    "unneeded_files",
    "why_changed",
]

LOOKS_NAME = "looks"
"""The folder of the store where a past state is replayed, to be looked at."""

_MAKING_S_MAX = 3600.0
_HALF_DONE = ("*.tmp", "blobs/unfinished/*", "HANDOVER")
_RUN, _INSIDE, _STORE = "run", "inside", "store"
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Policy:
    """Which whole runs may go. Nothing set: none.

    `older_than_s` counts from a run's last activity; `bytes_max` lets the oldest go until what is
    left of all runs is smaller. Runs in doubt, and those that can't be read, need a word each.
    """

    named: tuple[str, ...] = ()
    older_than_s: float | None = None
    bytes_max: int | None = None
    even_in_doubt: bool = False
    even_broken: bool = False


@dataclass(frozen=True, slots=True)
class Freeable:
    """One thing to delete: a whole run (`files` is empty), files inside one, or of the store."""

    sort: str
    run_id: str
    what: str
    why: str
    size_bytes: int
    files: tuple[Path, ...] = ()
    seen_ns: int = 0
    """The last activity of a whole run, as it was when this was decided."""

    @property
    def is_run(self) -> bool:
        return self.sort == _RUN

    @property
    def is_of_nobody(self) -> bool:
        """True for a folder of the store that is no run: its only entry in `files`."""
        return self.sort == _STORE


@dataclass(frozen=True, slots=True)
class Kept:
    """A run that was asked for, and is left alone."""

    run_id: str
    why: str


@dataclass(slots=True)
class Sweep:
    """What a sweep would free, and what it leaves alone."""

    freeable: list[Freeable] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.freeable)


def plan_sweep(
    store: Store,
    policy: Policy,
    now_ns: int,
    *,
    tell: Callable[[str], None] = lambda _sentence: None,
) -> Sweep:
    """Look through the store. Changes nothing; takes as long as reading all journals.

    `tell` learns which run is being read. Raises RunNotFoundError for a name that no run has.
    """
    sweep = Sweep()
    places = store.all()
    named = {store.get(each).run_id for each in policy.named}
    read = [_summary(store, each, tell) for each in places]
    going = _chosen(read, policy, named, now_ns)
    for place, summary in zip(places, read, strict=True):
        why = going.get(place.run_id)
        refusal = _why_kept(store, place, summary, policy) if why else ""
        if why and not refusal:
            size_bytes = _freed_bytes(_files_below(place.folder))
            sweep.freeable.append(
                Freeable(
                    _RUN,
                    place.run_id,
                    summary.status,
                    why,
                    size_bytes,
                    seen_ns=summary.last_activity_ns,
                )
            )
            continue
        if refusal:
            sweep.kept.append(Kept(place.run_id, refusal))
        if summary.kernel_pid is None and is_locked(place.folder) is None and not summary.damage:
            tell(f"looking at run {place.run_id}")
            torn_before_ns = _before_ns(policy, now_ns)
            sweep.freeable += unneeded_files(store, place, torn_before_ns=torn_before_ns)
    sweep.freeable += _of_nobody(store, now_ns)
    return sweep


def why_changed(store: Store, each: Freeable, policy: Policy) -> str:
    """Say why a whole run, now locked by the caller, is not deleted after all; "" if it may be."""
    place = store.place(each.run_id)
    summary = known_summary(place, _fold(store), None, disk=store.disk)
    if summary.last_activity_ns != each.seen_ns:
        return "it went on"
    return _why_not(store, place, summary, policy)


def _why_kept(store: Store, place: RunPlace, summary: RunSummary, policy: Policy) -> str:
    """Say why a whole run is not deleted; "" where it may be."""
    if (holder := is_locked(place.folder)) is not None:
        return f"a kernel has it open ({holder or 'unknown process'}): shut that down first"
    return _why_not(store, place, summary, policy)


def _why_not(store: Store, place: RunPlace, summary: RunSummary, policy: Policy) -> str:
    if summary.damage and not policy.even_broken:
        return f"it can't be read, so nobody knows what it holds (--even-broken): {summary.damage}"
    if summary.in_doubt and not policy.even_in_doubt:
        number = f"{summary.in_doubt} act" + ("s are" if summary.in_doubt > 1 else " is")
        return f"{number} in doubt: decide first (`durable show`), or say --even-in-doubt"
    for child in store.all():
        if child.meta.forked_from == place.run_id and not stands_alone(store, child, place):
            return f"run {child.run_id} was forked from it and needs blobs that lie here"
    return ""


def stands_alone(store: Store, child: RunPlace, parent: RunPlace) -> bool:
    """Tell whether a fork has all the blobs of its own that it names and its parent has."""
    theirs = {path.name for path in blob_files(parent.folder)}
    missing = theirs - {path.name for path in blob_files(child.folder)}
    if not missing:
        return True
    try:
        frames = store.frames(child, is_verified=False)
        return not any(mentioned_digests(each.payload, missing) for each in frames)
    except (JournalError, UntrustedRunError):
        return False


# --- whole runs -----------------------------------------------------------------------------------


def _summary(store: Store, place: RunPlace, tell: Callable[[str], None]) -> RunSummary:
    tell(f"reading run {place.run_id}")
    return known_summary(place, _fold(store), is_locked(place.folder), disk=store.disk)


def _fold(store: Store) -> Callable[[RunPlace], Outline]:
    return lambda each: Outline.of(store.frames(each, is_verified=False), RecordCodec())


def _chosen(
    read: Sequence[RunSummary], policy: Policy, named: set[str], now_ns: int
) -> dict[str, str]:
    """Return the runs that the policy means, with the reason."""
    chosen = {each.run_id: "you named it" for each in read if each.run_id in named}
    if policy.older_than_s is not None:
        for each in read:
            age_s = (now_ns - each.last_activity_ns) / 1e9
            if age_s > policy.older_than_s:
                chosen.setdefault(each.run_id, f"its last activity was {_age(age_s)} ago")
    if policy.bytes_max is not None:
        left_bytes = sum(each.size_bytes for each in read if each.run_id not in chosen)
        for each in sorted(read, key=lambda one: one.last_activity_ns):
            if left_bytes <= policy.bytes_max:
                break
            if each.run_id not in chosen and each.kernel_pid is None:
                chosen[each.run_id] = "the oldest, and the runs are larger than you want"
                left_bytes -= each.size_bytes
    return chosen


def _age(seconds: float) -> str:
    for unit_s, name in ((_DAY_S, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


# --- inside a run ---------------------------------------------------------------------------------


def unneeded_files(store: Store, place: RunPlace, *, torn_before_ns: int) -> list[Freeable]:
    """Find what a run does not need. No process may write it meanwhile.

    A run that does not verify under the user's key is left alone.
    """
    found: list[Freeable] = []

    def add(what: str, why: str, paths: Iterable[Path]) -> None:
        if files := tuple(sorted(paths)):
            size_bytes = _freed_bytes(files)
            found.append(Freeable(_INSIDE, place.run_id, what, why, size_bytes, files))

    half_done = (path for each in _HALF_DONE for path in place.folder.glob(each))
    add("half done", "left by a process that died", half_done)
    torn = (each for each in place.folder.glob("*.torn") if _is_older(each, torn_before_ns))
    add("torn ends", "cut off by a recovery, and old enough", torn)
    blobs = {path.name: path for path in blob_files(place.folder)}
    if not blobs or not place.is_signed:
        return found
    try:
        unnamed, withdrawn = _unneeded_blobs(store.frames(place), set(blobs))
    except (JournalError, UntrustedRunError, CodecError):
        return found
    add("blobs", "no frame names them", (blobs[each] for each in unnamed))
    add("blobs", "only a withdrawn branch names them", (blobs[each] for each in withdrawn))
    return found


def _unneeded_blobs(frames: Iterable[Frame], known: set[str]) -> tuple[set[str], set[str]]:
    """Return the blobs that no frame names, and those that only withdrawn positions name."""
    outline = Outline(RecordCodec())
    begun: list[PositionOutline] = []
    naming: list[tuple[int, int, set[str]]] = []
    for frame in frames:
        outline.add(frame)
        if frame.type == Cell.CODE:
            begun.append(outline.positions[-1])
        if names := mentioned_digests(frame.payload, known):
            naming.append((frame.segment, frame.offset, names))
    reachable = {id(each) for each in _reachable(outline)}
    withdrawn = [each for each in begun if id(each) not in reachable]
    left = sorted(
        (extent.segment, extent.start, extent.end) for each in withdrawn for extent in each.extents
    )
    needed, of_withdrawn = set[str](), set[str]()
    for segment, offset, names in naming:
        is_left = any(one == segment and start <= offset < end for one, start, end in left)
        (of_withdrawn if is_left else needed).update(names)
    return known - needed - of_withdrawn, of_withdrawn - needed


def _reachable(outline: Outline) -> Iterator[PositionOutline]:
    """Yield what can still be executed, or be reused by what is: donors and their donors too."""
    for each in (*outline.positions, *outline.waiting):
        yield each
        yield from each.donors()


# --- what belongs to nobody -----------------------------------------------------------------------


def _of_nobody(store: Store, now_ns: int) -> Iterator[Freeable]:
    """Yield folders of runs that were never finished being made, being deleted, or looked into."""
    old_ns = now_ns - int(_MAKING_S_MAX * 1e9)
    hidden = _folders(store.runs)
    gone = [(each, "its deletion was cut short") for each in hidden if each.name[:6] == ".gone-"]
    new = [(each, "its maker died") for each in hidden if each.name[:5] == ".new-"]
    looks = [(each, "who looked died") for each in _folders(store.home / LOOKS_NAME)]
    for folder, why in [*gone, *(each for each in new + looks if _is_older(each[0], old_ns))]:
        if not any(is_locked(each) is not None for each in (folder, *_folders(folder / "runs"))):
            size_bytes = _freed_bytes(_files_below(folder))
            yield Freeable(_STORE, folder.name, "unfinished", why, size_bytes, (folder,))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir())
    except FileNotFoundError:
        return []


def _before_ns(policy: Policy, now_ns: int) -> int:
    return 0 if policy.older_than_s is None else now_ns - int(policy.older_than_s * 1e9)


def _is_older(path: Path, before_ns: int) -> bool:
    try:
        return path.stat().st_mtime_ns < before_ns
    except FileNotFoundError:
        return False


def _files_below(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        for parent, _, names in os.walk(folder):
            yield from (Path(parent, name) for name in names)


def _freed_bytes(paths: Iterable[Path]) -> int:
    """Return the bytes that deleting frees: a blob that a fork has, too, frees none."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            found = path.lstat()
            total += found.st_size if found.st_nlink == 1 else 0
    return total
