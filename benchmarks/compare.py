"""Compare what tools do about kill -9: `make compare`, or `python -m benchmarks.compare`.

One pipeline, killed at the same three points under each tool, and given again as its users would:
between two pages, inside the POST (the server has the report, its answer is on the way), and in the
last computation. The server's access log is the witness. Then the same without kills, in turns.

Tells the story: order and printing. The tools stand in `compare_tools`, their processes in
`compare_story`, what is counted in `compare_figures`, the pipelines in the folder `compare`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import machine
from benchmarks.compare_figures import (
    ROWS,
    Absent,
    Measured,
    Undisturbed,
    markdown_table,
    put_between_marks,
)
from benchmarks.compare_story import (
    KILL_POINTS,
    CompareError,
    KillerLateError,
    Size,
    Story,
    run_undisturbed,
)
from benchmarks.compare_tools import PLAIN, TOOLS, Tool
from notebooks.demo_stage import DemoError, serve

__all__ = ["main"]

_HOLD_S = 60
_STORIES_MAX = 9
_TINY = Size(pages=6, sample=900, rows_per_page=1100, into_trend_s=0.03, into_last_s=0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; return the exit status: 0 if every tool that is here could be measured."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        parser.error("--rounds: at least one, or there is nothing to compare the kills with")
    console = Console(width=None if sys.stdout.isatty() else 150)
    size = _TINY if asked.smoke else Size()
    tools = [tool for tool in TOOLS if not asked.only or tool.name in asked.only]
    with tempfile.TemporaryDirectory(prefix="durable-compare-", dir=asked.folder) as scratch:
        try:
            found = compare(tools, Path(scratch), size, asked.rounds, console)
        except (CompareError, DemoError) as error:
            console.print(f"[bold red]the comparison stopped:[/] {escape(str(error))}")
            return 1
        facts = machine.facts(Path(scratch))
    _show(console, found)
    console.print(
        f"Python {facts['python']}, {facts['system']}, {facts['cores']} cores, "
        f"load {facts['load']} after it",
        highlight=False,
    )
    if asked.json is not None:
        content = {"machine": facts, "tools": [each.as_plain() for each in found]}
        asked.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if asked.markdown is not None:
        document = asked.markdown.read_text()
        asked.markdown.write_text(put_between_marks(document, markdown_table(found)))
    return 0


def compare(
    tools: Sequence[Tool], folder: Path, size: Size, rounds: int, console: Console
) -> list[Measured | Absent]:
    """Kill and let run every tool that is here; return what was found, in the order of the tools.

    Raises CompareError when a tool fails though nobody killed it.
    """
    here = [tool for tool in tools if not tool.why_absent()]
    # The kills come first: they leave everything compiled for the runs that are timed.
    stories = {tool.name: _kill(tool, folder, size, console) for tool in here}
    undisturbed = _let_run(here, folder, size, rounds, console)
    found: list[Measured | Absent] = []
    for tool in tools:
        if tool not in here:
            found.append(Absent(tool.name, tool.why_absent()))
            continue
        story = stories[tool.name]
        found.append(
            Measured(
                name=tool.name,
                lines_changed=tool.lines_changed(),
                packages=tool.packages(),
                kernel=story.kernel,
                attempts=story.attempts,
                undisturbed=undisturbed[tool.name],
                plain_seconds=[each.seconds for each in undisturbed[PLAIN.name]],
                hands=story.hands,
                hands_cpu_s=story.hands_cpu_s,
            )
        )
    return found


def _kill(tool: Tool, folder: Path, size: Size, console: Console) -> Story:
    """Kill a tool at all points. A story in which the killer came late is told again, elsewhere."""
    console.print(f"[bold]{tool.name}[/]: {Path(tool.command[0]).name} {tool.given}, killed thrice")
    options = ["--rows-per-page", str(size.rows_per_page), "--hold-report-s", str(_HOLD_S)]

    def say(sentence: str) -> None:
        console.print(f"  {escape(sentence)}", highlight=False)

    for number in range(1, _STORIES_MAX + 1):
        own = folder / f"killed-{tool.script}-{tool.given}-{tool.name.split()[-1]}-{number}"
        tool.prepare(own)
        with serve(folder / f"{own.name}.jsonl", options) as service:
            story = Story(tool, own, service, size, say)
            try:
                story.run(KILL_POINTS)
            except KillerLateError as late:
                if number == _STORIES_MAX:
                    raise
                say(f"{late}; once more from the beginning")
                continue
        return story
    raise AssertionError("the last story is told or raises")


def _let_run(
    tools: Sequence[Tool], folder: Path, size: Size, rounds: int, console: Console
) -> dict[str, list[Undisturbed]]:
    """Run all tools and the plain script in turn, each round in another order."""
    sides = [PLAIN, *tools]
    found: dict[str, list[Undisturbed]] = {side.name: [] for side in sides}
    with serve(
        folder / "undisturbed.jsonl", ["--rows-per-page", str(size.rows_per_page)]
    ) as service:
        for number in range(rounds):
            console.print(f"unkilled, round {number + 1} of {rounds}", highlight=False)
            first = number % len(sides)
            for index, side in enumerate(sides[first:] + sides[:first]):
                own = folder / f"undisturbed-{number}-{index}"
                found[side.name].append(run_undisturbed(side, own, service, size))
    return found


def _show(console: Console, found: Sequence[Measured | Absent]) -> None:
    table = Table(title="one pipeline, killed at three points", title_justify="left")
    table.add_column("", no_wrap=True)
    for each in found:
        table.add_column(each.name, justify="right")
    for row in ROWS:
        cells = [
            f"[bold green]{escape(cell.text)}[/]" if cell.is_best else escape(cell.text)
            for cell in row.cells(found)
        ]
        table.add_row(row.title, *cells)
    console.print(table, highlight=False)
    for each in found:
        if isinstance(each, Absent):
            console.print(f"{each.name}: {each.why}", highlight=False)
        elif each.hands:
            console.print(f"{each.name}, by hand: {', '.join(each.hands)}", highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__.partition("\n\n")[0])
    names = [tool.name for tool in TOOLS]
    parser.add_argument("--only", action="append", choices=names, help="this one; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="unkilled runs of each, from 1")
    parser.add_argument("--json", type=Path, help="write all that was measured to this file")
    parser.add_argument("--markdown", type=Path, help="put the table between this file's marks")
    parser.add_argument("--folder", type=Path, help="where everything is written (default: temp)")
    parser.add_argument("--smoke", action="store_true", help="a tiny pipeline: does it run at all?")
    return parser


if __name__ == "__main__":
    sys.exit(main())
