"""A stall is found after seconds, and a process that stood still is none (H6)."""

from __future__ import annotations

import pytest

from durable_kernel.ports import Lane
from durable_kernel.runtime import stalling
from durable_kernel.runtime.stalling import STALL_S, StallWatch


class _Waiting:
    """Lanes of which none goes on."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.passes = 0


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(stalling, "_monotonic", made)
    return made


def _looks_until_it_stalls(watch: StallWatch, clock: _Clock) -> float:
    """Look every 10 ms. Returns after how many seconds the watch said so."""
    began_s = clock.now_s
    while watch.look() is None:
        clock.now_s += 0.01
        assert clock.now_s < began_s + 60, "no stall was found"
    return clock.now_s - began_s


def test_who_waits_where_nothing_moves_is_told_after_seconds(clock: _Clock) -> None:
    watch = StallWatch(_Waiting(), None)

    assert STALL_S <= _looks_until_it_stalls(watch, clock) < STALL_S + 1


@pytest.mark.parametrize("stood_s", [STALL_S, 3600.0])
def test_a_process_that_was_stopped_has_not_stalled(clock: _Clock, stood_s: float) -> None:
    """Nobody could move meanwhile: a machine that was paused is no reason to stop a run."""
    watch = StallWatch(_Waiting(), None)

    clock.now_s += stood_s

    assert watch.look() is None
    assert _looks_until_it_stalls(watch, clock) > STALL_S - 1


def test_whoever_goes_on_begins_it_anew(clock: _Clock) -> None:
    waiting = _Waiting()
    watch = StallWatch(waiting, None)

    for passes in range(1, 11):
        clock.now_s += STALL_S / 2
        waiting.passes = passes
        assert watch.look() is None

    assert _looks_until_it_stalls(watch, clock) >= STALL_S
