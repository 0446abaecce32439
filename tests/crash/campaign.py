"""The kill campaign: `python -m tests.crash.campaign --kills 2000 --real 100 --seed 1`.

Thousands of forked kernels without Jupyter are killed with SIGKILL at every named point of every
effect; after each death somebody looks at the witness, decides what is in doubt as a person would,
and the run goes on. Counted: requests repeated although they were complete, cells lost, shown
values changed, attempts hung. One of them, and the exit status is 1.

A finding names seed and case; `--seed N --only CASE` plays that one alone, and tells each attempt.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# One thread: a fork copies no other, and the pool of a library would be left half.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from durable_kernel.store import Store
from tests.crash.attempt import Nursery
from tests.crash.cases import POINTS, all_pairs, make_case
from tests.crash.notebooks import EFFECTS
from tests.crash.play import Result, Theatre
from tests.crash.witness import Witness

WHOLE = 2_000
KILLS_EACH = 10
"""A whole campaign kills at least so often at each point and effect."""

COUNTED = ("repeated", "lost", "changed", "hung")


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.kills: Counter[tuple[str, str]] = Counter()
        self.recovered: Counter[str] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()
        self.findings: list[str] = []
        self.cases = 0
        self.attempts = 0
        self.missed = 0

    def add(self, name: str, result: Result, seed: int) -> None:
        """Count a case. What was found counts for the point of the last kill before it."""
        self.cases += 1
        self.attempts += result.attempts
        self.missed += len(result.missed)
        points = [kill.point for kill in result.kills]
        for kill in result.kills:
            self.kills[kill.point, kill.effect] += 1
        self.recovered.update(points if not result.violations else points[:-1])
        for each in result.violations:
            self.found[points[-1] if points else name.partition("/")[0], each.kind] += 1
            self.findings.append(f"--seed {seed} --only '{name}'   {each.kind}: {each.what}")

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def schedule(seed: int, wanted: int, chosen: str, tally: Tally) -> Iterator[str]:
    """Yield names of cases until there were `wanted` kills; each round has every pair once.

    A whole campaign then goes on with the pairs that had fewer than KILLS_EACH. `chosen` limits the
    pairs: a regular expression that "point/effect" has to match somewhere.
    """
    each_min = KILLS_EACH if wanted >= WHOLE else 0
    pairs = [pair for pair in all_pairs() if re.search(chosen, "/".join(pair))]
    number = 0
    while tally.total < wanted or any(tally.kills[pair] < each_min for pair in pairs):
        random.Random(f"{seed}/{number}").shuffle(pairs)
        for pair in pairs:
            is_needed = tally.kills[pair] < each_min
            if tally.total < wanted or is_needed:
                yield f"{pair[0]}/{pair[1]}/{number}"
        number += 1


def print_table(console: Console, tally: Tally) -> None:
    table = Table(title=f"{tally.total:,} kills of forked kernels, by point and effect")
    table.add_column("point", no_wrap=True)
    for effect in EFFECTS:
        table.add_column(effect, justify="right")
    for name in ("kills", "recovered", *COUNTED):
        table.add_column(name, justify="right", style="bold")
    for point, row in POINTS.items():
        cells = [str(tally.kills[point, e]) if e in row.effects else "–" for e in EFFECTS]
        kills = sum(tally.kills[point, effect] for effect in EFFECTS)
        found = [str(tally.found[point, kind]) for kind in COUNTED]
        table.add_row(point, *cells, str(kills), str(tally.recovered[point]), *found)
    sums = [str(sum(tally.kills[point, effect] for point in POINTS)) for effect in EFFECTS]
    found = [str(sum(tally.found[point, kind] for point in POINTS)) for kind in COUNTED]
    recovered = str(sum(tally.recovered.values()))
    table.add_section()
    table.add_row("all", *sums, str(tally.total), recovered, *found)
    console.print(table)


def play_forked(console: Console, home: Path, options: argparse.Namespace) -> Tally:
    """Play until enough kills were made, or the one case that was asked for."""
    tally = Tally()
    nursery = Nursery(is_hooked=True)
    witness = Witness.start()
    try:
        theatre = Theatre(nursery, witness, Store(home))
        planned = schedule(options.seed, options.kills, options.match, tally)
        asked = [options.only] if options.only else planned
        for name in asked:
            case = make_case(options.seed, name, witness.origin)
            follow = console.print if options.only else _say_nothing
            if options.only:
                for index, cell in enumerate(case.notebook.cells[1:], 1):
                    console.print(f"--- cell {index}: {cell.effects}\n{cell.source}", markup=False)
            result = theatre.play(case, follow)
            tally.add(name, result, options.seed)
            for finding in tally.findings[-len(result.violations) :] if result.violations else []:
                console.print(finding, style="red", markup=False)
    finally:
        witness.stop()
    return tally


def _say_nothing(_line: str) -> None:
    return


def main() -> int:
    """Run the campaign; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=WHOLE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--match", metavar="REGEX", default="", help="only these point/effect")
    parser.add_argument("--only", metavar="CASE", default="", help="one case, and tell all of it")
    options = parser.parse_args()
    console = Console(width=max(190, Console().width), soft_wrap=True)
    home = Path(tempfile.mkdtemp(prefix="campaign-"))
    started = time.monotonic()
    tally = play_forked(console, home, options)
    print_table(console, tally)
    console.print(
        f"seed {options.seed}: {tally.cases:,} cases, {tally.attempts:,} attempts, "
        f"{tally.missed:,} planned kills whose moment never came, "
        f"{time.monotonic() - started:.0f} s"
    )
    if tally.findings:
        console.print(f"{len(tally.findings)} findings; their runs are kept in {home}", style="red")
        return 1
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
