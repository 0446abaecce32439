"""The demo: kills a notebook thrice, lets it finish, and checks every promise.

    python -m notebooks.demo             kills the kernel between two pages, the runner between
                                         two others, and the kernel inside the POST
    python -m notebooks.demo --attack    you kill: k the kernel, r the runner, any time

It starts the flights service, gives one and the same `durable run` until the notebook is finished,
settles the POST in doubt with `durable resolve` by looking at the server, then has the stock
`python3` kernel run the notebook against the same service and compares. Everything goes to one new
folder, the store of runs too. Exit code 0 if every promise held, else 1.

Tells the story: order, keys and printing. Decisions are in `demo_plan`, processes in `demo_stage`.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import shlex
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from notebooks.demo_plan import (
    Kill,
    KillPoint,
    PageRow,
    Promise,
    Victim,
    answer_file,
    describe_moment,
    judge,
    page_rows,
    plan_kills,
    settle,
)
from notebooks.demo_stage import DemoError, DurableCommand, Service, prepare, run_stock, serve
from notebooks.flights_compare import Comparison, compare, read_notebook
from notebooks.flights_service import ROWS_PER_PAGE, FlightsData

__all__ = ["main"]

NOTEBOOK = Path(__file__).with_name("flights.ipynb")
EXIT_DONE = 0
EXIT_IN_DOUBT = 3
ATTEMPTS_MAX = 50
# How often the access log is looked at: between two pages there are 50 ms.
LOOK_S = 0.002
HOLD_S = 30.0
HOLD_FOR_PEOPLE_S = 10.0
VICTIM_OF_KEY = {b"k": Victim.KERNEL, b"r": Victim.RUNNER}
KeyReader = Callable[[float], bytes]
"""Waits so many seconds for a key; returns it, or nothing."""


@dataclass
class Story:
    """One demo from the first command to the last kill."""

    console: Console
    folder: Path
    service: Service
    durable: DurableCommand
    read_key: KeyReader
    plan: list[KillPoint]
    kills: list[Kill] = field(default_factory=list)
    kernels_told: int = 0
    pages_told: int = 0

    def run_until_done(self, notebook: Path) -> None:
        """Give the same command until it says that it is done, and settle doubt on the way.

        Raises DemoError when it fails though nobody killed anything.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            self.say(f"[bold]$ durable run {notebook.name} --run {self.durable.run}[/]")
            kills_before = len(self.kills)
            ended = self.durable.run_notebook(
                notebook,
                self.folder / "finished.ipynb",
                self.folder / f"run-{attempt}.txt",
                self.between,
            )
            self.relay(ended.lines)
            if ended.code == EXIT_DONE:
                return
            if ended.code == EXIT_IN_DOUBT:
                self.say("  exit code 3: a POST is in doubt, and nothing was repeated")
                self.settle_doubt()
            elif len(self.kills) > kills_before:
                self.say(f"  it has ended ({ended.code}); now the same command again")
            else:
                raise DemoError(f"durable run ended with exit code {ended.code}, unprovoked")
        raise DemoError(f"not finished after {ATTEMPTS_MAX} attempts")

    def between(self, runner: psutil.Popen) -> None:
        """Look at the access log and the keys, and kill who is due."""
        key = self.read_key(LOOK_S)
        newest = self.service.look()
        self.tell_progress()
        if key in VICTIM_OF_KEY:
            self.kill(VICTIM_OF_KEY[key], runner)
        elif newest and self.plan and self.plan[0].is_due(newest, self.durable.kept_at_s()):
            # A kernel that has not been found yet keeps its place in the plan.
            self.plan = self.plan[self.kill(self.plan[0].victim, runner) :]

    def kill(self, victim: Victim, runner: psutil.Popen) -> bool:
        """Kill -9, if the victim is there. Tell the moment, by the log as it is right after."""
        target = runner if victim is Victim.RUNNER else self.durable.kernel()
        if target is None:
            return False
        target.kill()
        moment = describe_moment(self.service.look())
        self.kills.append(Kill(victim, time.time(), moment))
        self.say(f"  [bold red]kill -9[/] the {victim} ({target.pid}), {moment}")
        return True

    def settle_doubt(self) -> None:
        """Do what a person does: look at the server, then say what happened."""
        self.service.look()
        arrived = self.service.reports()
        settlement = settle(arrived, self.service.exchanges)
        if settlement.answer is None:
            self.say("  the server has no report, so: [bold]durable resolve --retry[/]")
            self.durable.resolve("--retry")
            return
        file = self.folder / "answer.json"
        file.write_bytes(answer_file(settlement.answer))
        self.say(
            f"  the server has the report, receipt {settlement.answer['receipt']}; it must not be"
            f" sent again, so: [bold]durable resolve --answer {file.name}[/]"
        )
        self.durable.resolve("--answer", str(file))

    def tell_progress(self) -> None:
        """Tell of new kernels, and of every twentieth page that the server handed out."""
        if len(self.durable.kernels) > self.kernels_told:
            self.kernels_told = len(self.durable.kernels)
            self.say(f"  kernel {self.durable.kernels[-1].pid} has started")
        newest = self.service.exchanges[-1] if self.service.exchanges else None
        page = (newest.page or 0) // 20 * 20 if newest else 0
        if page > self.pages_told:
            self.pages_told = page
            self.say(f"  the server is at page {page}")

    def relay(self, lines: Sequence[str]) -> None:
        """Repeat what the command said."""
        for line in lines:
            if line.strip():
                self.say(f"  [dim]│ {escape(line.rstrip())}[/]")

    def say(self, sentence: str) -> None:
        """Print one line."""
        self.console.print(sentence, highlight=False, soft_wrap=True)


