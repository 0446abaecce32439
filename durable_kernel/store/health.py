"""Health: what may be wrong with a store, found by looking. Nothing is changed.

A check is a fact, a verdict and what to do about it. `fail` means that runs can't be kept or
executed; `warn`, that a promise is weaker than it looks. What is checked here knows no Jupyter.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from durable_kernel.errors import DurableError
from durable_kernel.history import Outline, RecordCodec
from durable_kernel.journal import is_locked
from durable_kernel.store.shelf import RunPlace
from durable_kernel.store.status import RunSummary, known_summary
from durable_kernel.store.store import Store

__all__ = ["Check", "Verdict", "file_system_of", "store_checks"]

_MOUNTS = Path("/proc/mounts")
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs", "glusterfs", "ceph"}
)
_PASSING = {
    "tmpfs": "it is memory: everything is lost when the machine restarts",
    "ramfs": "it is memory: everything is lost when the machine restarts",
    "overlay": "it belongs to a container, and may go with it: keep the store on a volume",
}
_ROOM_BYTES_LOW, _ROOM_BYTES_MIN = 1 << 30, 64 << 20
_CLOCK_S_MAX = 60.0
_NAMED_MAX = 5


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `advice` says what to do, where there is something to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def store_checks(store: Store, now_ns: int, tell: Callable[[str], None]) -> Iterator[Check]:
    """Check the store: place, rights, room, key, and each run. Reads all journals."""
    yield _place(store)
    yield _room(store)
    yield _file_system(store)
    key = _key(store)
    yield key
    if key.verdict is Verdict.FAIL:
        return  # whose the runs are can't be told
    if store.home.exists():
        yield _rights(store)
    places = store.all()
    yield _foreign(places)
    summaries = []
    for each in places:
        tell(f"reading run {each.run_id}")
        summaries.append(_summary(store, each))
    yield _damaged(summaries)
    yield _open_runs(places)
    yield _doubts(summaries)
    yield _clock(summaries, now_ns)


# --- place ----------------------------------------------------------------------------------------


def _place(store: Store) -> Check:
    nearest = next(each for each in (store.home, *store.home.parents) if each.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        advice = "make it writable, or set DURABLE_HOME to a folder that you can write to"
        return Check("store", Verdict.FAIL, f"{nearest} can't be written", advice)
    if not store.home.exists():
        return Check("store", Verdict.OK, f"{store.home}, made with the first run")
    return Check("store", Verdict.OK, str(store.home))


def _rights(store: Store) -> Check:
    """Check that nobody else may read what runs hold: folders 0700, files 0600."""
    wide = [path for path in _private(store) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    if not wide:
        return Check("rights", Verdict.OK, "only you can read the runs")
    first = ", ".join(map(str, wide[:_NAMED_MAX]))
    return Check(
        "rights",
        Verdict.WARN,
        f"others may read {len(wide)} of the store's files and folders: {first}",
        f"`chmod -R go= {store.home}`",
    )


def _private(store: Store) -> Iterator[Path]:
    yield from (each for each in (store.home, store.runs, store.key_path) if each.exists())
    for place in store.all():
        yield place.folder
        yield from (each for each in place.folder.iterdir() if not each.is_symlink())


def _room(store: Store) -> Check:
    nearest = next(each for each in (store.home, *store.home.parents) if each.exists())
    free_bytes = shutil.disk_usage(nearest).free
    found = f"{free_bytes / 1e9:,.1f} GB free"
    advice = "make room; `durable gc` says what of the store is not needed"
    if free_bytes < _ROOM_BYTES_MIN:
        return Check("disk", Verdict.FAIL, found, advice)
    if free_bytes < _ROOM_BYTES_LOW:
        return Check("disk", Verdict.WARN, found, advice)
    return Check("disk", Verdict.OK, found)


def _file_system(store: Store) -> Check:
    kind = file_system_of(store.home)
    if kind in _NETWORK:
        return Check(
            "file system",
            Verdict.WARN,
            f"{kind}: locks of two machines may not exclude each other there",
            "open a run on one machine at a time, or set DURABLE_HOME to a local disk",
        )
    if kind in _PASSING:
        advice = "set DURABLE_HOME to a disk that stays"
        return Check("file system", Verdict.WARN, f"{kind}: {_PASSING[kind]}", advice)
    return Check("file system", Verdict.OK, kind or "not told by this system")


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of the file system that a path is on, "" where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        is_above = real == point or real.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


# --- key and runs ---------------------------------------------------------------------------------


def _key(store: Store) -> Check:
    if not store.key_path.exists():
        if any(store.all()):
            advice = "put the old key file back; else `durable trust RUN` takes a run over"
            return Check("key", Verdict.WARN, f"{store.key_path} is gone; its runs remain", advice)
        return Check("key", Verdict.OK, f"{store.key_path}, made with the first run")
    try:
        store.user_key()
    except DurableError as error:
        return Check("key", Verdict.FAIL, str(error), "correct the file; keep a backup of it")
    return Check("key", Verdict.OK, f"{store.key_path}: keep a backup of it")


def _foreign(places: list[RunPlace]) -> Check:
    foreign = [each.run_id for each in places if not each.is_signed and not each.damage]
    if not foreign:
        return Check("trust", Verdict.OK, "all runs are signed with your key")
    return Check(
        "trust",
        Verdict.WARN,
        f"{_some(foreign)} not signed with your key: not executed",
        "`durable trust RUN` shows what would run",
    )


def _summary(store: Store, place: RunPlace) -> RunSummary:
    def fold(each: RunPlace) -> Outline:
        return Outline.of(store.frames(each, is_verified=False), RecordCodec())

    return known_summary(place, fold, is_locked(place.folder), disk=store.disk)


def _damaged(summaries: list[RunSummary]) -> Check:
    broken = [each for each in summaries if each.damage]
    if not broken:
        return Check("journals", Verdict.OK, f"{len(summaries)} can be read")
    found = f"{_some([each.run_id for each in broken])} damaged: {broken[0].damage}"
    return Check("journals", Verdict.WARN, found, "restore the files from a backup; others go on")


def _open_runs(places: list[RunPlace]) -> Check:
    held = {each.run_id: is_locked(each.folder) for each in places}
    listed = [f"{run_id} ({holder})" for run_id, holder in held.items() if holder is not None]
    found = f"open in a kernel: {', '.join(listed[:_NAMED_MAX])}" if listed else "none is held"
    return Check("locks", Verdict.OK, found)


def _doubts(summaries: list[RunSummary]) -> Check:
    doubtful = [each.run_id for each in summaries if each.in_doubt and each.archived_ns is None]
    if not doubtful:
        return Check("doubts", Verdict.OK, "no act waits for a decision")
    advice = "`durable show RUN` names them, `durable resolve RUN` decides"
    return Check("doubts", Verdict.WARN, f"{_some(doubtful)} in doubt", advice)


def _clock(summaries: list[RunSummary], now_ns: int) -> Check:
    newest_ns = max((each.last_activity_ns for each in summaries), default=0)
    ahead_s = (newest_ns - now_ns) / 1e9
    if ahead_s <= _CLOCK_S_MAX:
        return Check("clock", Verdict.OK, "not behind what was recorded")
    return Check(
        "clock",
        Verdict.WARN,
        f"{ahead_s:,.0f} s behind the newest record",
        "set the clock: ages, and how long a call may be repeated, are counted with it",
    )


def _some(run_ids: list[str]) -> str:
    listed = ", ".join(run_ids[:_NAMED_MAX]) + (" …" if len(run_ids) > _NAMED_MAX else "")
    return f"run {listed} is" if len(run_ids) == 1 else f"{len(run_ids)} runs ({listed}) are"
