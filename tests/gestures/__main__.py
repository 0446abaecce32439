"""`python -m tests.gestures`: gestures of a person against what the state must be.

    --seeds 200 --gestures 30 --seed 1      so many notebooks, so many gestures each
    --play "1/7" --only "run all, restart"  play one notebook again, with these gestures alone
    --real 5                                so many of them with kernels that are not forked

On a difference it prints the seed, the gestures, the shortest list that still shows it, and the
command that plays that alone. At the end: how often each gesture was made, and what it met.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.crash.witness import Witness
from tests.gestures.front import FrontEndError
from tests.gestures.gesturing import GESTURES
from tests.gestures.model import DifferenceError
from tests.gestures.nursery import Nursery
from tests.gestures.player import Player

WEIGHTS = {"run next": 5, "run again": 2, "edit and run": 2, "run all": 2, "restart and run all": 2}
SHRINK_S = 240.0


class Stage:
    """What all notebooks share, and the folder that each has for itself."""

    def __init__(self, *, is_real: bool) -> None:
        self.nursery = None if is_real else Nursery.start()
        self.witness = Witness.start()
        self.home = Path(tempfile.mkdtemp(prefix="gestures-"))
        self.made: Counter[str] = Counter()
        self.played = 0
        self.follow: Callable[[str], None] = lambda _line: None

    def play(self, seed: str, gestures: list[str], *, counts: bool = True) -> str:
        """Play gestures; returns what was found. Those that make no sense now are passed over."""
        self.played += 1
        folder = self.home / f"{self.played}"
        player, step = None, -1
        try:
            player = Player(seed, folder, self.nursery, self.witness)
            player.follow = self.follow
            for step, gesture in enumerate(gestures):  # noqa: B007 - told below
                name, _, number = gesture.partition("#")
                if player.play(name, GESTURES[name], int(number)) and counts:
                    self.made[name] += 1
        except (DifferenceError, FrontEndError) as found:
            where = f"gesture {step + 1} ({gestures[step]})" if step >= 0 else "the start"
            return f"{where}: {type(found).__name__}: {found}"
        finally:
            if player is not None:
                player.close()
            shutil.rmtree(folder, ignore_errors=True)
        return ""

    def shrink(self, seed: str, gestures: list[str]) -> list[str]:
        """Leave out gestures one by one as long as something is found."""
        until = time.monotonic() + SHRINK_S
        size = max(1, len(gestures) // 2)
        while size and time.monotonic() < until:
            start = 0
            while start < len(gestures) and time.monotonic() < until:
                fewer = gestures[:start] + gestures[start + size :]
                if fewer and self.play(seed, fewer, counts=False):
                    gestures = fewer
                else:
                    start += size
            size //= 2
        return gestures

    def become_real(self) -> None:
        """From now on kernels are processes of their own."""
        if self.nursery is not None:
            self.nursery.stop()
        self.nursery = None

    def close(self) -> None:
        self.witness.stop()
        if self.nursery is not None:
            self.nursery.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def plan(seed: str, count: int) -> list[str]:
    """Draw the gestures of a notebook."""
    draw = random.Random(f"{seed}/gestures")
    weights = [WEIGHTS.get(name, 1) for name in GESTURES]
    names = draw.choices(list(GESTURES), weights, k=count)
    return [f"{name}#{index}" for index, name in enumerate(names)]


def _as_promised(stage: Stage, seed: str, given: argparse.Namespace) -> bool:
    """Play one notebook; tell what was found, and the shortest way there."""
    gestures = plan(seed, given.gestures)
    difference = stage.play(seed, gestures)
    print(f"{seed}: {difference[:1500] or 'as promised'}", flush=True)
    if difference:
        cut = int(difference.split()[1]) if difference.startswith("gesture") else 0
        short = gestures[:cut]
        if not given.no_shrink:
            short = stage.shrink(seed, short)
        real = " --real 1" if stage.nursery is None else ""
        print(f'  python -m tests.gestures{real} --play "{seed}" --only "{", ".join(short)}"')
    return not difference


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gestures")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--gestures", type=int, default=30)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--play", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--no-shrink", action="store_true")
    given = parser.parse_args()
    stage = Stage(is_real=bool(given.play and given.real))
    found, began = 0, time.monotonic()
    try:
        if given.play:
            stage.follow = print
            only = [each.strip() for each in given.only.split(",") if each.strip()]
            difference = stage.play(given.play, only or plan(given.play, given.gestures))
            found += bool(difference)
            print(difference or "as promised")
            return found
        for number in range(given.first, given.first + given.seeds):
            if number == given.first + given.seeds - given.real:
                stage.become_real()
            found += not _as_promised(stage, f"{given.seed}/{number}", given)
    finally:  # also where somebody had enough of it
        stage.close()
        took = time.monotonic() - began
        print(f"{sum(stage.made.values())} gestures in {took:.0f} s, {found} differences")
        for name in GESTURES:
            print(f"  {stage.made[name]:6}  {name}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
