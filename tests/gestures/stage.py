"""The stage: plays notebooks one after the other, and looks for the shortest way to a finding.

Also the process that does so for others: `Hand` is that process as a campaign sees it. It is sent
lines of JSON, and answers what was found and what was done.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.crash.witness import Child, Witness
from tests.gestures.front import FrontEndError
from tests.gestures.gesturing import GESTURES
from tests.gestures.model import DifferenceError
from tests.gestures.nursery import Nursery
from tests.gestures.player import Player

__all__ = ["Hand", "Played", "Stage", "plan"]

WEIGHTS = {"run next": 5, "run again": 2, "edit and run": 2, "run all": 2, "restart and run all": 2}
SHRINK_S = 240.0


@dataclass
class Played:
    """What became of a notebook. `short`: fewer gestures that show the same finding."""

    finding: str = ""
    short: list[str] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)


class Stage:
    """What all notebooks share, and the folder that each has for itself."""

    def __init__(self, *, is_real: bool = False) -> None:
        self.nursery = None if is_real else Nursery.start()
        self.witness = Witness.start()
        self.home = Path(tempfile.mkdtemp(prefix="gestures-"))
        self.played = 0
        self.follow: Callable[[str], None] = lambda _line: None

    def play(self, seed: str, gestures: list[str], *, is_real: bool = False) -> Played:
        """Play gestures; those that make no sense now are passed over."""
        self.played += 1
        folder = self.home / f"{self.played}"
        player, step, made = None, -1, Counter[str]()
        nursery = None if is_real else self.nursery
        finding = ""
        try:
            player = Player(seed, folder, nursery, self.witness)
            player.follow = self.follow
            for step, gesture in enumerate(gestures):  # noqa: B007 - told below
                name, _, number = gesture.partition("#")
                made[name] += player.play(name, GESTURES[name], int(number))
        except (DifferenceError, FrontEndError) as found:
            where = f"gesture {step + 1} ({gestures[step]})" if step >= 0 else "the start"
            finding = f"{where}: {type(found).__name__}: {found}"
        finally:
            if player is not None:
                player.close()
            shutil.rmtree(folder, ignore_errors=True)
        return Played(finding, gestures[: step + 1], dict(made))

    def shrink(self, seed: str, gestures: list[str], *, is_real: bool = False) -> list[str]:
        """Leave out gestures one by one as long as something is found."""
        until = time.monotonic() + SHRINK_S
        size = max(1, len(gestures) // 2)
        while size and time.monotonic() < until:
            start = 0
            while start < len(gestures) and time.monotonic() < until:
                fewer = gestures[:start] + gestures[start + size :]
                if fewer and self.play(seed, fewer, is_real=is_real).finding:
                    gestures = fewer
                else:
                    start += size
            size //= 2
        return gestures

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


@dataclass
class Hand(Child):
    """A process with a stage of its own, as the campaign sees it."""

    @classmethod
    def start(cls) -> Hand:
        """Start one; its first answer comes when its stage stands."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gestures.stage"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return cls(process)

    def play(self, seed: str, gestures: list[str], *, is_real: bool) -> Played:
        """Play one notebook. Raises ValueError if the process broke; its words are on stderr."""
        return Played(**self._ask(do="play", seed=seed, gestures=gestures, is_real=is_real))

    def shrink(self, seed: str, gestures: list[str], *, is_real: bool) -> list[str]:
        """Look for fewer gestures that find something, too."""
        return list(self._ask(do="shrink", seed=seed, gestures=gestures, is_real=is_real))


def main() -> None:
    """Do what is asked for until stdin ends."""
    stage = Stage()
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            does_shrink = asked.pop("do") == "shrink"
            answer = stage.shrink(**asked) if does_shrink else asdict(stage.play(**asked))
            print(json.dumps(answer), flush=True)
    finally:
        stage.close()


if __name__ == "__main__":
    main()
