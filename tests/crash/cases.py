"""Cases of the campaign: which kills are made, by name. Pure: a case follows from seed and name.

A case "settle/post/3" is a notebook full of posts and a list of kills, one for each attempt; its
kill at the named point and effect is among them, behind those that must come first (a switch to
live needs something to recover from) and before some of pure mischief. `POINTS` says which moments
belong to a point, and which effects know it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from durable_kernel.journal import Level
from tests.crash.notebooks import EFFECTS, Notebook, make_notebook

__all__ = ["POINTS", "Case", "Kill", "all_pairs", "make_case"]

_CALLS = tuple(EFFECTS[: EFFECTS.index("entropy")])
_UNSYNCED = ("get", "stream", "queue", "outlive", "tasks")
_ANNOUNCED = tuple(each for each in _CALLS if each != "get")  # that is written when it has ended
_DOUBTFUL = ("post", "await", "raised", "step")
_HARD = (*_CALLS, "entropy")


@dataclass(frozen=True, slots=True)
class Point:
    """A row of the table: its moments, and the effects at which it exists."""

    moments: tuple[str, ...]
    effects: tuple[str, ...] = EFFECTS


POINTS = {
    "announce": Point(
        ("announce.before", "announce.torn", "announce.written", "announce.synced"), _ANNOUNCED
    ),
    "egress": Point(("served.sent", "served.acted"), _CALLS),
    "answer": Point(("served.half", "served.answered", "read"), _CALLS),
    "settle": Point(("settle.before", "settle.torn", "settle.written"), _CALLS),
    "output": Point(("output.before", "output.torn", "output.written", "shown")),
    "commit": Point(("commit.before", "commit.torn", "commit.written", "commit.synced")),
    "reply": Point(("reply.before", "reply.after")),
    "replay": Point(("replay",)),
    "switch": Point(("switch",), _HARD),
    "cell": Point(("cell.before", "cell.torn", "cell.written")),
    "observe": Point(
        ("observe.before", "observe.torn", "observe.written"), ("entropy", "clock", "sleep")
    ),
    "resolve": Point(
        ("resolve.before", "resolve.torn", "resolve.written", "resolve.synced"), _DOUBTFUL
    ),
    "withdraw": Point(
        ("withdraw.before", "withdraw.torn", "withdraw.written", "withdraw.synced"), ("raised",)
    ),
    "blob": Point(("blob.before", "blob.torn", "blob.written", "blob.named"), ("get", "stream")),
    "opening": Point(("opening",)),
    "any time": Point(("timer",)),
}


@dataclass(frozen=True, slots=True)
class Kill:
    """Die at the `nth` time that `moment` is reached at `effect` ("" is any effect).

    `point` is the row that it counts for. A timer's `nth` counts milliseconds. Of a write that is
    torn `torn_share` stays.
    """

    point: str
    moment: str
    effect: str
    nth: int = 1
    torn_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One run: its notebook, and one kill an attempt. `small_segments` rotate all the time."""

    name: str
    notebook: Notebook
    kills: tuple[Kill, ...]
    seed: str
    small_segments: bool
    level: Level


def all_pairs() -> list[tuple[str, str]]:
    """Return every (point, effect) that the table has."""
    return [(point, effect) for point, row in POINTS.items() for effect in row.effects]


def make_case(seed: int, name: str, origin: str) -> Case:
    """Make the case of this name. `origin` is where the witness serves, say "http://host:1"."""
    point, effect, number = name.rsplit("/", 2)
    case_seed = f"{seed}/{name}"
    draw = random.Random(case_seed)
    rid = name.replace("/", "-").replace(" ", "-")
    notebook = make_notebook(draw, rid, origin, effect, is_large=point == "blob")
    moments = POINTS[point].moments
    moment = moments[int(number) % len(moments)]
    if moment == "announce.synced" and effect in _UNSYNCED:
        moment = "announce.written"
    before = _before(draw, point, effect)
    nth = _nth(draw, point)
    if point == "opening" and not before:
        nth *= 3  # it makes the store as well
    kills = (
        *before,
        Kill(point, moment, effect, nth, draw.random()),
        *_mischief(draw, effect, notebook),
    )
    return Case(
        name,
        notebook,
        kills,
        case_seed,
        small_segments=draw.random() < 0.2,
        level=draw.choice([*Level, Level.DEFAULT, Level.DEFAULT, Level.DEFAULT]),
    )


def _nth(draw: random.Random, point: str) -> int:
    if point == "opening":
        return draw.randint(1, 14)
    if point == "any time":
        return draw.randint(1, 70)
    if point in ("resolve", "withdraw", "replay", "switch", "blob"):
        return 1
    return draw.choice([1, 1, 1, 1, 2, 2, 3])


def _before(draw: random.Random, point: str, effect: str) -> list[Kill]:
    """Return the kills without which this point is not reached."""
    if point in ("resolve", "withdraw"):
        return [Kill("egress", draw.choice(["served.sent", "served.acted"]), effect)]
    if point == "switch":
        if effect in _CALLS:
            return [Kill("settle", "settle.written", effect, draw.randint(1, 2))]
        return [Kill("output", "shown", effect, draw.randint(1, 3))]
    if point == "replay":
        # Without hard records a cell that is open is live from its first line.
        if effect in _HARD and draw.random() < 0.5:
            return [Kill("output", "shown", effect, draw.randint(2, 4))]
        return [Kill("reply", "reply.after", effect, draw.randint(1, 2))]
    if point == "opening" and draw.random() < 0.7:
        moments = [m for m in ("settle.torn", "announce.torn") if effect in _CALLS]
        moment = draw.choice([*moments, "output.torn", "commit.torn"])
        nth, torn_share = draw.randint(1, 2), draw.random()
        return [Kill(moment.partition(".")[0], moment, effect, nth, torn_share)]
    return []


def _mischief(draw: random.Random, effect: str, notebook: Notebook) -> Iterator[Kill]:
    """Yield up to three more kills, anywhere: mostly while or before the same cells run again."""
    there = sorted({each for cell in notebook.cells[2:] for each in cell.effects})
    for _ in range(draw.choice([0, 0, 1, 1, 2, 3])):
        other = draw.choice([effect, draw.choice(there)])
        point = draw.choice([name for name, row in POINTS.items() if other in row.effects])
        moment = draw.choice(POINTS[point].moments)
        yield Kill(point, moment, other, _nth(draw, point), draw.random())
