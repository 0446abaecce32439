"""Jobs: one notebook in a folder, and the call that executes it, fast or for real.

fast   a forked process with the runner's own code in it (`run_notebook`, papermill with the
       engine of ours, a NotebookClient), but forked kernels; no command line is parsed
real   `durable run`, `papermill --engine durable` and a user's nbclient script as processes,
       with real kernels
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from papermill.engines import papermill_engines
from papermill.execute import execute_notebook

from durable_kernel.headless import RunRequest, run_notebook
from durable_kernel.headless.papermill import DurableEngine
from durable_kernel.history import Outline
from durable_kernel.kernel.install import install
from tests.runners.cases import Case
from tests.runners.kernels import KERNEL_PID, NURSERY, ForkedKernelManager
from tests.runners.orders import ORDER, Mortal, watch_files

__all__ = ["FastCall", "Job", "RealCall", "kill"]

_HIDDEN = ("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_", "RUNNERS_")
_COMMAND = "from durable_kernel.cli import main; main()"
_SCRIPT = """\
import nbformat, tempfile
from nbclient import NotebookClient
from traitlets.config import Config

notebook = nbformat.read("in.ipynb", 4)
folder = tempfile.mkdtemp(dir=".", prefix="k-")  # nobody else can take its sockets
config = Config(ConnectionFileMixin={"transport": "ipc", "ip": folder + "/k"})
options = {"iopub_timeout": 120, "startup_timeout": 120, "config": config}
NotebookClient(notebook, kernel_name="durable", **options).execute()
nbformat.write(notebook, "out.ipynb")
"""


class _FastEngine(DurableEngine):
    kernels = ForkedKernelManager


papermill_engines.register("fast", _FastEngine)


class Job:
    """The files of one case, and what its calls are told by the environment."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.home = folder / "home"
        self.input = folder / "in.ipynb"
        self.output = self.input if case.is_in_place else folder / "out.ipynb"
        folder.mkdir(parents=True)
        new: Any = nbformat.v4
        cells = [
            new.new_code_cell(each.text, id=f"c{index}", metadata={"tags": list(each.tags)})
            for index, each in enumerate(case.sources)
        ]
        cells.insert(1, new.new_markdown_cell("A pipeline.", id="text"))
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        metadata = {"kernelspec": kernelspec}
        self.input.write_text(nbformat.writes(new.new_notebook(cells=cells, metadata=metadata)))

    def environment(self) -> dict[str, str]:
        """Return what each call of the job is given, identically."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_HIDDEN)}
        names = ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        folders = {name: str(self.folder / name.lower()) for name in names}
        own = {"DURABLE_HOME": str(self.home), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        # A campaign kills the same cell faster than any machine: H36 has tests of its own.
        own["DURABLE_POISON_S"] = "0"
        if self.case.run_id and self.case.runner != "durable":
            own["DURABLE_RUN"] = self.case.run_id
        if self.case.runner == "nbclient":
            own["DURABLE_RESUME"] = "match"
        return {**inherited, **folders, **own}

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""


class FastCall:
    """A call in a forked process."""

    def __init__(self, job: Job, nursery: str, ordered: Mapping[str, str]) -> None:
        self._status: int | None = None
        self._folder = job.folder
        (job.folder / KERNEL_PID).unlink(missing_ok=True)
        log = os.open(job.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                os.setsid()
                for stream in (1, 2):
                    os.dup2(log, stream)
                os.environ.clear()
                os.environ.update({**job.environment(), NURSERY: nursery, **ordered})
                status = _live(job)
            except BaseException:  # noqa: BLE001 - whatever it is, the log has it
                traceback.print_exc()
                status = 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(log)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kernels(self) -> list[int]:
        """Return the process id of its kernel, if one is there."""
        with suppress(FileNotFoundError, ValueError):
            return [int((self._folder / KERNEL_PID).read_text())]
        return []


def _live(job: Job) -> int:
    """Execute the call in this process. Returns its exit status."""
    os.chdir(job.folder)
    mortal = Mortal(os.environ.get(ORDER), is_runner=True)
    mortal.peer = lambda: os.pidfd_open(ForkedKernelManager.pid) if ForkedKernelManager.pid else 0
    watch_files(mortal, job.folder)
    calls: dict[str, Callable[[Job], int]] = {
        "durable": _durable,
        "papermill": _papermill,
        "nbclient": _nbclient,
    }
    return calls[job.case.runner](job)


class _Printing:
    def say(self, sentence: str) -> None:
        print(sentence, flush=True)

    def start(self, cells: int) -> None: ...

    def cell(self, done: int, outline: Outline) -> None: ...


def _durable(job: Job) -> int:
    case = job.case
    request = RunRequest(
        notebook=job.input,
        output=None if case.is_in_place else job.output,
        name=case.run_id or None,
        parameters={} if case.parameter is None else {"n": case.parameter},
        home=job.home,
    )
    return int(run_notebook(request, _Printing(), kernels=ForkedKernelManager))


def _papermill(job: Job) -> int:
    parameters = {} if job.case.parameter is None else {"n": job.case.parameter}
    execute_notebook(
        "in.ipynb", "out.ipynb", parameters=parameters, engine_name="fast", progress_bar=False
    )
    return 0


def _nbclient(_job: Job) -> int:
    notebook: Any = nbformat.read("in.ipynb", as_version=4)
    options: Any = {"iopub_timeout": 120, "startup_timeout": 120}  # a busy machine is no finding
    NotebookClient(notebook, kernel_manager_class=ForkedKernelManager, **options).execute()
    nbformat.write(notebook, "out.ipynb")
    return 0


class RealCall:
    """A call as people type it."""

    def __init__(self, job: Job, _nursery: str, _ordered: Mapping[str, str]) -> None:
        data = job.folder / "jupyter"
        if not data.exists():
            install(prefix=str(data))
        environment = {**job.environment(), "JUPYTER_PATH": str(data / "share" / "jupyter")}
        with (job.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *_command(job)],
                cwd=job.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def kernels(self) -> list[int]:
        """Return the process ids of its kernels."""
        with suppress(psutil.Error):
            below = psutil.Process(self.pid).children(recursive=True)
            return [each.pid for each in below if "durable_kernel" in " ".join(each.cmdline())]
        return []


def _command(job: Job) -> list[str]:
    case = job.case
    parameter = [] if case.parameter is None else ["-p", "n", str(case.parameter)]
    match case.runner:
        case "durable":
            output = [] if case.is_in_place else ["-o", "out.ipynb"]
            name = ["--run", case.run_id] if case.run_id else []
            return ["-c", _COMMAND, "run", "in.ipynb", *output, *name, *parameter]
        case "papermill":
            return [
                *("-m", "papermill", "--engine", "durable", "--no-progress-bar"),
                *("in.ipynb", "out.ipynb", *parameter),
            ]
        case _:
            return ["-c", _SCRIPT]


def kill(pid: int) -> None:
    """Kill -9, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
