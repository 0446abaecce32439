"""Who waits for other lanes is woken by them: looking by itself is only the last resort."""

from __future__ import annotations

import random

import pytest

from durable_kernel.effects.sleeping import _real_sleep
from durable_kernel.runtime import turnstile
from tests.runtime.notebooks import Notebook
from tests.runtime.thread_shapes import SHAPES

_CHANCE = random.SystemRandom()
# Not those with a pool: that its workers are gone is told by nobody.
_TOLD = ("queue", "locks", "condition", "barrier", "simple queue")

_OTHER_LOOP = """
import threading
found = []
def drive(coroutine):
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value
async def work(n):
    for k in range(3):
        found.append(await service.ask_async(f"t{n}{k}"))
threads = [threading.Thread(target=drive, args=(work(n),)) for n in range(3)]
[t.start() for t in threads]; drive(work(3)); [t.join() for t in threads]
print(found)
"""


@pytest.fixture(autouse=True)
def _at_any_time(notebook: Notebook) -> None:
    def answer(name: str) -> str:
        _real_sleep(_CHANCE.random() * 0.003)
        return f"{name}: done"

    notebook.service.during = answer


@pytest.fixture
def _nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute between two looks: a lane that is not woken is seen."""
    for each in ("_POLL_S_MIN", "_POLL_S_MAX", "_READY_POLL_S_MAX"):
        monkeypatch.setattr(turnstile, each, 60.0)


@pytest.mark.parametrize("name", _TOLD)
@pytest.mark.usefixtures("_nobody_looks")
def test_nobody_has_to_look_by_himself(notebook: Notebook, name: str) -> None:
    live = notebook.lived(SHAPES[name])
    again = notebook.replayed()

    assert again.shown == live.shown


@pytest.mark.usefixtures("_nobody_looks")
def test_who_waits_in_a_later_cell_is_woken_there(notebook: Notebook) -> None:
    live = notebook.lived(
        "import threading\nfound, go_on = [], threading.Event()\n"
        "def work(): go_on.wait(); found.append(service.ask('late'))\n"
        "t = threading.Thread(target=work); t.start()",
        "print(service.ask('main')); go_on.set(); t.join(); print(found)",
    )
    again = notebook.replayed()

    assert live.text().count("late: done") == 1
    assert again.shown == live.shown


def test_lanes_in_a_loop_that_is_not_asyncios_keep_their_order(notebook: Notebook) -> None:
    live = notebook.lived(_OTHER_LOOP)
    asked = list(notebook.service.requests)
    for _ in range(5):
        again = notebook.replayed()

        assert again.run.latch is None, str(again.run.latch)
        assert again.shown == live.shown
    assert notebook.service.requests == asked
