"""Attempts left behind, and those that take their place: what is folded from their frames."""

from __future__ import annotations

from durable_kernel.history import (
    Branched,
    Cell,
    Outline,
    PositionHistory,
    Record,
    RecordCodec,
    Resolved,
    Reused,
    Settled,
)
from durable_kernel.history.views import call_views, outline_view, position_view
from tests.history.folding import act, cell, committed, frames, look, outline_of

ANSWERED = Settled(ordinal=0, lane="", value="a")
FAILED = [cell(), look(0, "GET a"), ANSWERED, act(1, "POST b"), Settled(ordinal=1, lane="")]
RETRIED = Branched(position=0, wall_ns=0, reason="retry", reuses=True)


def again(donor: int = 1, position: int = 0) -> Cell:
    return Cell(position=position, source="pass", wall_ns=0, donor=donor)


def history_of(*records: Record) -> PositionHistory:
    """Fold the last position of a run, with its donors. Each record is one byte."""
    every = list(frames(*records))
    (last,) = Outline.of(every, RecordCodec()).positions
    attempts = [*[*last.donors()][::-1], last]
    found: list[PositionHistory] = []
    for each in attempts:
        own = [
            frame for frame in every if any(e.start <= frame.offset < e.end for e in each.extents)
        ]
        found.insert(0, PositionHistory.of(own, RecordCodec(), tuple(found)))
    return found[0]


def test_an_attempt_left_behind_waits_for_the_cell_that_takes_its_place() -> None:
    outline = outline_of(*FAILED, committed(status="error"), RETRIED)

    assert outline.positions == []
    assert [each.lsn for each in outline.waiting] == [1]
    assert outline.waiting[0].left_by is not None
    assert outline.waiting[0].has_failed


def test_what_another_branch_left_behind_waits_for_nobody() -> None:
    plain = Branched(position=0, wall_ns=0, reason="left behind by the user")

    assert outline_of(*FAILED, committed(status="error"), plain).waiting == []
    assert outline_of(*FAILED, committed(status="error"), RETRIED, plain).waiting == []


def test_a_donor_that_was_taken_waits_no_more() -> None:
    outline = outline_of(*FAILED, committed(status="error"), RETRIED, again())

    assert outline.waiting == []
    assert [each.lsn for each in outline.positions[0].donors()] == [1]


def test_later_cells_wait_while_an_earlier_one_is_run_again() -> None:
    outline = outline_of(
        cell(0), committed(0), cell(1), committed(1, "error"), RETRIED, again(1), committed(0)
    )

    assert [each.position for each in outline.waiting] == [1]


def test_donors_have_donors() -> None:
    outline = outline_of(
        *FAILED,
        committed(status="error"),
        RETRIED,
        again(1),
        Reused(lane="", ordinal=0),
        committed(status="error"),
        RETRIED,
        again(8),
    )

    assert [each.lsn for each in outline.positions[0].donors()] == [8, 1]


def test_reused_calls_are_calls_of_the_new_attempt() -> None:
    outline = outline_of(
        *FAILED, committed(status="error"), RETRIED, again(), Reused(lane="", ordinal=0, count=2)
    )

    (position,) = outline.positions
    assert (position.calls, position.reused) == (2, 2)
    assert [each.label for each in position.acts] == ["POST b"]


def test_a_reused_act_in_doubt_is_in_doubt_in_the_new_attempt() -> None:
    left_open = [cell(), act(0, "POST b")]

    outline = outline_of(*left_open, RETRIED, again(), Reused(lane="", ordinal=0))

    assert outline.status == "in doubt"


def test_a_reused_call_has_the_donors_outcome() -> None:
    history = history_of(
        *FAILED, committed(status="error"), RETRIED, again(), Reused(lane="", ordinal=0)
    )

    (call,) = history.calls[""]
    assert call.settled == ANSWERED
    assert history.reused == {"": 1}
    assert history.last_ended is call
    assert call.place == (0, 0)


def test_a_call_of_the_attempt_itself_stands_behind_the_reused_ones() -> None:
    history = history_of(
        *FAILED, committed(status="error"), RETRIED, again(), Reused(lane="", ordinal=0), look(1)
    )

    assert [each.announced.label for each in history.calls[""]] == ["GET a", "GET /x"]
    assert history.calls[""][1].place == (1, 0)


def test_reuse_reaches_through_to_a_donors_donor() -> None:
    history = history_of(
        *FAILED,
        committed(status="error"),
        RETRIED,
        again(1),
        Reused(lane="", ordinal=0),
        committed(status="error"),
        RETRIED,
        again(8),
        Reused(lane="", ordinal=0),
        Reused(lane="", ordinal=1, back=2),
    )

    assert [each.announced.label for each in history.calls[""]] == ["GET a", "POST b"]


def test_what_is_decided_about_a_reused_act_is_not_the_donors() -> None:
    decided = Resolved(position=0, lane="", ordinal=0, choice="answer", wall_ns=0, value=7)

    history = history_of(
        cell(), act(0, "POST b"), RETRIED, again(), Reused(lane="", ordinal=0), decided
    )

    assert history.calls[""][0].is_complete
    assert not history.donors[0].calls[""][0].is_complete


def test_what_was_reused_is_shown() -> None:
    records = [
        *FAILED,
        committed(status="error"),
        RETRIED,
        again(),
        Reused(lane="", ordinal=0, count=2),
        look(2),
    ]

    outline = outline_of(*records)
    rows = call_views(0, history_of(*records))

    assert (outline_view(outline)["calls"], outline_view(outline)["reused"]) == (3, 2)
    assert outline_view(outline_of(*records[:-3]))["waiting_calls"] == 2
    assert position_view(outline.positions[0])["reused"] == 2
    assert [each["is_reused"] for each in rows] == [True, True, False]
    assert [each["effect"] for each in rows] == ["0.0", "0.1", "0.2"]
