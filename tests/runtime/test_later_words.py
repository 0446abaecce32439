"""A lane that outlives its cell sees an event change in the position where it saw that (H8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from durable_kernel.effects.sleeping import _real_sleep
from tests.runtime.notebooks import Notebook

_SETTLE_S_MAX = 20.0
_monotonic = time.monotonic

WATCHES = """\
import random, threading
is_over, seen = threading.Event(), []
def watch():
    pause()
    while not is_over.is_set():
        {turn}
    seen.append(service.ask("over"))
watcher = threading.Thread(target=watch)
watcher.start()
settle()"""
ENDS = "is_over.set(); let_go(); watcher.join()\nprint(len(seen))"


def settling(notebook: Notebook) -> Callable[[], None]:
    """Make a function that lets the other lanes get as far as they can in this cell."""

    def settle() -> None:
        session = notebook._session
        assert session is not None
        until = _monotonic() + _SETTLE_S_MAX
        while not session.run.port.is_at_rest(session.run.port.main) and _monotonic() < until:
            _real_sleep(0.001)

    return settle


@pytest.mark.parametrize("turn", ["seen.append(random.random())", "pass"], ids=["draws", "spins"])
def test_a_look_is_not_answered_before_the_position_that_changed_it(
    notebook: Notebook, turn: str
) -> None:
    """The watcher stood still while the cells changed, and did nothing before it looked."""
    has_begun, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        has_begun.set()
        go_on.wait()

    notebook.names.update(pause=pause, let_go=go_on.set, settle=has_begun.wait)
    live = notebook.lived(WATCHES.format(turn=turn), "x = 1", ENDS)
    notebook.names["settle"] = settling(notebook)

    for _ in range(2):
        again = notebook.replayed()

        assert again.run.latch is None, str(again.run.latch)
        assert again.text() == live.text() == "1\n"
    assert notebook.service.requests == ["over"]


def test_looks_before_the_change_are_answered_at_once(notebook: Notebook) -> None:
    """The cell waits for what the watcher does meanwhile; it does so as often as it did."""
    live = notebook.lived(
        "import threading\nis_over, seen = threading.Event(), []\n"
        "def watch():\n    while not is_over.is_set(): seen.append(1)\n"
        "watcher = threading.Thread(target=watch)\nwatcher.start()\n"
        "while len(seen) < 5: pass",
        "is_over.set(); watcher.join(); print(len(seen))",
    )

    for _ in range(3):
        again = notebook.replayed()

        assert again.run.latch is None, str(again.run.latch)
        assert again.text() == live.text()