@contextmanager
def keyboard(*, is_attack: bool) -> Iterator[KeyReader]:
    """Give a reader of single keys; without an attack it only waits. Puts the terminal back."""
    if not is_attack:
        yield _wait
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor) if os.isatty(descriptor) else None
    if before is not None:
        tty.setcbreak(descriptor)
    try:
        yield _KeysOf(descriptor)
    finally:
        if before is not None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait(timeout_s: float) -> bytes:
    time.sleep(timeout_s)
    return b""


class _KeysOf:
    """Reads keys from a terminal or a pipe. After the end of the pipe it only waits."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_open = True

    def __call__(self, timeout_s: float) -> bytes:
        if not self._is_open:
            return _wait(timeout_s)
        readable, _, _ = select.select([self._descriptor], [], [], timeout_s)
        if not readable:
            return b""
        key = os.read(self._descriptor, 1)
        self._is_open = bool(key)
        return key


def page_table(rows: Sequence[PageRow]) -> Table:
    """Lay out the counts, a line a stretch of pages."""
    table = Table(title="pages, as the server saw them", title_justify="left")
    for name in ("page", "asked", "completed", "from the journal"):
        table.add_column(name, justify="right")
    for row in rows:
        pages = str(row.first) if row.first == row.last else f"{row.first}–{row.last}"
        counts = (f"{n}×" for n in (row.asked, row.completed, row.from_journal))
        table.add_row(pages, *counts)
    return table


def promise_table(promises: Sequence[Promise]) -> Table:
    """Lay out the promises, a line each."""
    table = Table(title="promises", title_justify="left")
    for name in ("", "promise", "found"):
        table.add_column(name)
    for promise in promises:
        mark = "[green]held[/]" if promise.holds else "[bold red]BROKEN[/]"
        table.add_row(mark, promise.sentence, escape(promise.found))
    return table


def run_demo(options: argparse.Namespace, console: Console) -> bool:
    """Run the whole demo; return whether every promise held. Raises DemoError."""
    folder: Path = options.out or Path("build/demo") / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    pages = FlightsData.load().pages(options.rows_per_page)
    hold_s = HOLD_FOR_PEOPLE_S if options.attack else HOLD_S
    service_options = ["--rows-per-page", str(options.rows_per_page)]
    service_options += ["--hold-report-s", str(hold_s)]
    with (
        serve(folder / "access.jsonl", service_options) as service,
        keyboard(is_attack=options.attack) as read_key,
    ):
        environment = _environment(folder, service.url)
        prepare(environment)
        story = Story(
            console=console,
            folder=folder,
            service=service,
            durable=DurableCommand(shlex.split(options.durable), "flights", environment),
            read_key=read_key,
            plan=[] if options.attack else plan_kills(pages),
        )
        _introduce(story, is_attack=options.attack)
        story.run_until_done(options.notebook)
        service.look()
        exchanges, arrived_reports = service.exchanges, len(service.reports())
        story.say("now the stock python3 kernel runs the same notebook, same server")
        run_stock(options.notebook, folder / "stock.ipynb", environment)
        service.look()
        looked_at = len(exchanges) + 1  # the look at the reports above is one more
        stock = service.exchanges[looked_at:]
    comparison = compare(
        read_notebook(folder / "finished.ipynb"), read_notebook(folder / "stock.ipynb")
    )
    promises = judge(
        exchanges,
        stock,
        pages=pages,
        arrived_reports=arrived_reports,
        kills=story.kills,
        kills_left=story.plan,
        comparison=comparison,
    )
    console.print(page_table(page_rows(exchanges, story.durable.kernels_seen_s)))
    console.print(promise_table(promises))
    _show_differences(console, comparison)
    story.say(f"finished notebook: {folder / 'finished.ipynb'} (stock: stock.ipynb beside it)")
    return all(promise.holds for promise in promises)


def _introduce(story: Story, *, is_attack: bool) -> None:
    story.say(f"flights service: {story.service.url}, all files: {story.folder}")
    if is_attack:
        story.say("press [bold]k[/] to kill the kernel, [bold]r[/] to kill the runner, any time;")
        story.say(f"the server takes {HOLD_FOR_PEOPLE_S:.0f} s to answer the POST at the end")


def _environment(folder: Path, url: str) -> dict[str, str]:
    """Return the environment of whatever runs the notebook: its own store, no proxy to loopback."""
    own = {
        "DURABLE_HOME": str((folder / "store").absolute()),
        "FLIGHTS_URL": url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DURABLE_")}
    return inherited | own


def _show_differences(console: Console, comparison: Comparison) -> None:
    for difference in comparison.differences:
        finished, stock = difference.excerpts()
        console.print(f"cell {difference.cell}, {difference.field}:", highlight=False)
        console.print(f"  finished  …{escape(finished)}…", highlight=False, soft_wrap=True)
        console.print(f"  stock     …{escape(stock)}…", highlight=False, soft_wrap=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    beside = Path(sys.executable).with_name("durable")
    parser = argparse.ArgumentParser(prog="notebooks.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--attack", action="store_true", help="you press the keys that kill")
    parser.add_argument("--out", type=Path, help="a new folder; default build/demo/TIME")
    parser.add_argument("--picture", type=Path, help="also write what is printed as an SVG")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK)
    parser.add_argument("--rows-per-page", type=int, default=ROWS_PER_PAGE)
    parser.add_argument("--durable", default=shlex.quote(str(beside)), help="the command to use")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _options(arguments)
    has_picture = options.picture is not None
    console = Console(record=has_picture, width=100 if has_picture else None)
    began_s = time.monotonic()
    try:
        is_good = run_demo(options, console)
    except DemoError as error:
        console.print(f"[bold red]the demo stopped:[/] {escape(str(error))}", highlight=False)
        return 1
    verdict = "every promise held" if is_good else "a promise was broken"
    console.print(f"{verdict}; {time.monotonic() - began_s:.0f} s in all", highlight=False)
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        drawn = console.export_svg(title="make demo")
        # A picture in a README must not fetch fonts from elsewhere: the reader's monospace will do.
        options.picture.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
