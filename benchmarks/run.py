"""Measure the budgets of the design: `make bench`, or `python -m benchmarks.run`.

Each benchmark runs in a process of its own, since hooks stay where they are installed. A missed
budget is shown, and is no error of this program; `--check` makes it one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import machine
from benchmarks.figures import Effort, Figure

__all__ = ["NAMES", "main"]

NAMES = ("cells", "clocks", "sizes", "loopback", "steps", "scan", "starts")
_COLOURS = {"pass": "green", "~pass": "green", "~miss": "yellow", "miss": "red"}
_MEMORY_SYNC_US = 15


def main(argv: Sequence[str]) -> int:
    """Run what was asked for. Returns the exit status."""
    asked = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=asked.folder) as scratch:
        folder = Path(scratch)
        effort = Effort("smoke" if asked.smoke else "quick" if asked.quick else "full")
        if asked.here:
            figures = importlib.import_module(f"benchmarks.{asked.here}").measure(folder, effort)
            asked.json.write_text(json.dumps([each.as_plain() for each in figures]))
            return 0
        return _run_all(asked, folder, effort)


def _run_all(asked: argparse.Namespace, folder: Path, effort: Effort) -> int:
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = machine.facts(folder)
    _show_facts(console, facts)
    figures: list[Figure] = []
    for name in asked.only or NAMES:
        with console.status(f"measuring {name} …"):
            found = _measure(name, folder, effort)
        console.print(_table(name, found))
        figures += found
    facts["load_after"] = machine.load()
    console.print(f"load at the end {facts['load_after']}")
    if asked.json is not None:
        content = {
            "machine": facts,
            "effort": effort.name,
            "figures": [each.as_plain() for each in figures],
        }
        asked.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    is_missed = any(each.verdict == "miss" for each in figures)
    return 1 if asked.check and is_missed else 0


def _measure(name: str, folder: Path, effort: Effort) -> list[Figure]:
    """Run one benchmark in a process of its own. Raises CalledProcessError when it fails."""
    answer = folder / f"{name}.json"
    option = {"full": [], "quick": ["--quick"], "smoke": ["--smoke"]}[effort.name]
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.run", "--here", name),
            *("--json", str(answer), "--folder", str(folder), *option),
        ],
        env={key: value for key, value in os.environ.items() if not key.startswith("DURABLE_")},
        check=True,
    )
    return [Figure.from_plain(each) for each in json.loads(answer.read_text())]


# --- for people -----------------------------------------------------------------------------------


def _show_facts(console: Console, facts: dict[str, Any]) -> None:
    console.print(
        f"Python {facts['python']}, {facts['system']}, {facts['cores']} cores, "
        f"load {facts['load']}, append and sync of 200 B: {facts['disk_sync_us']} µs"
    )
    if facts["disk_sync_us"] < _MEMORY_SYNC_US:
        console.print("[yellow]This folder seems to lie in memory: --folder names another.[/]")


def _table(name: str, figures: list[Figure]) -> Table:
    table = Table(title=name, title_justify="left", expand=True, highlight=False)
    table.add_column("row", no_wrap=True)
    table.add_column("figure", ratio=3)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % of it", justify="right", no_wrap=True)
    table.add_column("budget", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("medians (quartiles)", ratio=4)
    for each in figures:
        low, high = each.interval
        table.add_row(
            each.row,
            f"{each.what}\n{each.note}" if each.note else each.what,
            f"{_short(each.value)} {each.unit}",
            f"{_short(low)} – {_short(high)}",
            str(each.budget or ""),
            Text(each.verdict, style=_COLOURS.get(each.verdict, "")),
            _sides(each),
        )
    return table


def _sides(figure: Figure) -> str:
    lines = [
        f"{name} {_short(side.median)} {side.unit}"
        f" ({_short(side.quartiles[0])} – {_short(side.quartiles[1])})"
        for name, side in figure.sides.items()
    ]
    return "\n".join([*lines, f"{figure.rounds} rounds"])


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", action="append", choices=NAMES, help="this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, no figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--folder", type=Path, help="where journals are written (default: temp)")
    parser.add_argument("--check", action="store_true", help="exit 1 when a budget is missed")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--here", choices=NAMES, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
