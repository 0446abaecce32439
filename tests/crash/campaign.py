"""The kill campaign: `python -m tests.crash.campaign --kills 2000 --real 100 --seed 1`.

Thousands of forked kernels without Jupyter, and then some real ones, are killed with SIGKILL at
every named point of every effect; after each death somebody looks at the witness, decides what is
in doubt as a person would, and the run goes on. Counted: requests repeated although they were
complete, cells lost, shown values changed, attempts hung. One of them, and the exit status is 1.

A finding names seed and case; `--seed N --only CASE` plays that one alone, and tells each attempt.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `python tests/crash/campaign.py`

# One thread: a fork copies no other, and the pool of a library would be left half.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from tests.crash.attempt import Nursery
from tests.crash.cases import POINTS, all_pairs, make_case
from tests.crash.notebooks import EFFECTS, Notebook
from tests.crash.play import Result, Theatre
from tests.crash.real import REAL_POINTS, make_real_case, play_real
from tests.crash.witness import Witness

WHOLE = 2_000
FORKED_PER_REAL = 20
WIDTH_MIN = 190
REAL = "real/"
KILLS_EACH = 10
"""A whole campaign kills at least so often at each point and effect."""

COUNTED = ("repeated", "lost", "changed", "hung")


class Tally:
    """What was counted, by point and effect. `effects` says which ones each point has."""

    def __init__(self, title: str, effects: dict[str, tuple[str, ...]]) -> None:
        self.title = title
        self.effects = effects
        self.kills: Counter[tuple[str, str]] = Counter()
        self.recovered: Counter[str] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()
        self.findings: list[str] = []
        self.cases = 0
        self.attempts = 0
        self.missed = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def add(self, name: str, result: Result, seed: int) -> list[str]:
        """Count a case; return what was found. That counts for the point of the last kill."""
        self.cases += 1
        self.attempts += result.attempts
        self.missed += len(result.missed)
        points = [kill.point for kill in result.kills]
        for kill in result.kills:
            self.kills[kill.point, kill.effect] += 1
        self.recovered.update(points if not result.violations else points[:-1])
        for each in result.violations:
            self.found[points[-1] if points else next(iter(self.effects)), each.kind] += 1
        new = [f"--seed {seed} --only '{name}'   {v.kind}: {v.what}" for v in result.violations]
        self.findings += new
        return new

    def table(self) -> Table:
        """The table: kills by point and effect, and what was found behind each point."""
        table = Table(title=f"{self.title}: {self.total:,} kills")
        table.add_column("point", no_wrap=True)
        for effect in EFFECTS:
            table.add_column(effect, justify="right")
        for name in ("kills", "recovered", *COUNTED):
            table.add_column(name, justify="right", style="bold")
        for point, effects in self.effects.items():
            cells = [str(self.kills[point, e]) if e in effects else "–" for e in EFFECTS]
            table.add_row(point, *cells, *self._sums([point]))
        table.add_section()
        columns = [sum(self.kills[point, e] for point in self.effects) for e in EFFECTS]
        table.add_row("all", *map(str, columns), *self._sums(list(self.effects)))
        return table

    def _sums(self, points: list[str]) -> list[str]:
        kills = sum(self.kills[point, effect] for point in points for effect in EFFECTS)
        recovered = sum(self.recovered[point] for point in points)
        found = [sum(self.found[point, kind] for point in points) for kind in COUNTED]
        return [f"{number:,}" for number in (kills, recovered, *found)]

    def summary(self) -> str:
        return (
            f"{self.title}: {self.cases:,} cases, {self.attempts:,} attempts, "
            f"{self.missed:,} planned kills whose moment never came"
        )


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


class Campaign:
    """One invocation: where its stores are, its witness, and how it talks."""

    def __init__(self, console: Console, options: argparse.Namespace, folder: Path) -> None:
        self._console = console
        self._options = options
        self._folder = folder
        self._follow = self._say if options.only else _say_nothing

    def play(self) -> list[Tally]:
        """Play all that was asked for."""
        # Before anything else: a fork is to find one thread, and no run of anybody's.
        nursery = Nursery(is_hooked=True)
        witness = Witness.start()
        try:
            forked = self._play_forked(Theatre(nursery, witness, self._folder / "forked"))
            return [forked, self._play_real(witness)]
        finally:
            witness.stop()

    def _play_forked(self, theatre: Theatre) -> Tally:
        options = self._options
        effects = {point: row.effects for point, row in POINTS.items()}
        tally = Tally("Forked kernels", effects)
        names = schedule(options.seed, options.kills, options.match, tally)
        if options.only:
            names = iter([] if options.only.startswith(REAL) else [options.only])
        for name in names:
            case = make_case(options.seed, name, theatre.witness.origin)
            self._tell(case.notebook)
            self._report(tally.add(name, theatre.play(case, self._follow), options.seed))
        return tally

    def _play_real(self, witness: Witness) -> Tally:
        options = self._options
        tally = Tally("Real kernels", dict.fromkeys(REAL_POINTS, EFFECTS))
        numbers: Iterable[int] = itertools.count()
        if options.only:
            is_real = options.only.startswith(REAL)
            numbers = [int(options.only.removeprefix(REAL))] if is_real else []
        for number in numbers:
            if not options.only and tally.total >= options.real:
                break
            case = make_real_case(options.seed, number, witness.origin)
            self._tell(case.notebook)
            folder = self._folder / "real" / str(number)
            result = play_real(case, witness, folder, self._follow)
            self._report(tally.add(case.name, result, options.seed))
        return tally

    def _tell(self, notebook: Notebook) -> None:
        for index, cell in enumerate(notebook.cells):
            self._follow(f"--- cell {index}\n{cell.source}")

    def _report(self, findings: list[str]) -> None:
        for finding in findings:
            self._say(finding)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


def _say_nothing(_line: str) -> None:
    return


def main() -> int:
    """Run the campaign; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=WHOLE, help="of forked kernels")
    parser.add_argument("--real", type=int, help="of real kernels; one for 20 forked by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--match", metavar="REGEX", default="", help="only these point/effect")
    parser.add_argument("--only", metavar="CASE", default="", help="one case, and tell all of it")
    options = parser.parse_args()
    if options.real is None:
        options.real = options.kills // FORKED_PER_REAL
    console = Console(width=max(WIDTH_MIN, Console().width), soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    started = time.monotonic()
    tallies = Campaign(console, options, folder).play()
    for tally in tallies:
        if tally.cases:
            console.print(tally.table())
            console.print(tally.summary())
    findings = [finding for tally in tallies for finding in tally.findings]
    seconds = time.monotonic() - started
    console.print(f"seed {options.seed}: {len(findings)} findings, {seconds:.0f} s")
    if findings:
        console.print(f"the runs are kept in {folder}", highlight=False)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
