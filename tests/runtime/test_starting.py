"""What the next process does by itself, as a table over what the one before left."""

from __future__ import annotations

from dataclasses import replace
from signal import SIGINT, SIGTERM
from typing import Any

import pytest

from durable_kernel.history import COMM, Opened, Outline, Record, RecordCodec, Resumed, Shutdown
from durable_kernel.runtime.starting import DEATHS_MAX_COMMANDED, Beginning, Start, Told, begin
from durable_kernel.runtime.vitals import NOTHING_KNOWN, Doing, LastSigns
from tests.history.folding import cell, committed, frames, look

RESTART = Shutdown(wall_ns=0, restart=True)
RAN_ALL_AND_RESTART = Shutdown(wall_ns=0, restart=True, answered=1)
STOP = Shutdown(wall_ns=0, restart=False)
IN_CELL = LastSigns(epoch=1, doing=Doing.IN_CELL, position=1, live_s=2.0)
"""It died in cell 1, two seconds after its last record."""


def opened() -> Opened:
    return Opened(wall_ns=0, pid=1, boot_id="b", host="h")


DONE: list[Record] = [opened(), cell(), committed()]
CUT: list[Record] = [*DONE, cell(1)]


def begun(
    records: list[Record], signs: LastSigns = NOTHING_KNOWN, told: Told | None = None, **facts: Any
) -> Beginning:
    outline = Outline.of(frames(*records), RecordCodec())
    given: dict[str, Any] = {
        "poison_s": 60.0,
        "oom_kills": 0,
        "is_same_boot": True,
        "may_begin_anew": True,
        **facts,
    }
    return begin(outline, signs, told or Told(), **given)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], Start.RESUME),
        (DONE, Start.RESUME),
        (CUT, Start.RESUME),
        ([*DONE, STOP], Start.RESUME),
        ([*CUT, STOP], Start.RESUME),
        ([*DONE, RESTART], Start.RESUME),
        ([*CUT, RESTART], Start.OFFER),
        ([*CUT, STOP, opened(), RESTART], Start.OFFER),
    ],
)
def test_only_a_restart_leaves_the_interrupted_cell_to_the_user(
    records: list[Record], expected: Start
) -> None:
    assert begun(records).start is expected


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([*DONE, RESTART, opened(), RESTART], Start.FRESH),
        ([*CUT, RESTART, opened(), RESTART], Start.FRESH),
        ([*DONE, RESTART, opened(), STOP], Start.RESUME),
        ([*DONE, STOP, opened(), RESTART], Start.RESUME),
        ([*DONE, opened(), RESTART], Start.RESUME),
        ([*DONE, RESTART, opened(), cell(1), committed(1), RESTART], Start.RESUME),
        ([opened(), RESTART, opened(), RESTART], Start.RESUME),
        ([*DONE, RESTART, opened(), RAN_ALL_AND_RESTART], Start.RESUME),
    ],
)
def test_a_second_restart_before_any_cell_ran_means_a_clean_state(
    records: list[Record], expected: Start
) -> None:
    assert begun(records).start is expected


def test_a_run_that_was_brought_back_is_not_put_away_again() -> None:
    twice = [*DONE, RESTART, opened(), RESTART]

    assert begun(twice, may_begin_anew=False).start is Start.RESUME


def test_one_death_in_a_cell_is_resumed_and_counted() -> None:
    """H36."""
    found = begun(CUT, IN_CELL)

    assert (found.start, found.deaths) == (Start.RESUME, 1)


@pytest.mark.parametrize("is_input", [False, True])
def test_a_cell_that_killed_its_process_before_any_sign_is_counted(is_input: bool) -> None:
    """H36: the journal has its beginning, which is all that a sign could have added."""
    first = replace(cell(1), kind=COMM if is_input else "")
    signs = LastSigns(epoch=1, doing=Doing.IDLE, position=-1, deaths=1)

    found = begun([*DONE, first], signs)

    assert (found.start, found.deaths) == (Start.RESUME, 1)


def test_the_second_death_in_a_row_is_poison() -> None:
    """H36."""
    found = begun(CUT, replace(IN_CELL, deaths=1))

    assert (found.start, found.deaths) == (Start.POISONED, 2)
    assert "cell 1 ended its process 2 times in a row" in found.sentence()


