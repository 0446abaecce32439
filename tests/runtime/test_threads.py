"""Threads and pools: each a lane of its own, let go on in the recorded order (DESIGN §7)."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from durable_kernel.effects.sleeping import _real_sleep
from durable_kernel.errors import UsageError
from tests.runtime.notebooks import Died, Notebook, Service, Session
from tests.runtime.thread_shapes import ACTING, SHAPES, WAITING

_ALL = SHAPES | WAITING
_CHANCE = random.SystemRandom()


@pytest.fixture
def service(notebook: Notebook) -> Service:
    """A service that answers after 0 to 3 ms, otherwise each time."""

    def answer(name: str) -> str:
        _real_sleep(_CHANCE.random() * 0.003)
        return f"{name}: done"

    notebook.service.during = answer
    return notebook.service


def _replays_equal(notebook: Notebook, source: str, times: int) -> None:
    live = notebook.lived(source)
    asked = list(notebook.service.requests)
    for _ in range(times):
        again = notebook.replayed()
        assert again.run.latch is None, str(again.run.latch)
        assert again.shown == live.shown
        assert again.run.take_notices() == []
    assert notebook.service.requests == asked


@pytest.mark.parametrize("name", _ALL)
@pytest.mark.usefixtures("service")
def test_what_threads_did_is_replayed_in_their_order(notebook: Notebook, name: str) -> None:
    _replays_equal(notebook, _ALL[name], 8)


@pytest.mark.parametrize("name", ["shared list", "as_completed", "queue"])
@pytest.mark.usefixtures("service")
def test_a_hundred_replays_are_equal(notebook: Notebook, name: str) -> None:
    _replays_equal(notebook, SHAPES[name], 100)


# Who is dead says so in each of its threads, and leaves open what it had open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ACTING)
def test_a_run_killed_at_any_request_goes_on_and_repeats_no_answered_one(
    notebook: Notebook, service: Service, name: str
) -> None:
    """H6a: who has a lock when it was cut takes it in the recorded order."""
    live = notebook.lived(ACTING[name])
    for cut in range(len(service.requests)):
        home = Notebook(notebook.home.parent / f"cut {cut}")
        home.service.during = service.during
        home.service.before = _dying_at(home, cut)
        home.died(ACTING[name])
        settled = _settled(home)

        home.service.before = lambda _name: None
        over = threading.Event()
        with home.session() as session:
            deciding = threading.Thread(target=_retry_what_parks, args=(session, over))
            deciding.start()
            session.recover()
            over.set()
            deciding.join()

        assert session.run.latch is None, (cut, str(session.run.latch))
        assert session.text() == live.text(), cut
        assert all(home.service.requests.count(each) == 1 for each in settled), (cut, settled)
        assert set(home.service.requests) == set(service.requests), cut


def _dying_at(notebook: Notebook, cut: int) -> Callable[[str], object]:
    """Die when so many requests have left before."""
    first, is_dead = threading.Lock(), threading.Event()

    def reach(_name: str) -> None:
        if len(notebook.service.requests) < cut:
            return
        if not first.acquire(blocking=False):
            is_dead.wait()
            raise Died
        assert notebook._session is not None
        try:
            notebook._session.die()
        finally:
            is_dead.set()

    return reach


def _settled(notebook: Notebook) -> list[str]:
    """Return the names of the requests whose answers are in the journal."""
    with notebook.session() as session:
        history = session.run._load(session.run.read_outline().positions[0])
    return [
        str(call.announced.identity["name"])
        for calls in history.calls.values()
        for call in calls
        if call.settled is not None
    ]


def _retry_what_parks(session: Session, over: threading.Event) -> None:
    """Say retry to every call in doubt, until the cell is done."""
    while not over.wait(0.001):
        for each in list(session.run.port.parked):
            with suppress(UsageError):  # it was decided a moment ago
                session.run.resolve(each.name, "retry", None)
