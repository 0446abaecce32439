"""papermill and nbclient, killed and run again: the job goes on, nothing is done twice (§10)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

from durable_kernel.history import Outline
from durable_kernel.journal import is_locked
from durable_kernel.runtime import records_of
from durable_kernel.store import Store

pytestmark = pytest.mark.slow

_WAIT_S = 120.0
_STEP = """\
import durable_kernel as durable

@durable.step
def act(name):
    with open(name, "a") as file:
        file.write("x")
"""
_WAITS = """\
act('b')
import os, time
while not os.path.exists('go'):
    time.sleep(0.05)
print('done')
"""
_DIES_IN_ITS_ACT = """\
import durable_kernel as durable, os

@durable.step
def pay():
    with open('paid', 'a') as file:
        file.write('x')
    os.kill(os.getpid(), 9)

print('paid', pay())
"""
_NBCLIENT = """\
import nbformat, tempfile
from nbclient import NotebookClient
from traitlets.config import Config

notebook = nbformat.read("in.ipynb", 4)
with tempfile.TemporaryDirectory(prefix="k-") as folder:  # nobody else can take its sockets
    config = Config(ConnectionFileMixin={"transport": "ipc", "ip": folder + "/k"})
    options = {"iopub_timeout": 90, "startup_timeout": 90, "config": config}
    NotebookClient(notebook, kernel_name="durable", **options).execute()
nbformat.write(notebook, "out.ipynb")
"""


class Job:
    """A notebook and the command that runs it."""

    def __init__(self, folder: Path, command: Sequence[str], **environment: str) -> None:
        self.folder = folder
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, *sources: str) -> None:
        new: Any = nbformat.v4
        cells = [new.new_code_cell(each, id=f"c{index}") for index, each in enumerate(sources)]
        (self.folder / "in.ipynb").write_text(nbformat.writes(new.new_notebook(cells=cells)))

    def _environ(self) -> dict[str, str]:
        hidden = ("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {
            **inherited,
            "DURABLE_HOME": str(self.folder / "home"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            **self._environment,
        }

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=self.folder,
                env=self._environ(),
                stdout=log,
                stderr=log,
            )
        return self._process

    def run(self) -> int:
        return self.start().wait(timeout=_WAIT_S)

    def kill_behind(self, name: str) -> None:
        """Kill the job once this step has its outcome in the journal; wait for its kernel's end."""
        assert self._process is not None
        self._wait_until(lambda: self._has_ended() or (self.folder / name).exists())
        self._wait_until(lambda: self._has_ended() or not self._is_in_step())
        assert not self._has_ended(), self.log()
        self._process.kill()
        self._process.wait()
        self._wait_until(lambda: not any(is_locked(each.folder) for each in self._store.all()))

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not is_so():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _is_in_step(self) -> bool:
        """Tell whether a step is announced and not settled: a kill would leave it in doubt."""
        unfinished = [each.open_position for each in self._outlines()]
        return any(
            act.kind == "step"
            for position in unfinished
            if position is not None
            for act in position.pending.values()
        )

    def done(self, name: str) -> int:
        return len((self.folder / name).read_text())

    def resolve(self, *words: str) -> None:
        """Decide about the act in doubt, as a person does in a terminal."""
        command = "from durable_kernel.cli import main; main()"
        subprocess.run(
            [sys.executable, "-c", command, "resolve", "nightly", *words],
            env=self._environ(),
            check=True,
            capture_output=True,
            input=b"7",
            timeout=_WAIT_S,
        )

    def outputs(self) -> str:
        notebook = nbformat.read(self.folder / "out.ipynb", as_version=4)
        cells = [each for each in notebook.cells if each.cell_type == "code"]
        shown = [out for each in cells for out in each.outputs if out.get("name") == "stdout"]
        return "".join(out.text for out in shown)

    def statuses(self) -> list[str]:
        return [each.status for each in self._outlines()]

    @property
    def _store(self) -> Store:
        return Store(self.folder / "home")

    def _outlines(self) -> list[Outline]:
        store = self._store
        return [
            Outline.of(store.frames(each), records_of(store, each.run_id, with_objects=False))
            for each in store.all()
        ]

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def papermill(tmp_path: Path) -> Iterator[Job]:
    arguments = ["--engine", "durable", "-p", "n", "3", "in.ipynb", "out.ipynb"]
    job = Job(tmp_path, ["-m", "papermill", *arguments])
    yield job
    job.close()


