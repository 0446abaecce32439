"""LIFE and SIGNALS: hints that survive the process, and that nothing depends on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.runtime.starting import Beginning
from durable_kernel.runtime.vitals import (
    LIFE_NAME,
    NOTHING_KNOWN,
    SIGNALS_NAME,
    Doing,
    Vitals,
    oom_kills_of_system,
    read_signs,
)


@pytest.fixture
def vitals(tmp_path: Path) -> Iterator[Vitals]:
    made = Vitals(tmp_path, 7, Beginning(deaths=1, stuck_at=4, stuck=2))
    yield made
    made.close()


def test_what_a_process_did_last_can_be_read_after_its_death(
    vitals: Vitals, tmp_path: Path
) -> None:
    vitals.enter(3, Doing.IN_CELL, is_new=False)
    vitals.tick(is_live=False)
    vitals.tick(is_live=True)
    vitals.tick(is_live=True)

    found = read_signs(tmp_path)

    assert (found.epoch, found.doing, found.position) == (7, Doing.IN_CELL, 3)
    assert (found.deaths, found.stuck_at, found.stuck) == (1, 4, 2)
    assert 0 <= found.live_s < 60
    assert found.unheard == frozenset()


def test_a_new_cell_has_no_deaths_of_the_cell_before(vitals: Vitals, tmp_path: Path) -> None:
    vitals.enter(4, Doing.IN_CELL, is_new=True)
    vitals.tick(is_live=True)

    assert read_signs(tmp_path).deaths == 0


def test_a_new_attempt_at_a_position_has_no_deaths_of_the_one_before(
    vitals: Vitals, tmp_path: Path
) -> None:
    """H36: an edited cell takes the number of the one that killed its process, and is no poison."""
    vitals.enter(4, Doing.IN_CELL, is_new=False)
    before = read_signs(tmp_path)
    vitals.leave()
    vitals.enter(4, Doing.IN_CELL, is_new=True)

    assert (before.position, before.deaths) == (4, 1)
    assert (read_signs(tmp_path).position, read_signs(tmp_path).deaths) == (4, 0)


def test_what_a_replay_was_executing_is_told_until_it_is_over(
    vitals: Vitals, tmp_path: Path
) -> None:
    vitals.enter(4, Doing.RESTORING, is_new=False)
    during = read_signs(tmp_path)
    vitals.leave()

    assert (during.doing, during.position) == (Doing.RESTORING, 4)
    assert read_signs(tmp_path).doing is Doing.IDLE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells nothing of its memory")
def test_the_memory_of_the_process_is_kept(vitals: Vitals, tmp_path: Path) -> None:
    vitals.enter(0, Doing.IN_CELL, is_new=True)
    vitals.tick(is_live=True)

    assert read_signs(tmp_path).rss_bytes > 1_000_000


def test_a_signal_leaves_its_trace_until_it_is_heard(vitals: Vitals, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR1)
        unheard = read_signs(tmp_path).unheard
        vitals.hear()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert unheard == {signal.SIGUSR1}
    assert read_signs(tmp_path).unheard == frozenset()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_signal_that_came_before_a_cell_is_none_of_its_own(
    is_new: bool, vitals: Vitals, tmp_path: Path
) -> None:
    """Else a kill would be taken for a stop that the user asked for, and the cell left to him."""
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR1)
        before = read_signs(tmp_path).unheard
        vitals.enter(4, Doing.IN_CELL, is_new=is_new)
    finally:
        signal.signal(signal.SIGUSR1, previous)

    assert before == {signal.SIGUSR1}
    assert read_signs(tmp_path).unheard == frozenset()


def test_between_two_cells_signals_are_forgotten_ahead_for_one_cell_only(
    vitals: Vitals, tmp_path: Path
) -> None:
    """The next cell asks the system nothing; the one behind it does, if nobody looked again."""
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR1)
        vitals.rest()
        rested = read_signs(tmp_path).unheard
        vitals.enter(4, Doing.IN_CELL, is_new=True)
        signal.raise_signal(signal.SIGUSR1)
        during = read_signs(tmp_path).unheard
        vitals.enter(5, Doing.IN_CELL, is_new=True)
    finally:
        signal.signal(signal.SIGUSR1, previous)

    assert rested == frozenset()
    assert during == {signal.SIGUSR1}
    assert read_signs(tmp_path).unheard == frozenset()


@pytest.mark.parametrize("content", [None, b"", b"DKL1", b"x" * 57, bytes(57)])
def test_a_missing_or_damaged_hint_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / LIFE_NAME).write_bytes(content)

    assert read_signs(tmp_path) == NOTHING_KNOWN


def test_hints_that_cannot_be_written_cost_nothing_but_the_hints(tmp_path: Path) -> None:
    for name in (LIFE_NAME, SIGNALS_NAME):
        (tmp_path / name).mkdir()

    vitals = Vitals(tmp_path, 1, Beginning())
    vitals.enter(0, Doing.IN_CELL, is_new=True)
    vitals.close()

    assert read_signs(tmp_path) == NOTHING_KNOWN


def test_a_wakeup_fd_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    try:
        Vitals(tmp_path, 1, Beginning()).close()

        assert signal.set_wakeup_fd(-1) == writing
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)


def test_the_kills_that_a_system_counted_are_read(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 12\noom_kill 3\n")

    assert oom_kills_of_system(counters) == 3
    assert oom_kills_of_system(tmp_path / "missing") == -1


def test_the_document_says_how_large_the_hint_is(vitals: Vitals, tmp_path: Path) -> None:
    vitals.leave()
    text = (Path(__file__).parents[2] / "docs" / "journal-format.md").read_text()

    assert f"`LIFE` has {(tmp_path / LIFE_NAME).stat().st_size} bytes" in text
