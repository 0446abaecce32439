"""The processes of the demo: the service, `durable run`, the kernels below it, the stock kernel.

Starts them, looks at them and kills them with SIGKILL; ends whatever it started, and nothing else.
When to kill is decided by the caller, who is asked between two looks at the access log. Of
`durable` only the commands and exit codes of its public contract are used. Prints nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nbclient
import nbformat
import psutil
from traitlets.config import Config

from notebooks.flights_log import Exchange, LogTail, read_exchanges

__all__ = [
    "DemoError",
    "DurableCommand",
    "Finished",
    "Service",
    "is_alive",
    "prepare",
    "run_stock",
    "serve",
    "steady_kernels",
]

RUN_S_MAX = 150.0
STOP_S_MAX = 10.0
# How often the kernel's process is searched for: a walk over all processes costs some 10 ms.
SEARCH_S = 0.2


class DemoError(Exception):
    """The demo cannot go on. The message says why."""


@dataclass
class Service:
    """The flights service in its own process, and its access log as read so far."""

    url: str
    log: LogTail
    exchanges: list[Exchange] = field(default_factory=list)
    """What the log has said; `look` reads on."""

    def look(self) -> Exchange | None:
        """Read on in the access log; return the last request that arrived, if any."""
        if self.log.poll():
            self.exchanges = read_exchanges(self.log.lines)
        return self.exchanges[-1] if self.exchanges else None

    def reports(self) -> list[dict[str, Any]]:
        """Ask the service which reports it has, oldest first. The log notes that it was asked."""
        answer = httpx.get(f"{self.url}/reports", trust_env=False, timeout=60)
        answer.raise_for_status()
        reports: list[dict[str, Any]] = answer.json()
        return reports


@contextmanager
def serve(access_log: Path, options: Sequence[str]) -> Iterator[Service]:
    """Start the service on a free port; stop it at the end. Returns once it can be asked."""
    command = [sys.executable, "-m", "notebooks.flights_service", "--port", "0"]
    command += ["--access-log", str(access_log), *options]
    # From the root of the repository, so that the module is found wherever the demo was called.
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise DemoError("the flights service did not start")
            yield Service(url, LogTail(access_log))
        finally:
            process.terminate()


@dataclass(frozen=True)
class Finished:
    """How one `durable run` ended. The code is negative if a signal ended it."""

    code: int
    lines: list[str]


@dataclass
class DurableCommand:
    """`durable`, given again and again for one notebook and one run."""

    program: list[str]
    run: str
    environment: dict[str, str]
    kernels: list[psutil.Process] = field(default_factory=list)
    """Every kernel seen, oldest first."""
    kernels_seen_s: list[float] = field(default_factory=list)
    """When each was first seen, in seconds since the epoch, SEARCH_S late at most. Their own start
    times are no better: they count from the boot, which is known to the second."""

    def kept_at_s(self) -> float:
        """When something was last written to the store, in seconds since the epoch; 0.0: never.

        Its clock ticks some milliseconds late, so what it says was written has been.
        """
        home = Path(self.environment["DURABLE_HOME"])
        times = [0.0]
        for each in (*home.glob("*.jsonl"), *home.glob("runs/*/seg-*")):
            with suppress(FileNotFoundError):
                times.append(each.stat().st_mtime)
        return max(times)

    def run_notebook(
        self, notebook: Path, finished: Path, output: Path, between: Callable[[psutil.Popen], None]
    ) -> Finished:
        """Give the command and stay until it ends; what it says goes to the file `output`.

        `between(runner)` is called all the time, and sets the pace by how long it takes. Raises
        DemoError if the command takes longer than RUN_S_MAX.
        """
        command = [*self.program, "run", str(notebook), "-o", str(finished), "--run", self.run]
        ends_s, search_s = time.monotonic() + RUN_S_MAX, 0.0
        with output.open("wb") as said:
            runner = psutil.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        try:
            while runner.poll() is None:
                now_s = time.monotonic()
                if now_s > ends_s:
                    raise DemoError(f"durable run has not ended after {RUN_S_MAX:.0f} s")
                if now_s > search_s:
                    self._find_kernels(runner)
                    search_s = now_s + SEARCH_S
                between(runner)
        finally:
            _end(runner)
        return Finished(runner.returncode, output.read_text(errors="replace").splitlines())

    def kernel(self) -> psutil.Process | None:
        """Return the newest kernel if it lives."""
        if self.kernels and is_alive(self.kernels[-1]):
            return self.kernels[-1]
        return None

    def resolve(self, *choice: str) -> None:
        """Settle the one act in doubt. Raises DemoError if the command refuses."""
        self._ask("resolve", self.run, *choice)

    def _ask(self, *arguments: str) -> str:
        answer = subprocess.run(
            [*self.program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=RUN_S_MAX,
        )
        if answer.returncode != 0:
            said = (answer.stderr or answer.stdout).strip()
            raise DemoError(f"durable {' '.join(arguments)} ended with {answer.returncode}: {said}")
        return answer.stdout

    def _find_kernels(self, runner: psutil.Popen) -> None:
        known = {kernel.pid for kernel in self.kernels}
        try:
            below = runner.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for process in below:
            if process.pid not in known and _is_kernel(process):
                self.kernels.append(process)
                self.kernels_seen_s.append(time.time())


def prepare(environment: dict[str, str]) -> None:
    """Let matplotlib look for fonts once, so that neither run says that it does."""
    command = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(command, check=True, env=environment, capture_output=True)


def run_stock(notebook: Path, finished: Path, environment: dict[str, str]) -> None:
    """Execute the notebook with the stock kernel and write it. Raises if a cell does."""
    # nbformat has types for some of its functions only.
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    with steady_kernels() as config:
        client = nbclient.NotebookClient(
            document, kernel_name="python3", timeout=int(RUN_S_MAX), config=config
        )
        client.execute(env=environment, stderr=subprocess.DEVNULL)
    nbformat.write(document, finished)  # type: ignore[no-untyped-call]


@contextmanager
def steady_kernels() -> Iterator[Config]:
    """Configure nbclient for a busy machine: what it starts is reached through files, and may wait.

    A port of TCP is chosen by binding and letting go: another process may take it meanwhile. And
    what a kernel publishes four seconds behind its reply would not be taken into the notebook.
    """
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        yield Config(
            ConnectionFileMixin={"transport": "ipc", "ip": f"{folder}/k"},
            NotebookClient={"iopub_timeout": int(RUN_S_MAX), "startup_timeout": int(RUN_S_MAX)},
        )


def _is_kernel(process: psutil.Process) -> bool:
    """Tell a kernel by its connection file; anything that has just ended is none."""
    try:
        return "-f" in process.cmdline()
    except psutil.Error:
        return False


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs; one that was killed and not yet reaped does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(runner: psutil.Popen) -> None:
    """End the command if it still runs: it was started here."""
    if runner.poll() is None:
        runner.terminate()
        try:
            runner.wait(STOP_S_MAX)
        except psutil.TimeoutExpired:
            runner.kill()
            runner.wait()
