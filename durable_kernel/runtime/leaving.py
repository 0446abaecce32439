"""Leaving: what `%durable rewind` and `retry` decide, about a run that no process has open.

The run is locked meanwhile, and its journal gets one record; the next process that opens it starts
from there. Nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import time_ns as _time_ns  # noqa: TID251 - the time of a record

from durable_kernel.errors import BranchRefusedError, UsageError
from durable_kernel.history import Branched, Outline, PositionOutline, position_history
from durable_kernel.journal import Journal
from durable_kernel.runtime.finding import records_of
from durable_kernel.runtime.retrying import (
    Allowed,
    cells_from,
    failed_cell,
    require_leavable,
    require_untainted,
)
from durable_kernel.runtime.settings import Settings
from durable_kernel.store import RunPlace, Store

__all__ = ["leave_failed_of", "rewind_of"]

_CHOICES = (
    "That stays done, and running those cells again may do it again. Nothing was changed. "
    "--repeat-acts allows it."
)


def rewind_of(
    store: Store, place: RunPlace, position: int, allowed: Allowed
) -> list[PositionOutline]:
    """Leave the positions >= `position` behind; returns them. The next opener starts before it.

    Raises RunLockedError, UsageError for a place that is not there, BranchRefusedError with the
    acts that would be left behind, and what opening a journal raises. Nothing has changed then.
    """
    with _opened(store, place) as (journal, outline):
        left = cells_from(outline, position)
        try:
            require_leavable(outline, position, allowed, _time_ns())
        except BranchRefusedError as error:
            raise BranchRefusedError(position, error.acts, _CHOICES) from None
        is_granted = allowed is Allowed.ALL
        _write(store, journal, position, "rewound by the user", repeats_acts=is_granted)
    return left


def leave_failed_of(store: Store, place: RunPlace, *, repeats_acts: bool) -> PositionOutline:
    """Leave the failed last cell behind; returns it. The next opener lets it begin anew.

    Raises RunLockedError, UsageError if it did not fail, TaintedPositionError unless acts may be
    repeated, and what opening a journal raises. Nothing has changed then.
    """
    with _opened(store, place) as (journal, outline):
        last = failed_cell(outline)
        if not repeats_acts:
            records = records_of(store, place.run_id, with_objects=False)
            require_untainted(position_history(place.folder, last, records), Settings())
        _write(store, journal, last.position, "retry", repeats_acts=repeats_acts)
    return last


@contextmanager
def _opened(store: Store, place: RunPlace) -> Iterator[tuple[Journal, Outline]]:
    store.check_place(place)
    if not any(place.folder.glob("seg-*.dkj")):
        raise UsageError(f"run {place.run_id} has no cell yet.")
    outline = Outline(records_of(store, place.run_id, with_objects=False))
    with store.explaining(place.run_id):
        journal = Journal.open(
            place.folder,
            run_id=place.run_id,
            key=store.run_key(place.run_id),
            anchor=store.anchor(place.run_id),
            disk=store.disk,
            on_frame=outline.add,
        )
    with journal:
        yield journal, outline


def _write(
    store: Store, journal: Journal, position: int, reason: str, *, repeats_acts: bool
) -> None:
    record = Branched(
        position=position,
        wall_ns=_time_ns(),
        reason=reason,
        reuses=True,
        repeats_acts=repeats_acts,
    )
    records = records_of(store, journal.run_id, with_objects=False)
    journal.append([records.pack(record)], sync=True)
