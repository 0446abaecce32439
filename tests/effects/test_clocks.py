"""Clocks: what a cell read is what it reads again."""

from __future__ import annotations

import datetime
import email.utils
import os
import pickle
import resource
import sys
import threading
import time
import timeit
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, timedelta, timezone
from typing import Any

import cloudpickle
import pandas as pd
import pytest

from durable_kernel.effects import clocks
from durable_kernel.testing.fake_port import FakeJournal, FakePort
from tests.effects.sessions import in_module, replayed_equal, run

pytestmark = pytest.mark.usefixtures("hooked")

ZERO_ARGUMENT_CLOCKS = [
    f"{stem}{suffix}"
    for stem in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    for suffix in ("", "_ns")
]


class Stamp(datetime.datetime):
    """A user's subclass."""


@pytest.fixture
def offsets() -> Iterator[None]:
    """Put the process's clocks back after a test shifted them."""
    yield
    clocks._OFFSETS_NS.clear()
    for shifts in clocks._SHIFTS.values():
        for shift in shifts:
            shift(0)


@pytest.mark.parametrize("name", ZERO_ARGUMENT_CLOCKS)
def test_a_clock_replays_what_it_showed(name: str) -> None:
    port = replayed_equal(lambda: [getattr(time, name)() for _ in range(3)])

    assert len(port.column(f"time.{name}")) == 3


@pytest.mark.parametrize(
    "read",
    [
        lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
        lambda: time.clock_gettime_ns(time.CLOCK_REALTIME),
        lambda: time.localtime(),
        lambda: time.gmtime(),
        lambda: time.gmtime(None),
        lambda: time.ctime(),
        lambda: time.asctime(),
        lambda: time.strftime("%Y-%m-%d %H:%M:%S"),
        lambda: datetime.datetime.now(),
        lambda: datetime.datetime.now(UTC),
        lambda: datetime.datetime.now(tz=timezone(timedelta(hours=5, minutes=45))),
        lambda: datetime.datetime.today(),
        lambda: date.today(),
        lambda: os.times(),
        lambda: resource.getrusage(resource.RUSAGE_SELF),
        lambda: Stamp.now(),
        lambda: Stamp.now(UTC),
        lambda: Stamp.today(),
        lambda: email.utils.formatdate(),
        lambda: pd.Timestamp.now(),
        lambda: pd.Timestamp.now("Europe/Berlin"),
        lambda: pd.Timestamp.today(),
        lambda: pd.Timestamp("now"),
        lambda: pd.to_datetime("now"),
        lambda: pd.to_datetime("today"),
    ],
)
def test_each_way_to_ask_for_now_replays(read: Callable[[], Any]) -> None:
    """Catalogue of the ways; an answer a second later would differ."""
    first, live = run(lambda: (read(), type(read())))
    recorded = _an_hour_earlier(live.journal())

    second, again = run(lambda: (read(), type(read())), recorded)
    third, _ = run(lambda: (read(), type(read())), recorded)

    assert second == third != first
    assert second[1] is first[1]
    assert again.is_live


def _an_hour_earlier(journal: FakeJournal) -> FakeJournal:
    """Move everything recorded by a day and an hour, so that a live reading can't pass for it."""
    seconds = 90_000
    for (_, kind), values in journal.soft.items():
        if isinstance(values[0], bytes):
            values[:] = [bytes(len(value)) for value in values]
            continue
        scale = 10**9 if "_ns" in kind else 10**6 if kind == "datetime.now" else 1
        values[:] = [value - seconds * scale for value in values]
    return journal


def test_utcnow_replays_and_keeps_its_deprecation_warning() -> None:
    first, live = run(_utcnow)
    second, _ = run(_utcnow, live.journal())

    assert second == first
    assert first.tzinfo is None
    assert type(first) is Stamp


def _utcnow() -> datetime.datetime:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = Stamp.utcnow()
    assert [item.filename for item in caught] == ([__file__] if sys.version_info >= (3, 12) else [])
    return found


def test_a_moment_given_is_not_a_reading() -> None:
    _, port = run(lambda: (time.localtime(0), time.gmtime(5.5), time.ctime(7)))

    assert port.journal().soft == {}


def test_a_reference_taken_after_install_is_hooked() -> None:
    from time import time as taken

    replayed_equal(lambda: [taken(), taken()])


def test_nobody_records_without_a_lane() -> None:
    port = FakePort()
    port.make_lane()

    before, shown, after = time.time_ns(), datetime.datetime.now(UTC), time.time_ns()

    assert port.journal().soft == {}
    assert before // 1000 <= shown.timestamp() * 1e6 + 1 <= after // 1000 + 2


def test_a_thread_without_a_lane_sees_real_time() -> None:
    readings: list[float] = []

    def cell() -> None:
        thread = threading.Thread(target=lambda: readings.append(time.time()))
        thread.start()
        thread.join()

    _, port = run(cell)

    assert port.column("time.time") == []
    assert len(readings) == 1


