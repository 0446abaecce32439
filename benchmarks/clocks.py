"""Row 2: what a clock read costs a cell, live and replayed, and that a draw costs nothing.

Compared with the least that can be correct: a hook that asks whether a cell runs, who called, and
appends (live) or takes the next recorded value (replay). It is measured twice: in this process, and
in one without the detector's audit hook, which Python calls at each look at a caller's frame.

Real clocks are taken before any hook. Each side is called from a loop of its own code object, so
that the interpreter specialises each call by itself; the empty loop is subtracted.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from itertools import repeat
from pathlib import Path
from types import FunctionType
from typing import Any

from benchmarks.aside import Aside, Turns
from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.session import Session

__all__ = ["measure"]

_clock = time.perf_counter
_real_time = time.time
_real_draw = random.random
_DRAWS = ("random", "randint", "gauss", "choice", "shuffle", "sample", "uniform", "getrandbits")
_real_draws = {name: getattr(random, name) for name in _DRAWS}

_LANE: ContextVar[object | None] = ContextVar("minimal_lane", default=None)

Read = Callable[[], Any]


class _Verdicts(dict[Any, bool]):
    """True for machinery. Keyed by module name, the cheapest key: a code object hashes slower."""

    def __missing__(self, name: Any) -> bool:
        self[name] = verdict = isinstance(name, str) and name.startswith("asyncio")
        return verdict


def _minimal_live(column: list[float]) -> Read:
    get, caller, verdicts, append = _LANE.get, sys._getframe, _Verdicts(), column.append  # noqa: SLF001 - as the hook

    def read() -> float:
        if get() is None or verdicts[caller(1).f_globals.get("__name__")]:
            return _real_time()
        value = _real_time()
        append(value)
        return value

    return read


def _minimal_replay(column: deque[float]) -> Read:
    get, caller, verdicts, take = _LANE.get, sys._getframe, _Verdicts(), column.popleft  # noqa: SLF001 - as the hook

    def read() -> float:
        if get() is None or verdicts[caller(1).f_globals.get("__name__")]:
            return _real_time()
        return take()

    return read


def _loop(read: Read, count: int) -> float:
    began = _clock()
    for _ in repeat(None, count):
        read()
    return _clock() - began


def _empty_loop(count: int) -> float:
    began = _clock()
    for _ in repeat(None, count):
        pass
    return _clock() - began


class _Contest:
    """What one cell does: call each side in turn, round after round."""

    def __init__(self, rounds: int, calls: int, aside: Aside) -> None:
        self.rounds = rounds
        self.aside = aside
        self.calls = calls
        self.sides: dict[str, Read] = {}
        self.before_round: Callable[[], object] = _nothing
        self.flush: Callable[[], None] | None = None
        self.found = Rounds("ns")

    def __call__(self) -> None:
        """Run all rounds. Called by the cell."""
        loops = {
            name: FunctionType(_loop.__code__.replace(), _loop.__globals__) for name in self.sides
        }
        for _ in range(self.rounds):
            self.before_round()
            empty = _empty_loop(self.calls)
            spent = {
                name: loops[name](read, self.calls) - empty for name, read in self.sides.items()
            }
            if self.flush is not None:
                began = _clock()
                self.flush()
                spent["flush"] = _clock() - began
            spent |= self.aside.turn(self.calls)
            self.found.add(**{name: each / self.calls * 1e9 for name, each in spent.items()})


def _nothing() -> None:
    return


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Run one cell live, then the same cell from its journal."""
    rounds, calls = effort.pick(200, 60, 3), effort.pick(2000, 2000, 50)
    session = Session(folder)
    _LANE.set(object())
    with Aside("benchmarks.clocks", log=folder / "aside.log") as aside:
        live = _Contest(rounds, calls, aside)
        _run_live(session, live)
        replay = _Contest(rounds, calls, aside)
        _run_again(session, replay)
    return _figures(live.found, replay.found)


def _run_live(session: Session, contest: _Contest) -> None:
    column: list[float] = []
    contest.before_round = column.clear
    contest.sides = {
        "bare": _real_time,
        "minimal": _minimal_live(column),
        "durable": time.time,
        "draw before": _real_draw,
        "draw": random.random,
    }
    driver = session.open("clocks")
    contest.flush = driver.run.port.flush
    driver.namespace["contest"] = contest
    driver.execute("contest()")
    driver.run.close()


def _run_again(session: Session, contest: _Contest) -> None:
    recorded: deque[float] = deque()
    contest.before_round = lambda: recorded.extend(repeat(1.5, contest.calls))
    contest.sides = {
        "bare": _real_time,
        "minimal": _minimal_replay(recorded),
        "durable": time.time,
    }
    driver = session.open("clocks")
    driver.namespace["contest"] = contest
    driver.recover()
    driver.run.close()


def take_turns() -> None:
    """Measure the minimal hooks in a process without any other hook."""
    _LANE.set(object())
    column: list[float] = []
    recorded: deque[float] = deque()
    sides = {"live": _minimal_live(column), "replay": _minimal_replay(recorded)}
    loops = {name: FunctionType(_loop.__code__.replace(), _loop.__globals__) for name in sides}
    turns = Turns()
    for calls in turns:
        column.clear()
        recorded.extend(repeat(1.5, calls))
        empty = _empty_loop(calls)
        spent = {name: loops[name](read, calls) - empty for name, read in sides.items()}
        turns.answer(**{f"minimal {name}, alone": each for name, each in spent.items()})


def _figures(live: Rounds, replay: Rounds) -> list[Figure]:
    replaced = sum(getattr(random, name) is not _real_draws[name] for name in _DRAWS)
    return [
        _against(live, "live", "minimal", "minimal correct hook beside the detector"),
        _against(live, "live", "minimal live, alone", "the same hook where no detector is"),
        _against(replay, "replay", "minimal", "minimal correct hook beside the detector"),
        _against(replay, "replay", "minimal replay, alone", "the same hook where no detector is"),
        live.figure(
            "2",
            "what a live clock read costs later: encoding and write",
            lambda m: m["flush"],
            unit="ns",
            sides=("durable", "flush"),
        ),
        live.figure(
            "2",
            f"functions that draw and were replaced (of {len(_DRAWS)})",
            lambda _: float(replaced),
            unit="",
            budget=Budget(0),
            sides=("draw before", "draw"),
            note="the same builtin: a draw costs what it cost",
        ),
    ]


def _against(found: Rounds, how: str, side: str, what: str) -> Figure:
    def ratio(medians: Mapping[str, float]) -> float:
        return medians["durable"] / medians[side]

    sides = ("bare", side, "durable")
    return found.figure("2", f"clock read, {how} / {what}", ratio, budget=Budget(2.0), sides=sides)


if __name__ == "__main__":
    take_turns()
