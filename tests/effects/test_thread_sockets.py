"""A lane that waits for the world where nobody journals it counts as resting."""

from __future__ import annotations

import select
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from durable_kernel.effects import thread_sockets, threads
from durable_kernel.ports import CURRENT_LANE, Lane
from durable_kernel.runtime.turnstile import is_resting
from durable_kernel.testing.fake_port import FakePort, FakeWitness

Pair = tuple[socket.socket, socket.socket]
_QUIT = "import sys; sys.stdin.read()"


@pytest.fixture(autouse=True)
def _installed() -> None:
    threads.install(FakeWitness())


@pytest.fixture
def lane() -> Iterator[Lane]:
    """The lane of a cell in which the test's body runs; alone."""
    with FakePort().cell() as found:
        found.root_thread = threading.get_ident()
        yield found


@pytest.fixture
def told(lane: Lane) -> list[bool]:
    """Note, each time the lane says that it rests, whether it is marked."""
    found: list[bool] = []
    lane.on_rest = lambda: found.append(is_resting(lane))
    return found


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"hello")
        yield ours, theirs


def _select(ours: socket.socket, timeout: float | None) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        selector.select(timeout)


def _accept(_ours: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        server.accept()[0].close()
        client.close()


def _wait_for_process(_ours: socket.socket) -> None:
    with subprocess.Popen([sys.executable, "-c", _QUIT], stdin=subprocess.PIPE) as process:
        process.communicate(b"")


_BLOCKING: dict[str, Callable[[socket.socket], Any]] = {
    "recv": lambda ours: ours.recv(1),
    "a file of a socket": lambda ours: ours.makefile("rb", buffering=0).read(1),
    "select": lambda ours: select.select([ours], [], []),
    "a selector": lambda ours: _select(ours, None),
    "accept": _accept,
    "a process": _wait_for_process,
}


@pytest.mark.parametrize("name", _BLOCKING)
def test_who_waits_for_the_world_rests(lane: Lane, told: list[bool], pair: Pair, name: str) -> None:
    lane.port.spawn(lane, "t")

    _BLOCKING[name](pair[0])

    assert told
    assert all(told)
    assert not is_resting(lane)


def test_who_only_looks_does_not_rest(lane: Lane, told: list[bool], pair: Pair) -> None:
    lane.port.spawn(lane, "t")
    ours = pair[0]
    ours.setblocking(False)

    ours.recv(1)
    _select(ours, 0)
    select.select([ours], [], [], 0)

    assert told == []


@pytest.mark.parametrize("name", ["recv", "select", "a selector"])
@pytest.mark.usefixtures("lane")
def test_a_lane_without_company_is_not_marked(told: list[bool], pair: Pair, name: str) -> None:
    _BLOCKING[name](pair[0])

    assert told == []


def test_the_loop_of_trio_rests_while_it_waits(lane: Lane, told: list[bool]) -> None:
    class Waiting:
        def get_events(self, timeout: float) -> float:
            return timeout

    module = ModuleType("trio._core._io_epoll")
    module.__dict__["EpollIOManager"] = Waiting
    lane.port.spawn(lane, "t")

    thread_sockets._mark_trio(module)

    assert (Waiting().get_events(0), told) == (0, [])
    assert (Waiting().get_events(0.1), told) == (0.1, [True])


def test_an_error_passes_and_takes_the_mark_away(lane: Lane, told: list[bool], pair: Pair) -> None:
    lane.port.spawn(lane, "t")
    ours = pair[0]
    ours.settimeout(0.001)
    ours.recv(5)

    with pytest.raises(TimeoutError):
        ours.recv(1)

    assert told
    assert not is_resting(lane)


def test_without_a_lane_nothing_changes(pair: Pair) -> None:
    assert CURRENT_LANE.get() is None
    assert pair[0].recv(5) == b"hello"
    assert socket.socket.recv.__qualname__.endswith("socket.recv")