@pytest.mark.parametrize(
    ("records", "signs"),
    [
        ([*CUT, look()], replace(IN_CELL, deaths=1)),
        (CUT, replace(IN_CELL, deaths=1, live_s=60.0)),
        ([*CUT, STOP], replace(IN_CELL, deaths=1)),
        (CUT, replace(IN_CELL, deaths=1, epoch=7)),
        (CUT, NOTHING_KNOWN),
    ],
    ids=["a new record", "a minute of its own", "an orderly stop", "another process", "no signs"],
)
def test_what_made_progress_is_no_poison(records: list[Record], signs: LastSigns) -> None:
    """H36: a pipeline on spot machines is killed often, and healthy."""
    found = begun(records, signs)

    assert (found.start, found.deaths) == (Start.RESUME, 0)


def test_a_resumed_cell_that_recorded_something_is_no_poison() -> None:
    """H36: records of the process that resumed it count; those of the one before do not."""
    resumed = Resumed(position=1, wall_ns=0)
    signs = replace(IN_CELL, deaths=1)

    assert begun([*CUT, look(), opened(), resumed], signs).start is Start.POISONED
    assert begun([*CUT, opened(), resumed, look()], signs).start is Start.RESUME


def test_poison_can_be_switched_off() -> None:
    assert begun(CUT, replace(IN_CELL, deaths=5), poison_s=0.0).start is Start.RESUME


def test_a_runner_s_command_gets_two_deaths_more() -> None:
    """It gives up after two of its own; given again, it is a word of the user's."""
    allowed = DEATHS_MAX_COMMANDED
    third, fourth = (replace(IN_CELL, deaths=each) for each in (2, 3))

    assert begun(CUT, third, deaths_max=allowed).start is Start.RESUME
    assert begun(CUT, fourth, deaths_max=allowed).start is Start.POISONED


@pytest.mark.parametrize("records", [[*CUT, opened()], [*CUT, opened(), STOP]])
def test_a_process_that_never_came_to_the_cell_forgives_it_nothing(records: list[Record]) -> None:
    signs = LastSigns(epoch=1, doing=Doing.IDLE, position=-1, deaths=2)

    assert begun(records, signs).start is Start.POISONED


def test_a_death_while_cells_are_executed_again_does_not_count_for_the_interrupted_one() -> None:
    signs = LastSigns(epoch=1, doing=Doing.RESTORING, position=0, deaths=1)

    found = begun([*CUT, opened()], signs)

    assert (found.start, found.deaths) == (Start.RESUME, 1)
    assert (found.stuck_at, found.stuck) == (0, 1)


def test_three_deaths_at_one_place_of_a_replay_stop_it() -> None:
    signs = LastSigns(epoch=1, doing=Doing.RESTORING, position=0, stuck_at=0, stuck=2)

    found = begun([*CUT, opened()], signs)

    assert found.start is Start.STUCK
    assert "3 processes in a row died while cell 0" in found.sentence()


def test_deaths_at_several_places_of_a_replay_are_a_machine_that_is_taken_away() -> None:
    signs = LastSigns(epoch=1, doing=Doing.RESTORING, position=0, stuck_at=4, stuck=2)

    assert begun([*CUT, opened()], signs).start is Start.RESUME


def test_a_stop_that_a_hung_cell_never_saw_leaves_the_cell_to_the_user() -> None:
    """A cell that holds the GIL is killed without a shutdown record; nobody heard the signal."""
    unheard = replace(IN_CELL, unheard=frozenset({SIGINT}))

    assert begun(CUT, unheard).start is Start.OFFER
    assert begun(CUT, replace(IN_CELL, unheard=frozenset({SIGTERM}))).start is Start.RESUME


def test_a_launcher_that_knows_of_a_restart_is_believed() -> None:
    assert begun(CUT, IN_CELL, Told("user-restart", -15)).start is Start.OFFER


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told(), "it was killed"),
        (Told("crash", -9), "it was killed"),
        (Told("crash", -11), "it was ended by signal 11"),
        (Told("crash", 1), "it left with exit status 1"),
    ],
)
def test_what_ended_the_process_is_said_as_far_as_it_is_known(told: Told, expected: str) -> None:
    assert begun(CUT, IN_CELL, told).cause == expected


def test_a_probable_lack_of_memory_is_said_with_what_the_process_held() -> None:
    signs = replace(IN_CELL, deaths=1, rss_bytes=1_900_000_000, oom_kills=3)

    found = begun(CUT, signs, oom_kills=4)

    assert "probably because the system ran out of memory (it held 1.9 GB)" in found.sentence()
    assert "out of memory" not in begun(CUT, signs, oom_kills=3).sentence()
    assert "out of memory" not in begun(CUT, signs, oom_kills=4, is_same_boot=False).sentence()
    assert "held" not in begun(CUT, replace(signs, rss_bytes=0), oom_kills=4).sentence()
