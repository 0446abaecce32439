"""Reuse where several lines of control make calls: each lane follows its own donor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from durable_kernel.errors import UsageError
from tests.runtime.notebooks import Notebook, Service, Session

LANES = 3

POOL = """
import uuid
from concurrent.futures import ThreadPoolExecutor
batch = uuid.uuid4().hex
found = []
def work(n):
    found.append(service.{ask}(f"a{{n}} {{batch}}"))
    found.append(service.{ask}(f"b{{n}} {{batch}}"))
with ThreadPoolExecutor({lanes}) as pool:
    list(pool.map(work, range({items})))
"""


def names(items: int, start: int = 0) -> list[str]:
    return sorted(f"{each}{n}" for n in range(start, items) for each in "ab")


def asked(service: Service) -> list[str]:
    return sorted(each.partition(" ")[0] for each in service.requests)


SOURCES = {
    "looks in threads": POOL.replace("{ask}", "look").replace("{lanes}", str(LANES)),
    "acts in threads": POOL.replace("{ask}", "ask").replace("{lanes}", str(LANES)),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_lanes_reuse_their_own_calls(notebook: Notebook, service: Service, source: str) -> None:
    cell = source.format(items=4)
    assert notebook.matched("x = 1", cell + "1 / 0").status == "error"
    assert asked(service) == names(4)

    done = notebook.matched("x = 1", cell + "print(sorted(found))")

    assert done.status == "ok", done.run.latch
    assert asked(service) == names(4)
    for _ in range(3):
        again = notebook.replayed()
        assert again.run.latch is None
        assert again.run.take_notices() == []
    assert asked(service) == names(4)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_new_lanes_go_live_beside_those_that_reuse(
    notebook: Notebook, service: Service, source: str
) -> None:
    notebook.matched("x = 1", source.format(items=3) + "1 / 0")

    done = notebook.matched("x = 1", source.format(items=5) + "print(sorted(found))")

    assert done.status == "ok", done.run.latch
    assert asked(service) == names(5)
    again = notebook.replayed()
    assert again.run.latch is None
    assert asked(service) == names(5)


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_death_in_a_lane_of_the_second_attempt_repeats_nothing(
    notebook: Notebook, service: Service, source: str, at: int
) -> None:
    cell = source.format(items=6) + "print(len(found))"
    notebook.matched("x = 1", source.format(items=3) + "1 / 0")
    before = len(service.requests)
    count = [0]

    def die_once(name: str) -> str:
        count[0] += 1
        if count[0] == at + 1 and notebook._session is not None:
            notebook._session.die()
        return f"{name}: done"

    service.before = die_once
    with notebook.session(may_die=True) as session:
        session.match("x = 1", cell)
    assert session.image is not None
    assert len(service.requests) >= before
    service.before = lambda name: f"{name}: done"

    with notebook.session() as session, _somebody_who_retries(session):
        status = session.match("x = 1", cell)

    assert status == "ok", session.run.latch
    assert set(asked(service)) == set(names(6))
    assert len(service.requests) <= len(names(6)) + LANES, "only what was in the air is repeated"
    assert notebook.replayed().run.latch is None


@contextmanager
def _somebody_who_retries(session: Session) -> Iterator[None]:
    """Decide about each act in doubt, as they come."""
    is_over = threading.Event()

    def decide() -> None:
        while not is_over.wait(0.002):
            for parked in list(session.run.port.parked):
                with suppress(UsageError):  # it was decided a moment ago
                    session.run.resolve(parked.name, "retry", None)

    thread = threading.Thread(target=decide, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
