"""Runners, killed: `python -m tests.runners --seeds 50 --real 5 --seed 1`.

`durable run`, papermill with our engine, and a plain nbclient program execute a pipeline against a
witness; the kernel, the runner or both are killed with SIGKILL, and the identical call is made
again. Counted: acts repeated or lost, outputs changed, exit statuses that lie, files left behind.
One of them, and the exit status is 1. `jobs` says what is fast and what is real.

A finding names its case; `--only CASE` plays that one alone, and tells each call.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a fork copies one thread

from rich.console import Console
from rich.table import Table

from tests.crash.witness import Witness
from tests.runners.cases import RUNNERS, Case, make_case
from tests.runners.jobs import FastCall, RealCall
from tests.runners.kernels import Nursery
from tests.runners.play import Play, Result

_KINDS = ("repeated", "lost", "changed", "status", "litter")
_DYING = ("kernel", "runner", "both")
TOLD_EACH = 30
"""Cases: some minutes on a busy machine, and whoever waits wants to know that it goes on."""


class Tally:
    """What was counted, by way and runner."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}
        self.findings: list[str] = []

    def add(self, case: Case, result: Result, seed: int) -> list[str]:
        row = self.rows.setdefault(case.name.rpartition("/")[0], Counter())
        row["seeds"] += 1
        row["calls"] += result.calls
        row["doubts"] += result.doubts
        row["missed"] += len(result.missed)
        row.update(each.who for each in result.carried_out)
        row.update(each.kind for each in result.findings)
        new = [
            f"--seed {seed} --only {case.name}   {each.kind}: {each.what}"
            for each in result.findings
        ]
        self.findings += new
        return new

    def table(self) -> Table:
        table = Table(title="Runners, killed and called again")
        columns = ("seeds", "calls", *_DYING, "missed", "doubts", *_KINDS)
        table.add_column("way/runner", no_wrap=True)
        for each in columns:
            table.add_column(each, justify="right")
        for name, row in self.rows.items():
            table.add_row(name, *(str(row[each]) for each in columns))
        return table


def _names(options: argparse.Namespace) -> Iterator[str]:
    if options.only:
        yield options.only
        return
    for way, count in (("fast", options.seeds), ("real", options.real)):
        for number in range(count):
            for runner in options.runners:
                yield f"{way}/{runner}/{number}"


def main() -> int:
    """Play all that was asked for; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="of each runner, with forked kernels")
    parser.add_argument("--real", type=int, default=5, help="of each runner, with real kernels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=RUNNERS)
    parser.add_argument("--only", metavar="CASE", default="", help="one case, and tell all of it")
    options = parser.parse_args()
    console = Console(width=max(130, Console().width), soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="runners-"))

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    started, tally, names = time.monotonic(), Tally(), list(_names(options))
    nursery = Nursery(folder)
    witness = Witness.start()
    try:
        for done, name in enumerate(names):
            if done and not done % TOLD_EACH:
                say(f"{done} of {len(names)} cases, {time.monotonic() - started:.0f} s")
            way, runner, number = name.split("/")
            is_real = way == "real"
            case = make_case(options.seed, runner, int(number), witness.origin, is_real=is_real)
            if options.only:
                say("\n".join(f"--- cell {i}\n{each.text}" for i, each in enumerate(case.sources)))
            play = Play(
                case,
                witness,
                folder / name,
                RealCall if is_real else FastCall,
                nursery.address,
                say if options.only else lambda _line: None,
            )
            for finding in tally.add(case, play.play(), options.seed):
                say(finding)
    finally:
        witness.stop()
        nursery.stop()
    console.print(tally.table())
    seconds = time.monotonic() - started
    say(f"seed {options.seed}: {len(tally.findings)} findings, {seconds:.0f} s")
    if tally.findings:
        say(f"the files are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
