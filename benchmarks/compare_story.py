"""The processes of the comparison: the witness, a tool's command, the kills, the hand that settles.

Every process that a command started is killed with it, at once, as when a machine or a container
goes away. Only processes started here are killed. What is counted from it is told elsewhere.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.compare_figures import Attempt, Undisturbed, printed, shown_values
from benchmarks.compare_tools import Tool
from notebooks.demo_plan import answer_file, settle
from notebooks.demo_stage import Service, is_alive
from notebooks.flights_log import Exchange

__all__ = [
    "KILL_POINTS",
    "CompareError",
    "KillPoint",
    "KillerLateError",
    "Size",
    "Story",
    "run_undisturbed",
]

_LOOK_S = 0.005
_SEARCH_S = 0.1
_RUN_S_MAX = 120.0
_STOP_S_MAX = 10.0
_EXIT_IN_DOUBT = 3


class CompareError(Exception):
    """The comparison cannot go on. The message says why."""


class KillerLateError(CompareError):
    """A command was done before it was killed where it should have been: nothing was measured."""


@dataclass(frozen=True)
class Size:
    """How large the pipeline is, and how long after its sign a kill comes.

    A trend over `sample` points takes time that grows with its square. It is computed after each
    sixth of the pages, and several times at the end.
    """

    pages: int = 60
    sample: int = 1500
    rows_per_page: int = 300
    into_trend_s: float = 0.15
    into_last_s: float = 0.8

    def environment(self) -> dict[str, str]:
        """Return what the pipeline reads."""
        return {"PAGES": str(self.pages), "SAMPLE": str(self.sample)}


@dataclass(frozen=True)
class Glance:
    """What the killer sees when it looks."""

    newest: Exchange | None
    receipt_since_s: float | None
    """Seconds since the receipt was first to be read in this attempt; None before."""
    now_s: float
    size: Size


@dataclass(frozen=True)
class KillPoint:
    """A point of the pipeline, recognised from outside: by the witness and by what is shown."""

    name: str
    is_due: Callable[[Glance], bool]
    is_over: Callable[[Glance], bool] = lambda _glance: False
    """Tells that it is too late; otherwise the end of the command does."""


def _is_between_pages(glance: Glance) -> bool:
    """Tell that the middle page went out a moment ago: the trend so far is being computed.

    A later page will do, so that a slow killer is late and not lost.
    """
    newest = glance.newest
    if newest is None or newest.page is None or newest.sent_at_s is None:
        return False
    has_come = newest.page >= glance.size.pages // 2
    return has_come and glance.now_s - newest.sent_at_s > glance.size.into_trend_s


def _is_behind_pages(glance: Glance) -> bool:
    """Tell that the report has been made: no page will come."""
    return glance.newest is not None and glance.newest.is_report


def _is_inside_post(glance: Glance) -> bool:
    """Tell that the server has the report and holds back the answer."""
    newest = glance.newest
    return newest is not None and newest.is_report and newest.sent_at_s is None


def _is_in_last_computation(glance: Glance) -> bool:
    """Tell that the receipt was shown, and what comes behind it has been computed for a while."""
    since_s = glance.receipt_since_s
    return since_s is not None and since_s > glance.size.into_last_s


KILL_POINTS = (
    KillPoint("between two pages", _is_between_pages, is_over=_is_behind_pages),
    KillPoint("inside the POST", _is_inside_post),
    KillPoint("in the last computation", _is_in_last_computation),
)


@dataclass
class Running:
    """One command under way in its folder."""

    tool: Tool
    folder: Path
    process: psutil.Popen
    below: dict[int, psutil.Process] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    """CPU time of each process when it was last looked at."""
    _shown_at: tuple[int, int] = (0, 0)
    _shown: dict[str, str] = field(default_factory=dict)
    _searched_s: float = 0.0

    def look_below(self) -> None:
        """Remember the processes that it has started; a walk over all costs some 10 ms."""
        if time.monotonic() - self._searched_s > _SEARCH_S:
            self._search()

    def shown(self) -> dict[str, str]:
        """Read what a person could read now. A half-written notebook is read as it was before."""
        path = self.folder / self.tool.shown
        with suppress(FileNotFoundError):
            state = path.stat()
            if (state.st_mtime_ns, state.st_size) != self._shown_at:
                text = path.read_text(errors="replace")
                with suppress(ValueError):
                    self._shown = shown_values(printed(text) if path.suffix == ".ipynb" else text)
                    self._shown_at = (state.st_mtime_ns, state.st_size)
        return self._shown

    def kernel(self) -> str:
        """Name what runs the pipeline: the module of the kernel seen below, or plain Python."""
        for process in self.below.values():
            with suppress(psutil.Error):
                words = process.cmdline()
                if "-m" in words and "-f" in words:
                    return words[words.index("-m") + 1]
        return ""

    def kill(self) -> None:
        """Kill the command and all that it started. Returns once none of them runs."""
        self._search()
        victims = [self.process, *self.below.values()]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        self.process.wait()
        # What it started is not ours to reap: dead is enough, gone takes a second.
        ends_s = time.monotonic() + _STOP_S_MAX
        while any(map(is_alive, victims)) and time.monotonic() < ends_s:
            time.sleep(_LOOK_S)

    def leave_nothing(self) -> None:
        """Give what it started time to stop after it; end what has not."""
        ends_s = time.monotonic() + _STOP_S_MAX
        while any(map(is_alive, self.below.values())) and time.monotonic() < ends_s:
            if self.process.poll() is None:
                break
            time.sleep(_LOOK_S)
        self.kill()

    def _search(self) -> None:
        self._searched_s = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            self.below |= {each.pid: each for each in self.process.children(recursive=True)}
        for each in (self.process, *self.below.values()):
            with suppress(psutil.Error):
                times = each.cpu_times()
                # Of one that is dead and not reaped, the system may know nothing any more.
                self.cpu_s[each.pid] = max(times.user + times.system, self.cpu_s.get(each.pid, 0.0))


@dataclass
class Story:
    """One pipeline in one folder under one tool: the same command until it is finished."""

    tool: Tool
    folder: Path
    service: Service
    size: Size
    say: Callable[[str], None]
    attempts: list[Attempt] = field(default_factory=list)
    hands: list[str] = field(default_factory=list)
    hands_cpu_s: float = 0.0
    kernel: str = ""
    first_request_s: float = 0.0

    def run(self, points: Sequence[KillPoint]) -> None:
        """Give the command until it is done, and kill it at each point once, in this order.

        Raises CompareError when it fails though nobody killed it, KillerLateError when it is done
        before a kill: whoever kills may stand still meanwhile.
        """
        left = list(points)
        while True:
            attempt = self._attempt(left[0] if left else None)
            self.attempts.append(attempt)
            if attempt.killed:
                self.say(f"killed {left.pop(0).name}")
                continue
            if attempt.code == _EXIT_IN_DOUBT and self.tool.resolve and not self.hands:
                self.say("in doubt, exit code 3: looking at the server, and resolving by hand")
                self._settle()
                continue
            if attempt.code != 0:
                missed = f", before it was {left[0].name}" if left else ""
                raise CompareError(
                    f"{self.tool.name} ended with {attempt.code}{missed}:\n{self._said()}"
                )
            if left:
                raise KillerLateError(f"{self.tool.name} was done before it was {left[0].name}")
            self.say("finished")
            return

    def _attempt(self, point: KillPoint | None) -> Attempt:
        self.service.look()
        known = len(self.service.exchanges)
        began_s, began_at_s = time.monotonic(), time.time()
        running = self._start()
        killed = ""
        try:
            killed = self._watch(running, point, known, began_s)
            ended_s = time.monotonic()
        finally:
            running.leave_nothing()
        self.service.look()
        own = self.service.exchanges[known:]
        if own and not self.attempts:
            self.first_request_s = own[0].received_at_s - began_at_s
        return Attempt(
            seconds=ended_s - began_s,
            cpu_s=sum(running.cpu_s.values()),
            code=running.process.returncode or 0,
            killed=killed,
            shown=dict(running.shown()),
            pages=[each.page for each in own if each.page is not None],
            posts=sum(each.is_report for each in own),
        )

    def _watch(self, running: Running, point: KillPoint | None, known: int, began_s: float) -> str:
        """Stay until it ends or is killed; return the point of the kill, or nothing."""
        receipt_s = None
        while running.process.poll() is None:
            running.look_below()
            now_s = time.monotonic()
            if now_s - began_s > _RUN_S_MAX:
                raise CompareError(f"{self.tool.name} has not ended after {_RUN_S_MAX:.0f} s")
            self.kernel = self.kernel or running.kernel()
            if point is not None:
                if receipt_s is None and "receipt" in running.shown():
                    receipt_s = now_s
                newest = self.service.look()
                fresh = newest if len(self.service.exchanges) > known else None
                since_s = None if receipt_s is None else now_s - receipt_s
                glance = Glance(fresh, since_s, time.time(), self.size)
                if point.is_due(glance):
                    running.kill()
                    return point.name
                if point.is_over(glance):
                    raise KillerLateError(f"it was too late to kill {self.tool.name} {point.name}")
            time.sleep(_LOOK_S)
        return ""

    def _start(self) -> Running:
        with (self.folder / "said.txt").open("wb") as said, self._log.open("ab") as log:
            process = psutil.Popen(
                self.tool.command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
            )
        return Running(self.tool, self.folder, process)

    def _settle(self) -> None:
        """Do what a person does: look at the server, write down its answer, say so."""
        arrived = self.service.reports()
        self.service.look()
        settlement = settle(arrived, self.service.exchanges)
        if settlement.answer is None:
            raise CompareError("the server has no report, though it was killed after it had")
        file = self.folder / "answer.json"
        file.write_bytes(answer_file(settlement.answer))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(
            [*self.tool.resolve, file.name],
            cwd=self.folder,
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        if ended.returncode != 0:
            raise CompareError(f"{self.tool.name} could not settle: {ended.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.hands_cpu_s += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        self.hands += ["looked at the server", "resolved the POST", "started once more"]

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def _environment(self) -> dict[str, str]:
        """Return one environment for all tools: nothing of this user's settings, no proxy."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_", "PYTHON"))
        }
        aside = self.folder.with_name(f"{self.folder.name}-aside")
        aside.mkdir(exist_ok=True)
        return {
            **inherited,
            **self.size.environment(),
            "FLIGHTS_URL": self.service.url,
            "DURABLE_HOME": str(self.folder / "store"),
            "IPYTHONDIR": str(aside / "ipython"),
            "JUPYTER_DATA_DIR": str(aside / "data"),
            "JUPYTER_CONFIG_DIR": str(aside / "config"),
            "JUPYTER_RUNTIME_DIR": str(aside / "runtime"),
            "PYTHONUNBUFFERED": "1",  # what is printed can be read at once, as in a terminal
        }


def run_undisturbed(tool: Tool, folder: Path, service: Service, size: Size) -> Undisturbed:
    """Run the pipeline once and let it finish. Raises CompareError if it does not."""
    tool.prepare(folder)
    story = Story(tool, folder, service, size, say=lambda _: None)
    story.run(())
    (attempt,) = story.attempts
    kept_bytes = _kept_bytes(tool, folder)
    return Undisturbed(attempt.seconds, attempt.cpu_s, story.first_request_s, kept_bytes)


def _kept_bytes(tool: Tool, folder: Path) -> int:
    own = {tool.given, tool.shown, "said.txt", "log.txt"}
    return sum(
        each.stat().st_size
        for each in folder.rglob("*")
        if each.is_file() and each.relative_to(folder).as_posix() not in own
    )
