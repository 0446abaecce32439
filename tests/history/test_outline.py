"""The run, folded: which positions there are, which one is open, what is in doubt."""

from __future__ import annotations

import pytest

from durable_kernel.history import (
    Branched,
    Choice,
    Crossed,
    Finished,
    Observed,
    Opened,
    Output,
    Record,
    Resolved,
    Resumed,
    Settled,
    Shutdown,
    Unsettled,
    Withdrawn,
)
from durable_kernel.ports import Ending
from tests.history.folding import act, cell, committed, look, outline_of

OPENED = Opened(wall_ns=0, pid=1, boot_id="b", host="h", genesis=b"seed")
SETTLED = Settled(ordinal=0, lane="", value=1)
RESUMED = Resumed(position=0, wall_ns=0)


def resolved(choice: Choice) -> Resolved:
    return Resolved(position=0, lane="", ordinal=0, choice=choice.value, wall_ns=0)


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([OPENED], "new"),
        ([cell()], "interrupted"),
        ([cell(), look()], "interrupted"),
        ([cell(), act()], "in doubt"),
        ([cell(), act(), SETTLED], "interrupted"),
        ([cell(), act(), resolved(Choice.RETRY)], "in doubt"),
        ([cell(), act(), resolved(Choice.ANSWER)], "interrupted"),
        ([cell(), act(), resolved(Choice.FAIL)], "interrupted"),
        ([cell(), committed()], "idle"),
        ([cell(), committed(status="error")], "failed"),
        ([cell(), committed(), cell(1)], "interrupted"),
        ([cell(), committed(), Finished(wall_ns=0)], "finished"),
        ([cell(), committed(), Finished(wall_ns=0, status="error")], "failed"),
        ([cell(), committed(), Finished(wall_ns=0), cell(1), committed(1)], "idle"),
    ],
)
def test_the_status_is_one_word(records: list[Record], status: str) -> None:
    assert outline_of(*records).status == status


def test_a_cell_that_was_resumed_is_still_the_open_one() -> None:
    outline = outline_of(cell(), look(), OPENED, RESUMED, OPENED, RESUMED)

    assert outline.open_position is outline.positions[0]
    assert outline.positions[0].attempts == 3


def test_the_first_opener_holds_the_seed() -> None:
    later = Opened(wall_ns=1, pid=2, boot_id="b", host="h")

    assert outline_of(OPENED, later).genesis == b"seed"


def test_a_position_lies_from_its_cell_to_the_next_one() -> None:
    """Frames of a later opener belong to the cell that was open: they stand in its extent."""
    outline = outline_of(OPENED, cell(0), look(), OPENED, committed(0), cell(1), committed(1))

    extents = [[(each.start, each.end) for each in p.extents] for p in outline.positions]
    assert extents == [[(2, 6)], [(6, 8)]]


def test_frames_that_are_not_decoded_belong_to_their_position() -> None:
    printed = Output(kind="stream", content={"name": "stdout", "text": "x"})
    outline = outline_of(cell(), Observed(lane="", kind="time.time", values=[1.0]), printed)

    assert [(each.start, each.end) for each in outline.positions[0].extents] == [(1, 4)]


def test_a_branch_takes_the_suffix_out_of_the_timeline() -> None:
    """H14: it stays in the journal."""
    outline = outline_of(
        *(cell(0), committed(0), cell(1, "old"), committed(1), cell(2), act()),
        Branched(position=1, wall_ns=0, reason="edited"),
        *(cell(1, "new"), committed(1)),
    )

    assert [each.cell.source for each in outline.positions] == ["pass", "new"]
    assert [each.reason for each in outline.branches] == ["edited"]
    assert outline.status == "idle"


def test_frames_behind_a_branch_belong_to_no_position() -> None:
    outline = outline_of(
        cell(0), committed(0), cell(1), Branched(position=1, wall_ns=0), OPENED, look(0)
    )

    assert len(outline.positions) == 1
    assert outline.positions[0].pending == {}


def test_a_branch_at_an_unfinished_run_makes_it_unfinished_no_more() -> None:
    outline = outline_of(cell(0), committed(0), cell(1), act(), Branched(position=1, wall_ns=0))

    assert outline.open_position is None


def test_a_withdrawn_interruption_is_in_doubt_again() -> None:
    """H4: and what was begun behind it never was."""
    outline = outline_of(
        *(cell(), act(0, "POST /a"), RESUMED),
        Settled(ordinal=0, lane="", ending=int(Ending.INTERRUPTED)),
        *(act(1, "POST /unlock"), Withdrawn(lane="", ordinal=0)),
    )

    (position,) = outline.positions
    assert [each.label for each in position.pending.values()] == ["POST /a"]
    assert [each.label for each in position.acts] == ["POST /a"]
    assert position.calls == 1
    assert outline.status == "in doubt"


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_a_repeated_call_that_settled_nothing_is_not_repeated_unasked_again(
    *, is_withdrawn: bool
) -> None:
    """H21: what came back is shown instead, also when RequestInterrupted reached the top."""
    withdrawn = (
        Settled(ordinal=0, lane="", ending=int(Ending.INTERRUPTED)),
        Withdrawn(lane="", ordinal=0),
    )
    outline = outline_of(
        *(cell(), act(0, "DELETE /a"), RESUMED),
        Unsettled(lane="", ordinal=0, found="was answered 404 Not Found"),
        *(withdrawn if is_withdrawn else ()),
    )

    (doubtful,) = outline.positions[0].pending.values()
    assert doubtful.repeat_s == 0
    assert doubtful.repeat_why == "a call that was repeated, and was answered 404 Not Found"
    assert outline.status == "in doubt"


def test_a_commit_leaves_nothing_pending() -> None:
    outline = outline_of(cell(), look(), committed())

    assert outline.positions[0].pending == {}


@pytest.mark.parametrize(("is_act", "is_tainted"), [(True, True), (False, False)])
def test_only_an_unrecorded_act_taints(*, is_act: bool, is_tainted: bool) -> None:
    crossed = Crossed(what="connects", where="cell 0", is_act=is_act)

    assert outline_of(cell(), crossed).positions[0].is_tainted is is_tainted


def test_a_shutdown_counts_until_the_next_opener() -> None:
    stopped = Shutdown(wall_ns=0, restart=True, position=0)

    assert outline_of(cell(), stopped).shutdown == stopped
    assert outline_of(cell(), stopped, OPENED).shutdown is None
