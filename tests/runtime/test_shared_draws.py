"""H9: lanes that draw from one generator at the same time draw the same again."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

from durable_kernel.errors import DivergenceError
from durable_kernel.ports import SharedGenerator
from durable_kernel.testing.fake_port import FakePort
from tests.runtime.notebooks import Notebook

# Each thread computes for longer than the others wait for it.
AT_ONCE = """\
import random, threading
import numpy as np
found = {{}}
def work(n):
    found[n] = sum({draw} * (n + 1) for _ in range({times}))
def run_all():
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [each.start() for each in threads]
    [each.join() for each in threads]
"""
SHOW = "run_all()\nprint(sorted(found.items()), random.random(), np.random.rand())"
DRAWS = {
    "random.random": ("random.random()", 120_000),
    "random.gauss": ("random.gauss(0, 1)", 60_000),
    "random.randrange": ("random.randrange(10)", 60_000),
    "random.choice": ("random.choice([1, 2, 3])", 60_000),
    "numpy.random.rand": ("np.random.rand()", 60_000),
    "numpy.random.normal": ("np.random.normal(0, 1, 3).sum()", 30_000),
    "numpy.random.seed": ("(np.random.seed(n), np.random.rand())[1]", 3_000),
}


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def _at_once(draw: str) -> str:
    expression, times = DRAWS[draw]
    return AT_ONCE.format(draw=expression, times=times)


@pytest.mark.parametrize("draw", DRAWS)
def test_threads_that_draw_at_the_same_time_draw_the_same_again(
    notebook: Notebook, draw: str
) -> None:
    first = notebook.lived(_at_once(draw), SHOW)

    again = notebook.replayed()

    assert again.text() == first.text()
    assert again.run.latch is None


def test_draws_that_were_cut_by_a_death_come_again(notebook: Notebook) -> None:
    """What the dead one recorded is drawn again in its order; the rest goes on from there."""
    source = """\
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[each.start() for each in threads]
print(service.ask("now"), random.random())
die()
[each.join() for each in threads]
print(sorted(found.items()), random.random())"""
    died = notebook.died(_at_once("random.random"), source)

    with notebook.session() as session:
        session.recover()
    again = notebook.replayed()

    assert died.text().startswith("now: done 0.")
    assert session.text().startswith(died.text())
    assert again.text() == session.text()
    assert notebook.service.requests == ["now"]


def test_a_thread_that_outlives_its_cell_draws_the_same_again(notebook: Notebook) -> None:
    """H8, H9: it draws while other cells run, and between them."""
    cells = (
        """\
import random, threading
drawn, is_over = [], threading.Event()
def watch():
    while not is_over.is_set():
        drawn.append(sum(random.random() for _ in range(50)))
watcher = threading.Thread(target=watch)
watcher.start()
print(random.random())""",
        "print(random.random(), service.ask('a'))",
        "print(sum(random.random() for _ in range(100_000)), service.ask('b'))",
        "is_over.set(); watcher.join()",
        "print(len(drawn), sum(drawn), random.random())",
    )
    first = notebook.lived(*cells)

    again = notebook.replayed()

    assert again.text() == first.text()
    assert again.run.latch is None
    assert notebook.service.requests == ["a", "b"]


class _Held:
    """A guard that somebody has for a while. `at_last` happens before it is given back."""

    def __init__(self, tries: int, at_last: Callable[[], None]) -> None:
        self.tries = tries
        self.at_last = at_last

    def acquire(self, timeout: float) -> bool:
        self.tries -= 1
        if self.tries == 0:
            self.at_last()
        return self.tries == 0

    def release(self) -> None:
        assert self.tries == 0


def test_a_draw_is_counted_though_all_stood_still_in_the_middle_of_it() -> None:
    """H9: a process that was stopped finds each time-out over, and has waited for nothing."""
    generator = SharedGenerator("random")

    def finish() -> None:
        generator.left -= 1

    generator.lend(FakePort().make_lane(), 10)
    setattr(generator, "guard", _Held(50, finish))  # noqa: B010 - a lock of its own kind

    assert generator.take_back() == 1


def test_a_draw_that_fails_counts(notebook: Notebook) -> None:
    source = """\
import random, threading
found = {}
def work(n):
    for _ in range(4000):
        try:
            found[n] = found.get(n, 0) + random.sample(range(n), 2)[0]
        except ValueError:
            found[n] = found.get(n, 0) + random.random()
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
print(sorted(found.items()))"""
    first = notebook.lived(source)

    again = notebook.replayed()

    assert again.text() == first.text()


def test_users_code_inside_a_draw_never_waits(notebook: Notebook) -> None:
    """A list of the user's own takes a lock while it is shuffled."""
    source = """\
import random, threading
class Deck(list):
    def __setitem__(self, place, card):
        guard.acquire(); guard.release()
        super().__setitem__(place, card)
guard = threading.Lock()
deck = Deck(range(30))
threads = [threading.Thread(target=random.shuffle, args=(deck,)) for _ in range(3)]
[each.start() for each in threads]
[each.join() for each in threads]
print(deck)"""
    first = notebook.lived(source)

    again = notebook.replayed()

    assert again.text() == first.text()


def test_the_functions_are_the_real_ones_where_a_lane_is_alone(notebook: Notebook) -> None:
    """A draw costs nothing more in an ordinary cell, also behind one with threads."""
    real = random.random, random.shuffle, np.random.rand, np.random.seed
    threads = _at_once("numpy.random.seed")

    with notebook.session() as session:
        session.execute(threads, "run_all()\nhooked = random.random, np.random.rand", "1")
        hooked = session.namespace["hooked"]

    assert (random.random, random.shuffle, np.random.rand, np.random.seed) == real
    assert all(each not in real for each in hooked)


def test_what_a_project_took_by_name_asks_as_well(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ModuleType("simulations")
    project.__file__ = "simulations.py"
    project.random = random.random  # type: ignore[attr-defined]
    project.rand = np.random.rand  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "simulations", project)
    real = project.random, project.rand
    source = _at_once("random.random").replace("random.random()", "simulations.random()")

    first = notebook.lived("import simulations", source, SHOW)
    again = notebook.replayed()

    assert again.text() == first.text()
    assert (project.random, project.rand) == real


def test_one_thread_that_draws_once_more_is_a_divergence(notebook: Notebook) -> None:
    """The cell's own line of control asks for a draw that nobody recorded."""
    source = """\
import random, threading
session.draws = getattr(session, "draws", 2)
thread = threading.Thread(target=random.random)
thread.start(); thread.join()
print([random.random() for _ in range(session.draws)])"""
    notebook.lived(source)

    with notebook.session() as session:
        session.namespace["session"].draws = 3
        session.recover()

    assert isinstance(session.run.latch, DivergenceError)
    assert "draw random" in str(session.run.latch)


def test_the_order_takes_no_room_where_few_draw_in_turns(notebook: Notebook) -> None:
    """Neighbouring draws of one lane share a word, whatever their number."""
    sys.setswitchinterval(0.005)
    notebook.lived(_at_once("random.random"), "run_all()")

    assert len(notebook.journal_bytes().rstrip(b"\0")) < 20_000
