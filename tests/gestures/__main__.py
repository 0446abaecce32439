"""`python -m tests.gestures`: gestures of a person against what the state must be.

    --seeds 200 --gestures 30 --seed 1      so many notebooks, so many gestures each
    --jobs 4                                so many of them at once, each in a process of its own
    --play "1/7" --only "run all, restart"  play one notebook again, with these gestures alone
    --real 5                                so many of them with kernels that are not forked

On a difference it prints the seed, the gestures, the shortest list that still shows it, and the
command that plays that alone. At the end: how often each gesture was made, and what it met.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.gestures.gesturing import GESTURES
from tests.gestures.stage import Hand, Played, Stage, plan


class Campaign:
    """Notebooks that several hands play. Tells each one when it is played, and the sum."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._left = self._seeds()
        self._began = time.monotonic()
        self._loads: list[float] = []
        self._is_over = False
        self.made: Counter[str] = Counter()
        self.played = self.found = 0

    def _seeds(self) -> Iterator[tuple[str, bool]]:
        given = self._given
        last = given.first + given.seeds
        for number in range(given.first, last):
            yield f"{given.seed}/{number}", number >= last - given.real

    def play(self) -> None:
        """Play all of them."""
        jobs = self._given.jobs
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for each in [pool.submit(self._lend_a_hand) for _ in range(jobs)]:
                    each.result()
            except KeyboardInterrupt:
                self._is_over = True
                raise

    def _lend_a_hand(self) -> None:
        hand = Hand.start()
        try:
            while (due := self._next()) is not None:
                try:
                    self._play_one(hand, *due)
                except ValueError:  # no answer: it broke with an error of its own
                    if self._is_over:
                        return
                    self._tell(due[0], Played("the player itself broke; see above"))
                    hand.stop()
                    hand = Hand.start()
        finally:
            hand.stop()

    def _play_one(self, hand: Hand, seed: str, is_real: bool) -> None:
        given = self._given
        played = hand.play(seed, plan(seed, given.gestures), is_real=is_real)
        self._tell(seed, played)
        if played.finding:
            short = played.short
            if not given.no_shrink:
                short = hand.shrink(seed, short, is_real=is_real)
            real, only = " --real 1" if is_real else "", ", ".join(short)
            print(f'  python -m tests.gestures{real} --play "{seed}" --only "{only}"', flush=True)

    def _next(self) -> tuple[str, bool] | None:
        with self._lock:
            return None if self._is_over else next(self._left, None)

    def _tell(self, seed: str, played: Played) -> None:
        with self._lock:
            self.played += 1
            self.found += bool(played.finding)
            self.made.update(played.made)
            self._loads.append(os.getloadavg()[0])
            print(f"{seed}: {played.finding[:6000] or 'as promised'}", flush=True)

    def tell_sum(self) -> None:
        took, loads = time.monotonic() - self._began, self._loads or [0.0]
        print(
            f"{self.made.total()} gestures in {self.played} notebooks, {took:.0f} s, "
            f"{self.found} differences (load {sum(loads) / len(loads):.1f}, at most "
            f"{max(loads):.1f})"
        )
        for name in GESTURES:
            print(f"  {self.made[name]:6}  {name}")


def _play_again(given: argparse.Namespace) -> int:
    """Play one notebook, and tell each gesture."""
    stage = Stage(is_real=bool(given.real))
    stage.follow = print
    only = [each.strip() for each in given.only.split(",") if each.strip()]
    try:
        played = stage.play(given.play, only or plan(given.play, given.gestures))
    finally:
        stage.close()
    print(played.finding or "as promised")
    return bool(played.finding)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gestures")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--gestures", type=int, default=30)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--play", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--no-shrink", action="store_true")
    given = parser.parse_args()
    if given.play:
        return _play_again(given)
    campaign = Campaign(given)
    try:
        campaign.play()
    finally:  # also where somebody had enough of it
        campaign.tell_sum()
    return bool(campaign.found)


if __name__ == "__main__":
    sys.exit(main())
