"""What a process left in the journal, as far as its end can be told from it."""

from __future__ import annotations

from durable_kernel.history import Observed, Opened, Resumed, Shutdown
from tests.history.folding import act, cell, committed, look, outline_of


def opened() -> Opened:
    return Opened(wall_ns=0, pid=1, boot_id="b", host="h")


def test_each_opener_begins_a_life() -> None:
    outline = outline_of(opened(), cell(), committed(), opened(), cell(1), cell(2))

    assert [each.cells for each in outline.lives] == [1, 2]


def test_only_a_stop_that_was_asked_for_ends_a_life_orderly() -> None:
    restarted = Shutdown(wall_ns=0, restart=True)
    stopped = Shutdown(wall_ns=0, restart=False)

    lives = outline_of(opened(), restarted, opened(), stopped, opened()).lives

    assert [each.was_restarted for each in lives] == [True, False, False]
    assert [each.shutdown for each in lives] == [restarted, stopped, None]


def test_hard_records_count_from_the_last_cell_on() -> None:
    outline = outline_of(opened(), cell(), look(), act(1), committed(), cell(1), look())

    assert outline.lives[-1].hard == 1


def test_a_clock_is_no_hard_record_and_entropy_is_one() -> None:
    """H36."""
    soft = Observed(lane="", kind="time.time", values=[1.0])
    hard = Observed(lane="", kind="os.urandom", values=[b"1"], hard=True)

    assert outline_of(opened(), cell(), soft).lives[-1].hard == 0
    assert outline_of(opened(), cell(), soft, hard).lives[-1].hard == 1


def test_what_a_resumed_position_records_counts_for_the_process_that_resumed_it() -> None:
    resumed = Resumed(position=0, wall_ns=0)

    lives = outline_of(opened(), cell(), opened(), resumed, look()).lives

    assert [(each.cells, each.hard) for each in lives] == [(1, 0), (0, 1)]
