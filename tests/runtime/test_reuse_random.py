"""Cells that fail, are edited, die and run again, at random: no act twice, every replay equal."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from durable_kernel.errors import ActNotRepeatedError
from tests.runtime.notebooks import Notebook, Service, Session

LINES = (
    "out.append(service.look('look {n}'))",
    "out.append(service.ask('act {n}'))",
    "out.append(service.look('drawn {n} ' + os.urandom(2).hex()))",
    "print(len(out))",
    "out.append(time.monotonic())",
)


def made(draw: random.Random) -> list[str]:
    return [draw.choice(LINES).format(n=n) for n in range(draw.randint(3, 10))]


def edited(draw: random.Random, lines: list[str]) -> list[str]:
    """Return the lines with one more, one less, or as they are."""
    at = draw.randrange(len(lines))
    ways = [
        [*lines[:at], f"out.append(service.look('new {draw.random()}'))", *lines[at:]],
        [*lines[:at], f"out.append(service.ask('new act {draw.random()}'))", *lines[at:]],
        [*lines[:at], *lines[at + 1 :], "pass"],
        lines,
        lines,
    ]
    return draw.choice(ways)


def cell(draw: random.Random, lines: list[str]) -> str:
    """Write the lines as a cell that raises somewhere, or not, and may die before that."""
    lines = list(lines)
    lines.insert(draw.randint(0, 2 * len(lines)), "raise ValueError")
    if draw.random() < 0.5:
        lines.insert(draw.randint(0, len(lines)), "die()")
    return "\n".join(["import os, time", "out = []", *lines])


def ended(notebook: Notebook, source: str) -> Session:
    """Send the cell until a session lives to its end. Dying is no poison here."""
    for may_die in (True, True, False):
        with notebook.session(may_die=may_die, poison_s=0.0) as session:
            session.status = session.match("x = 1", source)
        if session.image is None:
            break
    return session


@pytest.mark.parametrize("seed", range(60))
def test_acts_are_done_once_and_every_attempt_replays(
    notebook: Notebook, service: Service, seed: int
) -> None:
    draw = random.Random(seed)
    first = made(draw)
    session = ended(notebook, cell(draw, first))
    for _ in range(draw.randint(1, 4)):
        if session.status == "ok":
            break
        session = ended(notebook, cell(draw, edited(draw, first)))

    acts = Counter(each for each in service.requests if "act" in each)
    assert [name for name, times in acts.items() if times > 1] == []
    if session.status == "stopped":
        assert isinstance(session.run.latch, ActNotRepeatedError)
        return
    asked = list(service.requests)
    again = notebook.replayed()
    assert again.run.latch is None
    assert again.run.take_notices() == []
    assert service.requests == asked
