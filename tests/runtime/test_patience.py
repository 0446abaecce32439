"""Patience: a blocked thread is found quickly, and one that wants to run is not taken for one."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, cast

import pytest

from durable_kernel.effects.sleeping import _real_sleep
from durable_kernel.ports import Lane
from durable_kernel.runtime import patience
from durable_kernel.runtime.patience import Patience

_WAIT_S_MAX = 60.0
_LOOKS_MIN = 40
_monotonic = time.monotonic

pytestmark = pytest.mark.usefixtures("endless_bounds")


@pytest.fixture
def endless_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let neither computing nor idling tire a lane: what is left is that it sleeps."""
    monkeypatch.setattr(patience, "CPU_S_MAX", 1e9)
    monkeypatch.setattr(patience, "IDLE_S_MAX", 1e9)


def _lane_of(thread: threading.Thread) -> Lane:
    lane = Lane("/t1", cast("Any", None), lambda _kind: None)
    lane.root_thread = thread.ident
    return lane


def test_a_thread_that_is_blocked_keeps_nobody_for_long() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = threading.Thread(target=ours.recv, args=(1,))
        thread.start()
        lanes, watched = [_lane_of(thread)], Patience()
        until = _monotonic() + _WAIT_S_MAX

        while not (is_over := watched.is_over(0, lanes)) and _monotonic() < until:
            _real_sleep(0.001)
        is_over_at_once = watched.is_over(1, lanes)

        theirs.send(b"x")
        thread.join()
    assert is_over
    assert is_over_at_once, "it is blocked until it has run"


def test_a_thread_that_waits_for_the_interpreter_is_not_blocked() -> None:
    is_done: list[bool] = []

    def compute() -> None:
        while not is_done:
            pass

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for each in threads:
        each.start()
    watched = [(Patience(), [_lane_of(each)]) for each in threads]
    until = _monotonic() + 0.5
    found: list[bool] = []

    while len(found) < _LOOKS_MIN or _monotonic() < until:
        found += [watching.is_over(0, lanes) for watching, lanes in watched]

    is_done.append(True)
    for each in threads:
        each.join()
    assert not any(found)


@pytest.mark.parametrize(("state", "expected"), [(b"R", False), (b"D", True), (b"", True)])
def test_who_waits_for_a_processor_is_never_blocked(
    monkeypatch: pytest.MonkeyPatch, state: bytes, expected: bool
) -> None:
    """On a machine that is busy with others a thread may get no processor for a second."""
    monkeypatch.setattr(patience, "IDLE_S_MAX", 0.0)
    monkeypatch.setattr(patience, "ASLEEP_S", 0.0)
    monkeypatch.setattr(patience, "state_of", lambda _ident: state)
    is_done = threading.Event()
    thread = threading.Thread(target=is_done.wait)
    thread.start()
    lanes, watched = [_lane_of(thread)], Patience()

    for _ in range(3):  # the first looks may still see it begin to wait
        found = watched.is_over(0, lanes)
        _real_sleep(0.1)

    is_done.set()
    thread.join()
    assert found is expected
