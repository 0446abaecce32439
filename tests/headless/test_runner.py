"""The runner, with real kernels: how a run ends, and what it is told as."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

from durable_kernel.headless import run_notebook
from durable_kernel.headless.exits import Exit
from durable_kernel.headless.kernels import OwnKernelManager
from tests.headless.jobs import Told, request_of

pytestmark = pytest.mark.slow

_DIES_ONCE_AT_START = """\
import os, pathlib, sys

mark = pathlib.Path({mark!r})
if "-f" in sys.orig_argv and not mark.exists():
    mark.touch()
    os.kill(os.getpid(), 9)
"""


class _LateChannel(AsyncZMQSocketChannel):
    """Brings what was printed later than nbclient waits by itself behind a reply: four seconds."""

    async def get_msg(  # type: ignore[override]
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as it is called
    ) -> dict[str, Any]:
        message = await super().get_msg(timeout)
        if message["msg_type"] == "stream":
            await asyncio.sleep(5)
        return message


class _LateClient(AsyncKernelClient):
    iopub_channel_class: Any = Type(_LateChannel)


class _LateManager(OwnKernelManager):
    client_factory: Any = Type(_LateClient)


def test_a_kernel_that_dies_as_it_starts_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, mark = tmp_path / "site", tmp_path / "mark"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_DIES_ONCE_AT_START.format(mark=str(mark)))
    monkeypatch.setenv("PYTHONPATH", str(site))
    told = Told()

    code = run_notebook(request_of(tmp_path, "1"), told)

    assert mark.exists()
    assert code is Exit.DONE
    assert told.sentences[1:] == ["the kernel died; another one goes on from the journal."]


class _Slow(OwnKernelManager):
    """Starts kernels that are there only when nbclient's minute is over, as it seems."""

    def client(self, **options: Any) -> Any:
        client = super().client(**options)
        wait = client.wait_for_ready

        async def wait_for_ready(timeout: float | None = None) -> None:  # noqa: ASYNC109 - its name
            if timeout is not None and timeout <= 60:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")
            await wait(timeout)

        setattr(client, "wait_for_ready", wait_for_ready)  # noqa: B010 - a method
        return client


def test_a_kernel_that_starts_slowly_is_waited_for(tmp_path: Path) -> None:
    told = Told()

    code = run_notebook(request_of(tmp_path, "1"), told, kernels=_Slow)

    assert (code, told.sentences[1:]) == (Exit.DONE, [])


def test_a_run_that_is_stopped_in_a_cell_prints_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The kernel stops while its cell still ends: its reply has no socket to leave through."""
    source = "import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"

    code = run_notebook(request_of(tmp_path, source), Told())

    assert code is Exit.INTERRUPTED
    assert "Traceback" not in capfd.readouterr().err


def test_an_interrupt_sent_to_the_kernel_is_an_exception_of_the_cell(tmp_path: Path) -> None:
    """Nobody can tell it from a KeyboardInterrupt that the code raised; the runner goes by it."""
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    told = Told()

    code = run_notebook(request_of(tmp_path, source), told)

    assert code is Exit.CELL_RAISED
    assert told.sentences[1].startswith("a cell raised KeyboardInterrupt")


def test_a_signal_interrupts_the_run_and_leaves_it_to_be_resumed(tmp_path: Path) -> None:
    source = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)"
    told = Told()

    code = run_notebook(request_of(tmp_path, "1", source), told)

    assert code is Exit.INTERRUPTED
    assert told.sentences[1:] == [
        f"interrupted; `durable run` goes on with run {told.sentences[0].split()[1]}."
    ]


def test_a_stop_ends_the_run_also_in_a_cell_whose_errors_are_expected(tmp_path: Path) -> None:
    """H2: a cell that may not be executed again is no error that a notebook can expect."""
    source = "import os\nopen('written', 'w').close()\nos.kill(os.getpid(), 9)"
    told = Told()

    code = run_notebook(request_of(tmp_path, source, "2", tags=("raises-exception",)), told)

    assert code is Exit.REFUSED
    assert "opens written for writing" in told.sentences[-1]


def test_an_output_that_a_notebook_cannot_hold_is_told_in_one_sentence(tmp_path: Path) -> None:
    source = "from IPython.display import display\ndisplay({'application/x': {'a': 1}}, raw=True)"
    told = Told()

    code = run_notebook(request_of(tmp_path, "1", source), told)

    assert code is Exit.CELL_RAISED
    assert told.sentences[-1].startswith("cell 1 showed what a notebook file can't hold: ")


def test_what_was_printed_is_in_the_notebook_however_late_it_comes(tmp_path: Path) -> None:
    """A kernel may stand still between its reply and the last output of the cell."""
    request = request_of(tmp_path, "print('late')")

    code = run_notebook(request, Told(), kernels=_LateManager)

    written: Any = nbformat.read(request.notebook, as_version=4)
    assert code is Exit.DONE
    assert [each.text for each in written.cells[0].outputs] == ["late\n"]