@pytest.mark.parametrize("module", ["asyncio.base_events", "logging", "zmq.eventloop", "IPython"])
def test_machinery_in_a_lane_sees_real_time(module: str) -> None:
    read = in_module(
        module, "def f(): return time.time(), datetime.now()", time=time, datetime=datetime.datetime
    )

    _, port = run(read)

    assert port.journal().soft == {}


def test_code_without_a_module_name_is_the_cells() -> None:
    namespace: dict[str, Any] = {"time": time}
    exec("def f(): return time.time()", namespace)
    assert "__name__" not in namespace

    _, port = run(namespace["f"])

    assert len(port.column("time.time")) == 1


def test_one_reading_more_while_replaying_repeats_the_last_value() -> None:
    """H31: an upgraded library reads a clock once more; time stands still, monotonic ticks 1 ns."""

    def cell(extra: int) -> list[int]:
        return [time.monotonic_ns() for _ in range(2 + extra)]

    def cell_with_draw(extra: int) -> list[int]:
        found = cell(extra)
        uuid.uuid4()  # keeps the run replaying until here
        return found

    first, live = run(lambda: cell_with_draw(0))
    second, again = run(lambda: cell_with_draw(1), live.journal())

    assert second == [*first, first[-1] + 1]
    assert again.is_live


def test_a_clock_goes_live_behind_its_last_record() -> None:
    first, live = run(time.time)

    both, again = run(lambda: [time.time(), time.time()], live.journal())

    assert both[0] == first < both[1]
    assert again.column("time.time") == both


def test_timeit_replays_the_same_loop_counts() -> None:
    """How often a statement is looped depends on the clock alone, so output and counts repeat."""
    port = replayed_equal(lambda: timeit.Timer("x = 1").autorange())

    assert port.column("time.perf_counter")
    assert timeit.default_timer is time.perf_counter
    assert timeit.Timer.__init__.__defaults__ is not None
    assert time.perf_counter in timeit.Timer.__init__.__defaults__


@pytest.mark.usefixtures("offsets")
@pytest.mark.parametrize("uptime_s", [5e6, 0.25])
def test_monotonic_clocks_go_on_from_the_last_recorded_value(uptime_s: float) -> None:
    """H15: after a reboot, or on another machine, for the cell and for machinery alike."""
    machinery = in_module("asyncio", "def f(): return time.monotonic()", time=time)
    last = {"time.monotonic": uptime_s, "time.process_time_ns": 7_000_000_000, "time.time": 1.0}

    clocks.set_offsets(last)
    shown = [machinery(), time.monotonic(), time.perf_counter(), time.monotonic_ns() / 1e9]

    assert uptime_s < shown[0] < uptime_s + 60
    assert shown == sorted(shown)
    assert 7 < time.process_time() < 67
    assert uptime_s < time.clock_gettime(time.CLOCK_MONOTONIC) < uptime_s + 60
    assert uptime_s < clocks.reading()["time.monotonic"] < uptime_s + 60
    assert time.time() > 1e9


@pytest.mark.usefixtures("offsets")
def test_a_live_reading_after_the_offset_is_above_every_recorded_one() -> None:
    """H15: it never runs back, though floats are coarse after a long uptime."""
    _, live = run(lambda: [time.monotonic() for _ in range(10)])
    recorded = live.column("time.monotonic")
    moved = live.journal()
    moved.soft["", "time.monotonic"] = [value + 1e8 for value in recorded]

    clocks.set_offsets({"time.monotonic": recorded[-1] + 1e8})
    shown, _ = run(lambda: [time.monotonic() for _ in range(20)], moved)

    assert shown == sorted(shown)


def test_a_wall_clock_behind_the_record_is_told() -> None:
    now = time.time()

    assert clocks.wall_behind_s({"time.time": now - 5}) == 0.0
    assert 98 < clocks.wall_behind_s({"time.time": now + 100, "time.time_ns": 3}) <= 100
    assert 98 < clocks.wall_behind_s({"datetime.now": int((now + 100) * 1e6)}) <= 100
    assert clocks.wall_behind_s({}) == 0.0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("time.monotonic", True),
        ("time.perf_counter_ns", True),
        ("time.thread_time", True),
        (f"time.clock_gettime/{time.CLOCK_MONOTONIC}", True),
        (f"time.clock_gettime_ns/{time.CLOCK_REALTIME}", False),
        ("time.time", False),
        ("datetime.now", False),
        ("sleep", False),
    ],
)
def test_it_is_known_which_kinds_never_go_down(kind: str, expected: bool) -> None:
    assert clocks.is_monotonic(kind) is expected


def test_the_methods_of_datetime_are_still_their_classs_own() -> None:
    taken: list[Any] = [datetime.datetime.now, Stamp.utcnow, Stamp(2020, 1, 1).now]

    assert [method.__self__ for method in taken] == [datetime.datetime, Stamp, Stamp]
    assert Stamp.now == Stamp.now != datetime.datetime.now
    assert len({Stamp.now, Stamp.now, Stamp.utcnow}) == 2
    assert datetime.datetime.now.__qualname__ == "datetime.now"
    assert pickle.loads(pickle.dumps(taken)) == taken
    assert cloudpickle.loads(cloudpickle.dumps(lambda: taken[0]()))().year > 2000