def test_a_papermill_job_killed_and_run_again_repeats_nothing(papermill: Job) -> None:
    papermill.write(_STEP, "act('a'); print('n is', n)", _WAITS)
    papermill.start()
    papermill.kill_behind("b")
    (papermill.folder / "go").touch()

    status = papermill.run()

    assert status == 0, papermill.log()
    assert (papermill.done("a"), papermill.done("b")) == (1, 1)
    assert papermill.outputs() == "n is 3\ndone\n"
    assert papermill.statuses() == ["finished"]


def test_a_papermill_job_that_finished_begins_anew(papermill: Job) -> None:
    papermill.write(_STEP, "act('a')")

    statuses = [papermill.run(), papermill.run()]

    assert statuses == [0, 0], papermill.log()
    assert papermill.done("a") == 2
    assert papermill.statuses() == ["finished", "finished"]


def test_a_papermill_job_that_raised_goes_on_with_the_mended_cell(papermill: Job) -> None:
    papermill.write(_STEP, "act('a')", "1 / 0")
    failed = papermill.run()
    papermill.write(_STEP, "act('a')", "print('mended')")

    status = papermill.run()

    assert (failed, status) == (1, 0), papermill.log()
    assert papermill.done("a") == 1
    assert papermill.outputs() == "mended\n"


def _nbclient(folder: Path, **environment: str) -> Job:
    from durable_kernel.kernel.install import install

    install(prefix=str(folder / "jupyter"))
    data = str(folder / "jupyter" / "share" / "jupyter")
    return Job(folder, ["-c", _NBCLIENT], DURABLE_RUN="nightly", JUPYTER_PATH=data, **environment)


def test_a_plain_nbclient_run_goes_on_where_the_run_is_named(tmp_path: Path) -> None:
    job = _nbclient(tmp_path, DURABLE_RESUME="match")
    job.write(_STEP, "act('a'); print('a')", _WAITS)
    job.start()
    job.kill_behind("b")
    (tmp_path / "go").touch()

    status = job.run()

    assert status == 0, job.log()
    assert (job.done("a"), job.done("b")) == (1, 1)
    assert job.outputs() == "a\ndone\n"


def test_nbclient_on_a_restored_kernel_gets_what_a_clean_run_gives(tmp_path: Path) -> None:
    """H13: it sends the next cell when the last one is done, so nothing waits behind a cell."""
    job = _nbclient(tmp_path)
    job.write(_STEP, "act('a'); x = [1]; print('a')", "x.append(2)", "print(x)")
    first = job.run()
    job.write(_STEP, "act('a'); x = [1]; print('a')", "x.append(3)", "print(x)")

    status = job.run()

    assert (first, status) == (0, 0), job.log()
    assert job.outputs() == "a\n[1, 3]\n"
    assert job.done("a") == 1


def test_nbclient_is_told_of_an_act_in_doubt_and_goes_on_once_it_is_decided(tmp_path: Path) -> None:
    """Nobody can be asked, and nothing was set: the job fails and says what is to be done."""
    job = _nbclient(tmp_path, DURABLE_RESUME="match")
    job.write("print('a')", _DIES_IN_ITS_ACT, "print('b')")
    died = job.run()
    untold = job.log()
    failed = job.run()
    told = job.log().removeprefix(untold)
    job.resolve("--answer", "-")

    status = job.run()

    assert (died, failed, status) == (1, 1, 0), job.log()
    assert "DeadKernelError" in untold
    assert "CellExecutionError" in told
    assert "`durable resolve nightly 1.0 --retry` makes the call again" in told
    assert job.done("paid") == 1
    assert job.outputs() == "a\npaid 7\nb\n"
