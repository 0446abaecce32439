"""A replayed step goes the short way: the same answers and the same divergence, asked or not."""

from __future__ import annotations

from typing import Any

import pytest

from durable_kernel.runtime.port import RunPort
from tests.runtime.notebooks import Notebook, Session

STEP = "@durable.step\ndef f(x): done.append(x); return x\n"
CELLS = {
    "values of all kinds": STEP
    + "y = [f(x) for x in (1, .5, 'a', b'b', None, True, [1], {'k': 1})]",
    "a value in a blob": STEP + "y = [f('x' * 200_000), f(1)]",
    "an object": STEP + "import fractions\ny = [f(fractions.Fraction(1, 3)), f(1)]",
    "an error in between": (
        "@durable.step\ndef f(x):\n    done.append(x)\n    return 1 // x\n"
        "y = [f(1)]\ntry: f(0)\nexcept ZeroDivisionError as error: y.append(str(error))\n"
        "y.append(f(1))"
    ),
    "draws in a body": (
        "import random\n@durable.step\ndef f(x): done.append(x); return random.random()\n"
        "y = [f(0), random.random(), f(1), random.random()]"
    ),
    "another effect in between": STEP + "y = [f(1), service.ask('a'), f(2)]",
    "threads afterwards": STEP
    + (
        "import threading\ny = [f(0)]\ndef go(n): y.append(f(n))\n"
        "for n in (1, 2):\n    t = threading.Thread(target=go, args=(n,)); t.start(); t.join()\n"
        "y.append(f(3))"
    ),
    "asynchronous": (
        "@durable.step\nasync def f(x): done.append(x); return x\ny = [await f(x) for x in (1, 2)]"
    ),
    "tasks afterwards": (
        "import asyncio\n@durable.step\nasync def f(x): done.append(x); return x\n"
        "y = [await f(1), *await asyncio.gather(f(2), f(3)), await f(4)]"
    ),
    "a secret in the name": (
        "durable.register_secret('hunter2-hunter2')\n"
        "y = [durable.step(name=n)(lambda: n)() for n in ('hunter2-hunter2', 'b')]"
    ),
    "a secret as value": STEP
    + "durable.register_secret('hunter2-hunter2')\ny = f('hunter2-hunter2')",
}
EDITS = {
    "another name": (["f", "g", "h"], ["f", "x", "h"]),
    "another order": (["f", "g", "h"], ["g", "f", "h"]),
    "one less": (["f", "g"], ["f"]),
    "one more": (["f", "g"], ["f", "g", "h"]),
    "a name that is no plain text": (["1"], [type("Text", (str,), {})("1")]),
}


def replayed(notebook: Notebook, monkeypatch: pytest.MonkeyPatch, *, is_short: bool) -> Session:
    with monkeypatch.context() as patch:
        if not is_short:
            patch.setattr(RunPort, "recall", lambda *_: None)
        return notebook.replayed()


@pytest.mark.parametrize("source", CELLS.values(), ids=CELLS.keys())
def test_the_short_way_gives_what_the_long_one_gives(
    notebook: Notebook, done: list[Any], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    lived = notebook.lived(source)
    bodies = len(done)

    short = replayed(notebook, monkeypatch, is_short=True)
    long = replayed(notebook, monkeypatch, is_short=False)

    assert short.namespace["y"] == long.namespace["y"] == lived.namespace["y"]
    assert short.run.latch is None
    assert long.run.latch is None
    assert len(done) == bodies


@pytest.mark.parametrize("names", EDITS.values(), ids=EDITS.keys())
def test_both_ways_tell_the_same_divergence(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, names: tuple[list[str], list[str]]
) -> None:
    notebook.names["names"], edited = names
    notebook.lived("for n in names: durable.step(name=n)(lambda: done.append(n))()")
    notebook.names["names"] = edited

    latches = [
        replayed(notebook, monkeypatch, is_short=is_short).run.latch for is_short in (True, False)
    ]

    assert latches[0] is not None
    assert str(latches[0]) == str(latches[1])


def test_a_step_of_a_cell_with_one_lane_goes_the_short_way(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook.lived(STEP + "y = [f(n) for n in range(50)]")
    asked: list[Any] = []
    monkeypatch.setattr(RunPort, "begin", lambda *of: asked.append(of))

    session = notebook.replayed()

    assert session.namespace["y"] == list(range(50))
    assert asked == []


def test_a_name_is_looked_at_again_when_another_secret_is_known(notebook: Notebook) -> None:
    """H18: what holds a secret is compared as it is recorded, redacted."""
    source = (
        "f = durable.step(name='abcd-efgh')(lambda: 1)\ndurable.register_secret('ijkl-mnop')\n"
        "y = [f(), f()]\ndurable.register_secret('abcd-efgh')\ny.append(f())"
    )

    notebook.lived(source)
    session = notebook.replayed()

    assert session.namespace["y"] == [1, 1, 1]
    assert session.run.latch is None
    assert notebook.journal_bytes().count(b"abcd-efgh") == 2 * 2 + source.count("abcd-efgh")
