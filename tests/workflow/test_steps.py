"""Steps: any function becomes an effect; its result is served after a crash (DESIGN §11)."""

from __future__ import annotations

from typing import Any

import pytest

from durable_kernel.errors import DivergenceError, StepFailedError
from durable_kernel.replay import InDoubtPolicy
from tests.runtime.notebooks import Notebook, interrupt_main

FORMS = {
    "call": "def f(a, *, b): done.append('f'); return [a, b]\nx = durable.step(f, 1, b=2)",
    "decorator": ("@durable.step\ndef f(a, *, b): done.append('f'); return [a, b]\nx = f(1, b=2)"),
    "decorator with options": (
        "@durable.step(name='f', idempotent=True)\n"
        "def f(a, *, b): done.append('f'); return [a, b]\nx = f(1, b=2)"
    ),
    "function without arguments": "def f(): done.append('f'); return [1, 2]\nx = durable.step(f)()",
    "async call": (
        "async def f(a, *, b): done.append('f'); return [a, b]\nx = await durable.step(f, 1, b=2)"
    ),
    "async decorator": (
        "@durable.step\nasync def f(a, *, b): done.append('f'); return [a, b]\nx = await f(1, b=2)"
    ),
    "async decorator with options": (
        "@durable.step(idempotent=True)\n"
        "async def f(a, *, b): done.append('f'); return [a, b]\nx = await f(1, b=2)"
    ),
    "async object": (
        "class F:\n    async def __call__(self, a, b): done.append('f'); return [a, b]\n"
        "x = await durable.step(F(), 1, 2)"
    ),
    "partial": (
        "import functools\ndef f(a, b): done.append('f'); return [a, b]\n"
        "x = durable.step(functools.partial(f, 1), 2)"
    ),
    "method": (
        "class C:\n    @durable.step\n    def f(self, a, b): done.append('f'); return [a, b]\n"
        "x = C().f(1, 2)"
    ),
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS.keys())
def test_each_form_of_a_step_runs_once_and_is_served(
    notebook: Notebook, done: list[str], source: str
) -> None:
    live = notebook.lived(source)

    again = notebook.replayed()

    assert again.namespace["x"] == live.namespace["x"] == [1, 2]
    assert done == ["f"]
    assert again.run.latch is None


def test_a_step_keeps_the_name_and_words_of_its_function(notebook: Notebook) -> None:
    session = notebook.lived("@durable.step\ndef fetch():\n    'Get it.'")

    assert session.namespace["fetch"].__name__ == "fetch"
    assert session.namespace["fetch"].__doc__ == "Get it."


def test_an_unknown_option_is_refused(notebook: Notebook) -> None:
    with pytest.raises(TypeError, match="no option idempotnet; it takes name and idempotent"):
        notebook.names["durable"].step(idempotnet=True)


def test_a_step_that_died_is_in_doubt(notebook: Notebook, done: list[str]) -> None:
    """A step is an act: nobody knows how far it came."""
    notebook.died("x = durable.step(lambda: (done.append('f'), die()))()")

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == [3]
    assert done == ["f"]
    assert session.run.read_outline().status == "in doubt"


def test_an_idempotent_step_that_died_runs_again(notebook: Notebook, done: list[str]) -> None:
    notebook.died(
        "@durable.step(idempotent=True)\ndef f(): done.append('f'); die(); return 7\nx = f()"
    )

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert session.namespace["x"] == 7
    assert done == ["f", "f"]


def test_a_step_that_is_resolved_as_failed_raises(notebook: Notebook, done: list[str]) -> None:
    notebook.died(
        "@durable.step\ndef charge(): done.append('f'); die()\n"
        "try: charge()\nexcept Exception as e: x = e"
    )
    notebook.decide("0.0", "fail")

    session = notebook.replayed()

    assert isinstance(session.namespace["x"], StepFailedError)
    assert "step charge was interrupted by a crash" in str(session.namespace["x"])
    assert done == ["f"]


