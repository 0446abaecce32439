"""Retrying: which attempt a cell takes the place of, and what it may take from it.

A run whose last cell raised is *failed*. Run again, that cell begins anew on the state before it,
edited or not, and the attempt left behind is its donor (`replay.donor`). Attempts left behind by an
edit wait in the outline until a cell comes that takes their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from durable_kernel.errors import (
    BranchRefusedError,
    CutPositionError,
    PoisonedPositionError,
    TaintedPositionError,
    UsageError,
)
from durable_kernel.history import Outline, PositionHistory, PositionOutline
from durable_kernel.replay import Donor, may_repeat
from durable_kernel.runtime.answering import is_live_cell
from durable_kernel.runtime.cell import CellRequest
from durable_kernel.runtime.keeping import is_brought_back, unkept
from durable_kernel.runtime.settings import Settings
from durable_kernel.runtime.starting import Beginning, Start

__all__ = [
    "Allowed",
    "Attempts",
    "allowed_by",
    "cells_from",
    "failed_cell",
    "find_donor",
    "is_asked_live",
    "is_to_be_retried",
    "require_leavable",
    "require_repeatable",
    "require_sound",
    "require_untainted",
]


class Allowed(Enum):
    """Which acts of the positions left behind may be done again."""

    NONE = "none"
    OWN = "own"
    """Those of the first position: the user asks for that cell to be run live."""
    ALL = "all"


def is_to_be_retried(
    recorded: PositionHistory,
    request: CellRequest,
    *,
    expects_error: bool,
    is_edited: bool = False,
) -> bool:
    """Tell whether the last recorded cell is to begin anew under this request.

    One that raised, unless its notebook expects that; and one that was interrupted and edited,
    itself or (`is_edited`) what it loads.
    """
    is_edited = is_edited or recorded.source != request.source
    if recorded.committed is None:
        return is_edited
    return recorded.committed.status == "error" and (is_edited or not expects_error)


def require_untainted(history: PositionHistory, settings: Settings) -> None:
    """Refuse to run a cell again that acted past the journal: nobody knows what it did."""
    if history.is_tainted and not (settings.redo or settings.repeat_acts):
        raise TaintedPositionError(history.position, _crossed(history))


def require_repeatable(history: PositionHistory, settings: Settings) -> None:
    """Refuse to replay a position that can't be executed again as it was, unless `redo` says so.

    One whose names were kept is not executed again: they are bound.
    """
    if settings.redo or is_brought_back(history, partly=settings.partly):
        return
    if history.is_tainted:
        raise TaintedPositionError(history.position, _crossed(history))
    if history.was_cut:
        unknown = "nobody said where its names are" if history.committed is not None else ""
        why = unkept(history.kept) if history.kept else unknown
        raise CutPositionError(history.position, why, is_brought_back(history, partly=True))


def require_sound(history: PositionHistory, beginning: Beginning, settings: Settings) -> None:
    """Refuse to go on in a cell that ended its process again and again (H36)."""
    is_it = history.committed is None and beginning.start is Start.POISONED
    if is_it and not settings.redo:
        raise PoisonedPositionError(history.position, beginning.deaths, beginning.memory)


def _crossed(history: PositionHistory) -> tuple[str, ...]:
    return tuple(f"{each.where}: it {each.what}" for each in history.crossings if each.is_act)


def is_asked_live(recorded: PositionHistory, request: CellRequest) -> bool:
    """Tell whether a cell that ended is to be run anew, because it says so itself."""
    return recorded.committed is not None and is_live_cell(request.source)


def allowed_by(request: CellRequest) -> Allowed:
    """Return which acts a cell may do again that takes the place of a recorded one."""
    return Allowed.OWN if is_live_cell(request.source) else Allowed.NONE


def cells_from(outline: Outline, position: int) -> list[PositionOutline]:
    """Return the positions that going back there leaves behind. Raises UsageError for none."""
    left = [each for each in outline.positions if each.position >= position]
    if position < 0 or not left:
        raise UsageError(f"there is no cell {position} in this run; `%durable log` lists them.")
    return left


def failed_cell(outline: Outline) -> PositionOutline:
    """Return the last cell, which failed or was never finished. Raises UsageError otherwise."""
    last = outline.last_cell
    if last is None or (last.committed is not None and not last.has_failed):
        raise UsageError("the last cell did not fail; there is nothing to try again.")
    return last


def require_leavable(outline: Outline, position: int, allowed: Allowed, now_ns: int) -> None:
    """Refuse to leave the positions >= `position` behind, for what was done there (H14).

    What may be done again, at wall time `now_ns`, is no reason: declared idempotent, with a key or
    by a method that is, each within its time (H21).
    """
    first = position + 1 if allowed is Allowed.OWN else position
    left = [each for each in outline.positions if each.position >= first]
    acts = [
        f"{act.label} (cell {each.position})"
        for each in left
        for act in each.acts
        if not may_repeat(act, now_ns)
    ]
    crossings = [(each.position, one) for each in left for one in each.crossings if one.is_act]
    acts += [f"{one.what} (cell {place})" for place, one in crossings]
    if acts and allowed is not Allowed.ALL:
        raise BranchRefusedError(position, tuple(acts))


def find_donor(
    waiting: Sequence[PositionOutline], position: int, request: CellRequest
) -> PositionOutline | None:
    """Find the attempt that a new cell takes the place of.

    The same source at the same place; else the same cell, as far as its front end names cells, with
    the same source if it ever had it; else the same source anywhere; else the same place, where no
    front end says that it is another cell.
    """

    def is_same_source(each: PositionOutline) -> bool:
        return each.cell.code == request.source

    def is_same_cell(each: PositionOutline) -> bool:
        return request.cell_id is not None and each.cell.request.get("cell_id") == request.cell_id

    def is_unnamed(each: PositionOutline) -> bool:
        return request.cell_id is None or each.cell.request.get("cell_id") is None

    waiting = [each for each in waiting if each.cell.kind == request.kind]
    here = [each for each in waiting if each.position == position]
    ways: list[tuple[Sequence[PositionOutline], Callable[[PositionOutline], bool]]] = [
        (here, is_same_source),
        (waiting, lambda each: is_same_cell(each) and is_same_source(each)),
        (waiting, is_same_cell),
        (waiting, is_same_source),
        (here, is_unnamed),
    ]
    return next((each for among, fits in ways for each in among if fits(each)), None)


class Attempts:
    """What the cells of one run may reuse. `load` reads the history of an attempt.

    `has_edited`: whether the code that an attempt loaded says something else by now.
    """

    def __init__(
        self,
        outline: Outline,
        load: Callable[[PositionOutline], PositionHistory],
        wall_ns: Callable[[], int],
        has_edited: Callable[[PositionOutline], bool],
    ) -> None:
        self._outline = outline
        self._load = load
        self._wall_ns = wall_ns
        self._has_edited = has_edited

    def before_new(self, position: int, request: CellRequest, settings: Settings) -> Donor | None:
        """Make the donor of a cell that begins; None where it takes nobody's place."""
        if is_live_cell(request.source):
            return None
        left = find_donor(self._outline.waiting, position, request)
        if left is None:
            return None
        # Once: the outline of this session does not see which cell the journal says took it.
        self._outline.waiting = [each for each in self._outline.waiting if each is not left]
        newest = self._load(left)
        attempts = (newest, *newest.donors)
        return self._donor(left, attempts, position, request.source, settings)

    def before_open(self, history: PositionHistory, settings: Settings) -> Donor | None:
        """Make the donor of an interrupted attempt, its cursors behind what that attempt did."""
        outline = self._outline.open_position
        if outline is None or outline.donor is None:
            return None
        donor = self._donor(
            outline.donor, history.donors, history.position, history.source, settings
        )
        donor.follow(history)
        return donor

    def _donor(
        self,
        left: PositionOutline,
        attempts: Sequence[PositionHistory],
        position: int,
        source: str,
        settings: Settings,
    ) -> Donor:
        branch = left.left_by
        assert branch is not None, "only what was left behind is a donor"
        is_unchanged = (
            left.has_failed
            and left.cell.code == source
            and left.position == branch.position == position
            and not self._has_edited(left)
        )
        return Donor(
            attempts,
            lsn=left.lsn,
            is_unchanged=is_unchanged,
            now_ns=self._wall_ns(),
            repeats_acts=settings.repeat_acts or branch.repeats_acts,
        )
