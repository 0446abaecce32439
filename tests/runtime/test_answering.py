"""What is an answer from the journal, and which acts a cell may leave behind: tables."""

from __future__ import annotations

import pytest

from durable_kernel.errors import BranchRefusedError
from durable_kernel.history import Announced, Cell, Outline, PositionOutline, RecordCodec
from durable_kernel.runtime import Allowed, CellRequest, is_live_cell, is_same_cell
from durable_kernel.runtime.retrying import allowed_by, require_leavable


def recorded(position: int, source: str, cell_id: str | None = None) -> PositionOutline:
    record = Cell(position=position, source=source, wall_ns=0, request={"cell_id": cell_id})
    return PositionOutline(position, record)


@pytest.mark.parametrize(
    ("source", "is_live"),
    [
        ("%%live\nf()", True),
        ("\n\n%%live \nf()", True),
        ("%%live", True),
        ("f()\n%%live", False),
        ("%%lively\nf()", False),
        ("# %%live\nf()", False),
        ("", False),
    ],
)
def test_a_cell_is_live_by_its_first_line(source: str, is_live: bool) -> None:
    assert is_live_cell(source) is is_live
    assert allowed_by(CellRequest(source)) is (Allowed.OWN if is_live else Allowed.NONE)


@pytest.mark.parametrize(
    ("known", "asked", "source", "is_same"),
    [
        (None, None, "f()", True),
        ("a", None, "f()", True),
        (None, "a", "f()", True),
        ("a", "a", "f()", True),
        ("a", "b", "f()", False),
        ("a", "a", "g()", False),
    ],
)
def test_a_cell_is_the_same_by_source_and_by_what_both_know_of_its_id(
    known: str | None, asked: str | None, source: str, is_same: bool
) -> None:
    """H13."""
    assert is_same_cell(recorded(0, "f()", known), source, asked) is is_same


@pytest.mark.parametrize(
    ("position", "allowed", "is_refused"),
    [
        (0, Allowed.NONE, True),
        (1, Allowed.NONE, True),
        (1, Allowed.OWN, False),
        (0, Allowed.OWN, True),
        (0, Allowed.ALL, False),
        (2, Allowed.NONE, False),
    ],
)
def test_acts_are_left_behind_only_where_they_are_allowed_again(
    position: int, allowed: Allowed, is_refused: bool
) -> None:
    """H14: cell 1 of three has acted."""
    outline = Outline(RecordCodec())
    outline.positions = [recorded(place, "f()") for place in range(3)]
    act = Announced(ordinal=0, lane="", kind="step", label="pay", wall_ns=0, act=1, repeat_s=0)
    outline.positions[1].announced.append(act)

    if is_refused:
        with pytest.raises(BranchRefusedError, match=r"pay \(cell 1\)"):
            require_leavable(outline, position, allowed, 0)
    else:
        require_leavable(outline, position, allowed, 0)
