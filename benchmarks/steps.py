"""Row 5: a step with a synced announcement, against a DBOS step on SQLite, live and on replay.

Three engines run in three processes and take turns of a few steps each, beside as many bare appends
and syncs of 200 bytes on the same disk. Then all three are killed, started again, and take the same
turns from what they recorded.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks.aside import Aside
from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.machine import SyncProbe

__all__ = ["compare", "measure", "why_no_dbos"]

_LIVE_STEPS = 20
_REPLAYED_STEPS = 120
"""Steps in a turn. Recovery replays thousands at a stretch; a live step waits for its sync."""
_DBOS = {"DBOS": "delete", "DBOS, WAL": "wal"}
_BARE_SYNCS_MAX = 1.10
_TIMES_CHEAPER_MIN = 10
"""Budgets of a live step (ADR 0012): ten times cheaper where the disk leaves room for that."""


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Measure live, kill, measure again. Without DBOS installed only our own side is shown."""
    rounds = effort.pick(120, 36, 6)
    live, syncs = _take_turns(folder, rounds, _LIVE_STEPS, are_live=True)
    again = rounds * _LIVE_STEPS // _REPLAYED_STEPS
    replay, _ = _take_turns(folder, again, _REPLAYED_STEPS, are_live=False)
    return compare(live, replay, syncs)


def _take_turns(folder: Path, rounds: int, steps: int, *, are_live: bool) -> tuple[Rounds, float]:
    """Let all sides take their turns; return the rounds, and our syncs per step."""
    found = Rounds("µs")
    syncs = 0
    with ExitStack() as stack:
        probe = stack.enter_context(SyncProbe(folder))
        sides = {"durable": stack.enter_context(_start(folder, "durable"))}
        if not why_no_dbos():
            for name, mode in _DBOS.items():
                sides[name] = stack.enter_context(_start(folder, "dbos", mode))
        for _ in range(rounds):
            sample = {"bare sync": probe.mean_seconds(steps) * 1e6} if are_live else {}
            for name, side in sides.items():
                answer = side.turn(steps)
                assert answer["bodies"] == (steps if are_live else 0), f"{name}: {answer}"
                sample[name] = answer["seconds"] / steps * 1e6
                syncs += answer["syncs"]
            found.add(**sample)
    return found, syncs / rounds / steps


def why_no_dbos() -> str:
    """Say why DBOS can't be measured here; empty if it can.

    Python 3.12 and newer with SQLite before 3.42: its schema gets a default that this SQLite reads
    as NULL, and it does not start (DBOS 3.4).
    """
    if find_spec("dbos") is None:
        return "not installed"
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        return f"does not start on Python 3.12 and newer with SQLite {sqlite3.sqlite_version}"
    return ""


def _start(folder: Path, *arguments: str) -> Aside:
    own = folder / "-".join(arguments)
    own.mkdir(exist_ok=True)
    engine, *rest = arguments
    return Aside("benchmarks.steps_sides", engine, str(own), *rest, log=own / "log")


def compare(live: Rounds, replay: Rounds, syncs: float) -> list[Figure]:
    """Make the figures of the row. `syncs`: our syncs per live step."""
    names = [name for name in _DBOS if name in live.sides]
    has_room = all(_ceiling(live, name) >= _TIMES_CHEAPER_MIN * _BARE_SYNCS_MAX for name in names)
    bare = live.figure(
        "5",
        "step, live: durable / bare sync",
        lambda m: m["durable"] / m["bare sync"],
        budget=None if names and has_room else Budget(_BARE_SYNCS_MAX),
        sides=("bare sync", "durable"),
        note=f"{syncs:g} sync per step",
    )
    beyond = live.figure(
        "5",
        "step, live: beyond the bare sync",
        lambda m: m["durable"] - m["bare sync"],
        unit="µs",
        sides=("bare sync", "durable"),
    )
    figures = [bare, beyond]
    for name in names:
        figures += [_live_against(live, name), _replayed_against(replay, name)]
    return figures


def _ceiling(live: Rounds, name: str) -> float:
    """How many times cheaper a step would be that costs one bare sync and nothing else."""
    return live.median(name) / live.median("bare sync")


def _live_against(live: Rounds, name: str) -> Figure:
    ceiling = _ceiling(live, name)
    has_room = ceiling >= _TIMES_CHEAPER_MIN * _BARE_SYNCS_MAX
    return live.figure(
        "5",
        f"step, live: {name} / durable",
        lambda m: m[name] / m["durable"],
        budget=Budget(_TIMES_CHEAPER_MIN, is_upper=False) if has_room else None,
        sides=(name, "durable"),
        note=f"a step of one bare sync would have {ceiling:.1f} ×",
    )


def _replayed_against(replay: Rounds, name: str) -> Figure:
    return replay.figure(
        "5",
        f"step, replay: {name} / durable",
        lambda m: m[name] / m["durable"],
        budget=Budget(100, is_upper=False),
        sides=(name, "durable"),
    )
