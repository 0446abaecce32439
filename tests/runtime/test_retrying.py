"""Which attempt a cell takes the place of: one table."""

from __future__ import annotations

import pytest

from durable_kernel.history import Branched, Cell, PositionOutline
from durable_kernel.runtime import CellRequest
from durable_kernel.runtime.retrying import find_donor, is_to_be_retried
from tests.history.folding import cell, committed, history_of


def waiting(position: int, source: str, cell_id: str | None = None) -> PositionOutline:
    record = Cell(position=position, source=source, wall_ns=0, request={"cell_id": cell_id})
    left_by = Branched(position=position, wall_ns=0, reuses=True)
    return PositionOutline(position, record, lsn=position + 100, left_by=left_by)


TWICE = [waiting(1, "f()"), waiting(2, "f()")]
NAMED = [waiting(1, "a", "A"), waiting(2, "b", "B")]
MENDED = [waiting(3, "fails", "A"), waiting(4, "mended", "A")]
UNNAMED = [waiting(1, "a"), waiting(2, "b")]


@pytest.mark.parametrize(
    ("among", "position", "source", "cell_id", "found"),
    [
        (TWICE, 2, "f()", None, 2),
        (TWICE, 5, "f()", None, 1),
        (NAMED, 1, "edited", "B", 2),
        (NAMED, 7, "edited", "A", 1),
        (NAMED, 1, "b", "C", 2),
        (NAMED, 1, "edited", "C", None),
        (NAMED, 1, "edited", None, 1),
        (MENDED, 3, "mended", "A", 4),
        (MENDED, 3, "edited", "A", 3),
        (UNNAMED, 2, "edited", "C", 2),
        (UNNAMED, 2, "edited", None, 2),
        (UNNAMED, 3, "edited", None, None),
        ([], 0, "a", "A", None),
    ],
)
def test_a_cell_finds_the_attempt_before(
    among: list[PositionOutline], position: int, source: str, cell_id: str | None, found: int | None
) -> None:
    donor = find_donor(among, position, CellRequest(source, cell_id=cell_id))

    assert (donor.position if donor else None) == found


@pytest.mark.parametrize(
    ("status", "source", "expects_error", "is_retried"),
    [
        ("error", "pass", False, True),
        ("error", "pass", True, False),
        ("error", "edited", True, True),
        ("ok", "pass", False, False),
        ("ok", "edited", False, False),
        (None, "pass", False, False),
        (None, "edited", False, True),
    ],
)
def test_a_cell_that_failed_or_was_edited_in_its_middle_begins_anew(
    status: str | None, source: str, *, expects_error: bool, is_retried: bool
) -> None:
    ended = [committed(status=status)] if status else []
    recorded = history_of(cell(), *ended)

    told = is_to_be_retried(recorded, CellRequest(source), expects_error=expects_error)

    assert told == is_retried