def test_an_answer_stands_for_a_steps_result(notebook: Notebook) -> None:
    notebook.died("x = durable.step(lambda: die())()")
    notebook.decide("0.0", "answer", b'{"rows": 3}')

    assert notebook.replayed().namespace["x"] == {"rows": 3}


ERRORS = {
    "builtin": "raise KeyError('k')",
    "with errno": "raise PermissionError(13, 'no', 'file')",
    "of a cell": "raise Mine(1, 2)",
    "of a library": "import json; json.loads('{')",
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
def test_an_exception_of_a_step_is_raised_again_with_its_type(
    notebook: Notebook, done: list[str], body: str
) -> None:
    """An exception is an outcome: handlers and retry loops take the same way."""
    live = notebook.lived(
        "class Mine(Exception): pass",
        "import sys; sys.modules['__main__'].Mine = Mine",  # where a kernel's cells live
        f"def f():\n    done.append('f')\n    {body}\n"
        "try: durable.step(f)()\n"
        "except (Mine, ValueError, LookupError, OSError) as e: print(type(e).__name__, str(e))",
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    assert done == ["f"]


def test_a_retry_loop_around_a_step_replays_each_attempt(
    notebook: Notebook, done: list[str]
) -> None:
    live = notebook.lived(
        "def f():\n    done.append('f')\n    if len(done) < 3: raise OSError('flaky')\n"
        "    return 7\n"
        "for n in range(5):\n    try: x = durable.step(f)(); break\n    except OSError: pass\n"
        "print(n, x)"
    )

    again = notebook.replayed()

    assert again.text() == live.text() == "2 7\n"
    assert done == ["f", "f", "f"]


RESULTS = {
    "nothing": "None",
    "plain": "{'a': (1, 2.5), b'b': [True, {3}]}",
    "array": "__import__('numpy').arange(6).reshape(2, 3)",
    "frame": "__import__('pandas').DataFrame({'a': [1, 2], 'b': ['x', 'y']})",
    "object of a cell": "Mine(7)",
    "function of a cell": "helper",
    "large": "'x' * 100_000",
}


@pytest.mark.parametrize("expression", RESULTS.values(), ids=RESULTS.keys())
def test_a_result_of_any_class_comes_back(notebook: Notebook, expression: str) -> None:
    """H19: what only pickle carries is an object, loaded because every frame verified."""
    source = f"x = durable.step(lambda: {expression})(); print(repr(x)[:50], type(x))"
    live = notebook.lived(
        "import dataclasses\n@dataclasses.dataclass\nclass Mine: n: int\ndef helper(): return 7",
        source,
    )

    again = notebook.replayed()

    def text(session: Any) -> str:
        shown: str = session.text(1)
        return shown if "<function" not in shown else "function"

    assert text(again) == text(live)
    assert again.run.latch is None


def test_an_unstorable_result_is_an_outcome_and_not_in_doubt(
    notebook: Notebook, done: list[str]
) -> None:
    """The body ran; its cell learns why the result can't be kept, now and on replay."""
    live = notebook.lived(
        "import threading\ndef f(): done.append('f'); return threading.Lock()\n"
        "try: durable.step(f)()\nexcept Exception as e: print(type(e).__name__, e)"
    )

    again = notebook.replayed()

    assert live.text().startswith("OutcomeNotStorableError f returned a lock")
    assert again.shown == live.shown
    assert done == ["f"]
    assert again.run.read_outline().status == "idle"


def test_a_generator_is_no_result_of_a_step(notebook: Notebook) -> None:
    """Its body has not even begun when it is returned."""
    session = notebook.lived(
        "def f():\n    yield 1\n"
        "try: durable.step(f)()\nexcept Exception as e: print(type(e).__name__)"
    )

    assert session.text() == "OutcomeNotStorableError\n"


@pytest.mark.parametrize("library", ["random", "numpy"])
def test_the_generator_goes_on_behind_the_draws_of_a_steps_body(
    notebook: Notebook, library: str
) -> None:
    """H9: replay does not run the body; the next draw must not be the body's."""
    draw = {"random": "random.random()", "numpy": "np.random.rand()"}[library]
    live = notebook.lived(
        "import random, numpy as np",
        f"x = durable.step(lambda: {draw})()\nprint(x, {draw})",
        f"print({draw})",
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    assert again.run.take_notices() == []


def test_the_generator_goes_on_behind_a_body_that_raised(notebook: Notebook) -> None:
    """H9: an exception is an outcome with a state as well."""
    live = notebook.lived(
        "import random\ndef f(): random.random(); raise ValueError\n"
        "try: durable.step(f)()\nexcept ValueError: print(random.random())"
    )

    assert notebook.replayed().shown == live.shown


def test_what_a_body_observes_is_the_steps_and_not_the_cells(notebook: Notebook) -> None:
    """Clocks, entropy and calls inside a body are part of its result."""
    live = notebook.lived(
        "import time, uuid\n"
        "def f(): return [time.time(), str(uuid.uuid4())]\n"
        "print(durable.step(f)(), uuid.uuid4(), time.time())"
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    (position,) = again.run.read_outline().positions
    assert position.calls == 1
    assert not position.is_tainted


def test_a_step_inside_a_step_is_part_of_the_outer_one(notebook: Notebook, done: list[str]) -> None:
    notebook.lived(
        "@durable.step\ndef inner(): done.append('inner'); return 1\n"
        "@durable.step\ndef outer(): return inner() + inner()\nx = outer()"
    )

    again = notebook.replayed()

    assert again.namespace["x"] == 2
    assert done == ["inner", "inner"]
    assert again.run.read_outline().positions[0].calls == 1


def test_a_recorded_step_does_not_answer_for_another_one(
    notebook: Notebook, done: list[str]
) -> None:
    """The name is the identity: an edited notebook must not get `fetch` served as `charge`."""
    notebook.names["name"] = "fetch"
    notebook.lived("x = durable.step(name=name)(lambda: done.append('f'))()")
    notebook.names["name"] = "charge"

    session = notebook.replayed()

    assert isinstance(session.run.latch, DivergenceError)
    assert "recorded 'fetch', asked 'charge'" in str(session.run.latch)
    assert done == ["f"]


def test_an_interrupted_step_replays_as_interrupted(notebook: Notebook, done: list[str]) -> None:
    """H16: the signal landed inside a waiting effect, so that is where it is raised again."""
    notebook.names["interrupt"] = interrupt_main
    live = notebook.lived(
        "def f(): done.append('f'); interrupt(); return 'too late'\n"
        "try: durable.step(f)()\nexcept KeyboardInterrupt: print('stopped')"
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    assert done == ["f"]


def test_a_step_that_timed_out_times_out_again(notebook: Notebook, done: list[str]) -> None:
    """H17: the cancellation is `asyncio.timeout`'s own, so that TimeoutError comes of it."""
    live = notebook.lived(
        "import asyncio\n"
        "async def slow(): done.append('f'); await asyncio.sleep(30)\n"
        "try:\n    async with asyncio.timeout(0.01): await durable.step(slow)()\n"
        "except TimeoutError: print('timed out')\n"
        "print(await durable.step(asyncio.sleep)(0, 7))"
    )

    again = notebook.replayed()

    assert live.text() == "timed out\n7\n"
    assert again.shown == live.shown
    assert done == ["f"]


def test_steps_of_later_cells_may_call_functions_of_earlier_ones(
    notebook: Notebook, done: list[str]
) -> None:
    notebook.lived("@durable.step\ndef f(n): done.append(str(n)); return n * n", "x = [f(1), f(2)]")
    with notebook.session() as session:
        session.recover()
        session.execute("y = f(3)")

    assert notebook.replayed().namespace["y"] == 9
    assert done == ["1", "2", "3"]
