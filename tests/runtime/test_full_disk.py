"""A disk that is full, or fails, before and after an act (H34, DESIGN §5)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from durable_kernel.errors import JournalFullError, RunSuspendedError
from durable_kernel.ports import CURRENT_LANE, Act, Call, Outcome, suspended
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk
from tests.runtime.notebooks import Notebook, Service

LARGE = "".join(hashlib.sha256(str(i).encode()).hexdigest() for i in range(3_200))
"""200 kB of text that takes half of that once it is compressed."""


class FullDisk(FaultyDisk):
    """Has room as it is told to: `room(0)` is none, `room(None)` is enough.

    None is spare: what was allocated ahead would still take some frames.
    """

    def __init__(self) -> None:
        super().__init__(has_spare_room=False)

    def room(self, size_bytes: int | None) -> None:
        self.room_bytes = size_bytes


def _fills(disk: FaultyDisk, answer: Any = "done", *, room_bytes: int = 0) -> Callable[[str], Any]:
    def during(_name: str) -> Any:
        disk.room_bytes = room_bytes
        return answer

    return during


def test_no_room_before_an_act_keeps_it_from_happening(
    notebook: Notebook, service: Service
) -> None:
    """H34: the cell fails with the journal's sentence; nothing left the process."""
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        session.execute("x = 1")

        session.execute("disk.room(0)\ntry: service.ask('a')\nexcept Exception as e: x = e")

    assert service.requests == []
    assert isinstance(session.namespace["x"], JournalFullError)


def test_a_cell_that_met_a_full_disk_goes_on_when_there_is_room(
    notebook: Notebook, service: Service
) -> None:
    """H34: the journal is usable; the call that could not be announced left no gap in it."""
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        session.execute(
            "import uuid\ndisk.room(0)\na = uuid.uuid4()\n"
            "try: service.ask('a')\nexcept Exception as e: disk.room(None)\n"
            "print(a, service.ask('a'), service.ask('b'), uuid.uuid4())"
        )

    assert session.run.latch is None
    again = notebook.replayed()
    assert service.requests == ["a", "b"]
    assert again.shown == session.shown
    assert again.run.state == "live"


def test_an_outcome_that_does_not_fit_reaches_its_caller(
    notebook: Notebook, service: Service
) -> None:
    """H34: the act is done. The value is delivered, and the user is told what is lost."""
    disk = notebook.names["disk"] = FullDisk()
    service.during = _fills(disk)
    with notebook.session(disk=disk) as session:
        session.execute("x = service.ask('a')")
        notices = session.run.take_notices()

    assert session.namespace["x"] == "done"
    assert any("could not be recorded" in each for each in notices)


@pytest.mark.parametrize("room_bytes", [0, 70_000], ids=["no room", "too little for its blob"])
def test_replay_stops_at_an_outcome_that_was_lost(
    notebook: Notebook, service: Service, room_bytes: int
) -> None:
    """H34: with a sentence, and without asking again."""
    disk = notebook.names["disk"] = FullDisk()
    service.during = _fills(disk, LARGE, room_bytes=room_bytes)
    with notebook.session(disk=disk) as session:
        session.execute("x = len(service.ask('a')); disk.room(None); service.during = str", "y = 2")
    assert session.namespace["x"] == len(LARGE)
    assert session.run.latch is None

    again = notebook.replayed()

    assert service.requests == ["a"]
    assert isinstance(again.run.latch, RunSuspendedError)
    assert "ask a happened, but the disk was full" in str(again.run.latch)
    assert "x" not in again.namespace


def test_no_act_is_announced_until_the_reserve_is_back(
    notebook: Notebook, service: Service
) -> None:
    """H34: without the ballast the next outcome would be neither kept nor called lost."""
    disk = notebook.names["disk"] = FullDisk()
    service.during = _fills(disk)
    with notebook.session(disk=disk) as session:
        session.execute(
            "service.ask('a'); disk.room(5_000)\n"
            "try: service.ask('b')\nexcept Exception as e: x = e\n"
            "disk.room(None); service.during = str; service.ask('c')"
        )

    assert "reserve" in str(session.namespace["x"])
    assert service.requests == ["a", "c"]


def test_two_outcomes_lost_at_once_are_both_delivered(notebook: Notebook, service: Service) -> None:
    """H34: the ballast holds one last word; the other waits in memory for room."""
    disk = notebook.names["disk"] = FullDisk()

    def nested(name: str) -> str:
        disk.room_bytes = 0
        return name

    service.during = nested
    notebook.names["two"] = _two
    with notebook.session(disk=disk) as session:
        session.execute("x = two(service); disk.room(None)", "y = 1")

    again = notebook.replayed()
    assert session.namespace["x"] == ("first", "second")
    assert "ask first happened" in str(again.run.latch)


def _two(service: Service) -> tuple[str, str]:
    """Begin two acts, then settle both on a full disk."""
    lane = CURRENT_LANE.get()
    assert lane is not None
    steps = [
        lane.port.begin(lane, Call("fake", f"ask {name}", {"name": name}, act=Act.REMOTE))
        for name in ("first", "second")
    ]
    with suspended():
        service.during("both")
    for step in steps:
        step.settle(Outcome.of_value(LARGE))
    return "first", "second"


