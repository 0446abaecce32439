"""Sleeping: what is over is not slept again, what was cut is finished."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from durable_kernel.testing.fake_port import FakeJournal, FakePort
from tests.effects.sessions import awaited, in_module, run

pytestmark = pytest.mark.usefixtures("hooked")

LONG_S = 3600.0
SHORT_S = 600.0
"""What nobody sleeps through takes less, also where the machine stands still meanwhile."""


def recorded_sleeps(
    *ended_ago_s: float, draws: int = 0, lanes: tuple[str, ...] = ("",)
) -> FakeJournal:
    """A journal of sleeps that ended so many seconds ago (negative: that are not over)."""
    now = time.time()
    return FakeJournal(
        soft={(lane, "sleep"): [now - ago for ago in ended_ago_s] for lane in lanes},
        draws={("", "left"): [0] * draws},
    )


def seconds_of(cell: Callable[[], Any], recorded: FakeJournal | None) -> float:
    started = time.monotonic()
    run(cell, recorded)
    return time.monotonic() - started


def in_loop(make: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Any]:
    return lambda: awaited(make)


@pytest.mark.parametrize(
    "sleep",
    [lambda seconds: time.sleep(seconds), lambda seconds: awaited(lambda: _awaiting(seconds))],
    ids=["time", "asyncio"],
)
class TestBothSleeps:
    def test_a_sleep_that_is_over_is_not_slept_again(self, sleep: Callable[[float], None]) -> None:
        assert seconds_of(lambda: sleep(LONG_S), recorded_sleeps(1.0)) < SHORT_S

    def test_a_sleep_that_was_cut_is_only_finished(self, sleep: Callable[[float], None]) -> None:
        recorded = recorded_sleeps(-0.2)

        took_s = seconds_of(lambda: sleep(LONG_S), recorded)

        (deadline,) = recorded.soft["", "sleep"]
        assert time.time() > deadline - 0.01  # two clocks
        assert took_s < SHORT_S

    def test_a_deadline_far_off_never_lengthens_a_sleep(
        self, sleep: Callable[[float], None]
    ) -> None:
        """A wall clock that was set back makes nobody wait for longer than was asked."""
        assert seconds_of(lambda: sleep(0.05), recorded_sleeps(-LONG_S)) < SHORT_S

    def test_the_deadline_is_written_before_the_sleep(self, sleep: Callable[[float], None]) -> None:
        before = time.time()
        _, port = run(lambda: sleep(0.02))

        (deadline,) = port.column("sleep")
        assert before + 0.02 <= deadline <= time.time() + 0.02
        assert port.flushes == 1

    def test_a_tiny_sleep_is_not_worth_a_write(self, sleep: Callable[[float], None]) -> None:
        _, port = run(lambda: sleep(0.0001))

        assert port.flushes == 0
        assert len(port.column("sleep")) == 1

    def test_one_sleep_more_while_replaying_is_not_slept(
        self, sleep: Callable[[float], None]
    ) -> None:
        """H31: with records before it, and without any."""
        twice = recorded_sleeps(5.0, draws=1)

        def cell() -> None:
            sleep(LONG_S)
            sleep(LONG_S)

        assert seconds_of(cell, twice) < SHORT_S
        assert seconds_of(lambda: sleep(LONG_S), FakeJournal(draws={("", "left"): [0]})) < SHORT_S

    def test_a_yield_is_not_recorded(self, sleep: Callable[[float], None]) -> None:
        _, port = run(lambda: sleep(0))

        assert port.journal().soft == {}

    def test_whole_numbers_of_numpy_are_seconds_too(self, sleep: Callable[[float], None]) -> None:
        seconds: Any = np.int64(LONG_S)

        assert seconds_of(lambda: sleep(seconds), recorded_sleeps(1.0)) < SHORT_S

    def test_without_a_lane_it_just_sleeps(self, sleep: Callable[[float], None]) -> None:
        started = time.monotonic()

        sleep(0.02)

        assert time.monotonic() - started >= 0.02


async def _awaiting(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("bad", [-1, float("nan"), "5", None])
def test_bad_durations_raise_what_the_library_raises(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as hooked:
        run(lambda: time.sleep(bad))
    with pytest.raises((TypeError, ValueError)) as plain:
        time.sleep(bad)

    assert repr(hooked.value) == repr(plain.value)


def test_the_result_of_a_sleep_comes_back() -> None:
    async def cell() -> tuple[str, str]:
        return await asyncio.sleep(0.001, "first"), await asyncio.sleep(0, result="second")

    first, live = run(in_loop(cell))
    second, _ = run(in_loop(cell), live.journal())

    assert first == second == ("first", "second")


def test_machinery_sleeps_as_it_likes() -> None:
    sleep = in_module("pexpect.pty_spawn", "def f(): time.sleep(0.001)", time=time)
    back_off = in_module("urllib3.util.retry", "def f(): time.sleep(3600)", time=time)

    _, port = run(sleep)

    assert port.column("sleep") == []
    assert seconds_of(back_off, recorded_sleeps(1.0)) < SHORT_S


def test_a_task_that_spins_does_not_keep_others_asleep() -> None:
    """H24: the loop never comes to rest."""

    async def cell() -> None:
        sleeper = asyncio.create_task(asyncio.sleep(LONG_S))
        while not sleeper.done():  # noqa: ASYNC110 - the spinning is the point
            await asyncio.sleep(0)

    assert seconds_of(in_loop(cell), recorded_sleeps(1.0, lanes=("/a1",))) < SHORT_S


def test_a_cancelled_sleeper_does_not_stop_the_others() -> None:
    async def cell() -> str:
        first = asyncio.create_task(asyncio.sleep(LONG_S, "first"))
        second = asyncio.create_task(asyncio.sleep(LONG_S, "second"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    recorded = recorded_sleeps(1.0, lanes=("/a1", "/a2"))
    assert run(in_loop(cell), recorded)[0] == "second"


def test_asyncio_sleep_still_counts_as_a_coroutine_function() -> None:
    assert asyncio.iscoroutinefunction(asyncio.sleep) if _is_old() else True
    assert inspect.iscoroutinefunction(asyncio.sleep) is not _is_old()


def _is_old() -> bool:
    """Before 3.12 only asyncio's own predicate knows of marked functions."""
    return not hasattr(inspect, "markcoroutinefunction")


def test_a_sleep_made_in_a_cell_and_awaited_outside_passes() -> None:
    port = FakePort()
    with port.cell():
        waiting = asyncio.sleep(0.001, "late")

    assert asyncio.run(waiting) == "late"
    assert port.journal().soft == {}
