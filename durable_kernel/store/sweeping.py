"""Sweeping: delete what `retention` found. Can be killed at any point and done again.

Each run is locked first and looked at again: what was opened, continued or doubted meanwhile stays.
A whole run loses its name in one step and is deleted under a hidden one; whoever looks meanwhile
sees all of it or nothing, and what a dead process left of it goes with the next sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable_kernel.errors import JournalCorruptError, RunLockedError, RunNotFoundError
from durable_kernel.journal import RunLock
from durable_kernel.store.files import explained, remove_tree
from durable_kernel.store.retention import (
    Freeable,
    Kept,
    Policy,
    Sweep,
    unneeded_files,
    why_changed,
)
from durable_kernel.store.status import STATE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_kernel.store.store import Store

__all__ = ["Swept", "sweep"]


@dataclass(slots=True)
class Swept:
    """What was deleted, and what was left alone after all."""

    freed: list[Freeable] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.freed)


def sweep(
    store: Store,
    plan: Sweep,
    policy: Policy,
    now_ns: int,
    *,
    tell: Callable[[str], None] = lambda _sentence: None,
) -> Swept:
    """Delete what the plan names, as far as it may still be deleted.

    Raises UsageError, JournalFullError or JournalPoisonedError where the disk refuses; what was
    deleted by then is deleted, and every run is whole.
    """
    done = Swept()
    for each in plan.freeable:
        tell(f"deleting of run {each.run_id}")
        try:
            with _locked(store, each):
                freed = _free(store, each, policy, now_ns)
        except (RunLockedError, RunNotFoundError, JournalCorruptError) as error:
            done.kept.append(Kept(each.run_id, f"it changed meanwhile: {error}"))
            continue
        if isinstance(freed, Kept):
            done.kept.append(freed)
        elif freed is not None:
            done.freed.append(freed)
    return done


@contextmanager
def _locked(store: Store, each: Freeable) -> Iterator[None]:
    """Hold the run's lock, so that no kernel opens it."""
    folder = each.files[0] if each.is_of_nobody else store.runs / each.run_id
    if not folder.is_dir():
        raise RunNotFoundError(each.run_id, store.home)
    lock = RunLock.acquire(folder)
    try:
        yield
    finally:
        lock.release()


def _free(store: Store, each: Freeable, policy: Policy, now_ns: int) -> Freeable | Kept | None:
    if each.is_run:
        if refusal := why_changed(store, each, policy):
            return Kept(each.run_id, f"it changed meanwhile: {refusal}")
        hidden = store.hide(store.place(each.run_id))
        with explained(hidden):
            remove_tree(hidden, store.disk)
        return each
    if each.is_of_nobody:
        with explained(each.files[0]):
            remove_tree(each.files[0], store.disk)
        return each
    place = store.place(each.run_id)
    now_unneeded = {
        path for one in unneeded_files(store, place, torn_before_ns=now_ns) for path in one.files
    }
    with explained(place.folder):
        for path in each.files:
            if path in now_unneeded:
                with suppress(FileNotFoundError):
                    store.disk.unlink(path)
        with suppress(FileNotFoundError):
            store.disk.unlink(place.folder / STATE_NAME)  # it tells a size that is no longer true
    return each