def test_a_stream_that_lost_a_part_is_read_on_and_called_lost(
    notebook: Notebook, service: Service
) -> None:
    """H34: never a stream with a hole. What is recorded of it is a prefix, its outcome is lost."""
    notebook.names["read"] = _read
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        session.execute(
            "size = read([b'a' * 700_000] * 2, disk.room) + read([b'b'], disk.room)", "y = 1"
        )

    assert session.namespace["size"] == 1_400_001
    assert session.run.latch is None
    again = notebook.replayed()
    assert "ask stream happened" in str(again.run.latch)


def _read(pieces: list[bytes], room: Callable[[int | None], None]) -> int:
    """Read a stream while the disk is full, as an effect does. Returns the size."""
    lane = CURRENT_LANE.get()
    assert lane is not None
    step = lane.port.begin(lane, Call("fake", "ask stream", {"name": len(pieces)}, act=Act.REMOTE))
    room(0)
    for piece in pieces:
        step.add_part(piece)
    room(None)
    step.settle(Outcome.of_value(None))
    return sum(map(len, pieces))


def test_an_unstorable_result_on_a_full_disk_is_lost_and_not_in_doubt(
    notebook: Notebook, service: Service
) -> None:
    disk = notebook.names["disk"] = FullDisk()
    service.during = _fills(disk, threading.Lock())
    with notebook.session(disk=disk) as session:
        session.execute("x = service.ask('a'); disk.room(None)")

    again = notebook.replayed()

    assert "ask a happened" in str(again.run.latch)
    assert service.requests == ["a"]


def test_a_commit_that_does_not_fit_stops_the_run_inside_the_cell(
    notebook: Notebook, service: Service
) -> None:
    """Rule 4: no reply before the commit. With room again the cell is finished, without asking."""
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        committed = session.execute("x = service.ask('a'); disk.room(0)")
        stopped_by = str(session.run.latch)

    with notebook.session() as again:
        done = again.recover()

    assert not committed
    assert "restart the kernel" in stopped_by
    assert done == 1
    assert service.requests == ["a"]


def test_an_output_that_does_not_fit_is_not_shown(notebook: Notebook) -> None:
    """Rule 3: what is not on disk is not published."""
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        session.execute("print('before'); disk.room(0); print('after')")

    assert session.text() == "before\n"
    assert session.run.state == "stopped"


def test_a_failed_sync_refuses_all_further_acts(notebook: Notebook, service: Service) -> None:
    """DESIGN §5: EIO from a sync is never tried again; the journal is poisoned."""
    disk = FaultyDisk(fault=Fault.IO_ERROR, only=frozenset({"sync"}))
    with notebook.session(disk=disk) as session:
        session.namespace["fail"] = lambda: setattr(disk, "fail_at", len(disk.operations) + 1)
        session.execute(
            "x = service.ask('a'); fail()\n"
            "for name in 'bc':\n"
            "    try: service.ask(name)\n"
            "    except Exception as e: print(type(e).__name__)"
        )

    assert service.requests == ["a"]
    assert session.run.state == "stopped"
    assert not session.run.outline.positions


def test_a_run_whose_disk_failed_goes_on_after_a_restart(
    notebook: Notebook, service: Service
) -> None:
    """The announcement of the refused act may be on disk or not: it was never made."""
    disk = FaultyDisk(fault=Fault.IO_ERROR, only=frozenset({"sync"}))
    with notebook.session(disk=disk) as session:
        session.namespace["fail"] = lambda: setattr(disk, "fail_at", len(disk.operations) + 1)
        session.execute("x = service.ask('a')\nfail()\ny = service.ask('b')")
    assert service.requests == ["a"]

    with notebook.session() as again:
        again.namespace["fail"] = str
        again.when_parked(lambda: again.run.resolve(None, "retry", None))
        again.recover()

    assert service.requests == ["a", "b"]
    assert again.namespace["y"] == "b: done"


def test_a_full_disk_does_not_keep_a_kernel_from_stopping(notebook: Notebook) -> None:
    disk = notebook.names["disk"] = FullDisk()
    with notebook.session(disk=disk) as session:
        session.execute("x = 1")
        disk.room(0)

        session.run.shutdown(restart=False)

        assert session.run.is_shutting_down()
        assert any("no room" in each for each in session.run.take_notices())


def test_a_stop_behind_a_lost_outcome_promises_no_more_than_a_restart_can_keep(
    notebook: Notebook, service: Service
) -> None:
    """H34: a cell goes on from where it stopped, but never past an answer that is not recorded."""
    disk = notebook.names["disk"] = FullDisk()
    service.during = _fills(disk, LARGE)

    with notebook.session(disk=disk) as session:
        session.execute("y = service.ask('b'); print(y)")
        told = session.run.take_notices()

    assert "goes on from here" not in str(session.run.latch)
    assert "the answer of ask b found no room either" in str(session.run.latch)
    assert any("no later process can" in each for each in told)


def test_a_stop_with_nothing_lost_says_that_the_cell_goes_on(notebook: Notebook) -> None:
    """H34."""
    disk = notebook.names["disk"] = FullDisk()

    with notebook.session(disk=disk) as session:
        session.execute("disk.room(0); print('not shown')")

    assert "the cell goes on from here" in str(session.run.latch)
