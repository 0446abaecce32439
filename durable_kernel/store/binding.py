"""Binding: the keys by which a run wants to be found, and who has one of them, by METAs alone.

Of several runs that name one kernel or notebook, the one that was bound to it last has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from durable_kernel.store.meta import Meta
from durable_kernel.store.shelf import RunPlace, Shelf

__all__ = ["KERNEL", "NOTEBOOK", "holders", "keys_of", "newest_holder", "take_along"]

KERNEL = "kernel"
NOTEBOOK = "notebook"


def keys_of(meta: Meta) -> list[tuple[str, str]]:
    """Return the keys by which META wants its run to be found."""
    keys_of_run = [(KERNEL, meta.kernel_id), (NOTEBOOK, meta.notebook)]
    return [(sort, key) for sort, key in keys_of_run if key]


def newest_holder(shelf: Shelf, sort: str, key: str) -> RunPlace | None:
    """Return the live run that was bound to this key last. Looks through all METAs."""
    found = [
        place
        for place in shelf.mentioning(key)
        if place.meta.archived_ns is None and (sort, key) in keys_of(place.meta)
    ]
    return max(found, key=lambda place: _bound_at(sort, place.meta), default=None)


def take_along(shelf: Shelf, old: str | None, new: str) -> None:
    """Let what was put away of a notebook move with it: its path leads to the run before.

    Not where a file is still under the old path: that is another notebook by now.
    """
    if old is None or old == new or os.path.lexists(old):
        return
    for place in shelf.mentioning(old):
        if place.meta.archived_ns is not None and place.meta.notebook == old and place.is_signed:
            shelf.write(replace(place.meta, notebook=new))


def holders(places: Iterable[RunPlace]) -> dict[tuple[str, str], str]:
    """Return who has each key. What is archived has none."""
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for place in places:
        for sort, key in keys_of(place.meta) if place.meta.archived_ns is None else []:
            bound = _bound_at(sort, place.meta)
            newest[sort, key] = max(newest.get((sort, key), bound), bound)
    return {each: run_id for each, (_, run_id) in newest.items()}


def _bound_at(sort: str, meta: Meta) -> tuple[int, str]:
    """Return what orders the runs that have one key."""
    return (meta.kernel_bound_ns if sort == KERNEL else meta.notebook_bound_ns), meta.run_id
