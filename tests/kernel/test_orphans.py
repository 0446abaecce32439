"""Who is ended: the very process that holds the run, and only if what started it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from durable_kernel.kernel.orphans import end_orphan
from durable_kernel.store import current_boot_id

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only on Linux: it has pidfd and /proc"
)


class Processes:
    """Processes that live until the test ends, or that have ended and are not reaped."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def _start(self, code: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def kernel(self, launcher: str) -> subprocess.Popen[bytes]:
        process = self._start("print(flush=True); input()", JPY_PARENT_PID=launcher)
        assert process.stdout is not None
        process.stdout.readline()  # its variables are there
        return process

    def gone(self) -> str:
        process = self._start("")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number stays its own
        return str(process.pid)


@pytest.fixture
def processes() -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(stack)


def _holder(pid: int, *, boot: str = "", started: str = "") -> str:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"pid {pid}, boot {boot or current_boot_id()}, started {started or stat[19]}"


def test_a_kernel_whose_launcher_is_gone_is_ended(processes: Processes) -> None:
    kernel = processes.kernel(processes.gone())

    assert end_orphan(_holder(kernel.pid))
    assert kernel.wait() == -9


@pytest.mark.parametrize("launcher", ["ours", "1", "", "none"])
def test_a_kernel_that_nobody_left_is_not_ended(processes: Processes, launcher: str) -> None:
    kernel = processes.kernel(str(os.getpid()) if launcher == "ours" else launcher)

    assert not end_orphan(_holder(kernel.pid))
    assert kernel.poll() is None


@pytest.mark.parametrize("other", [{"boot": "another"}, {"started": "7"}])
def test_another_process_with_the_same_number_is_not_ended(
    processes: Processes, other: dict[str, str]
) -> None:
    kernel = processes.kernel(processes.gone())

    assert not end_orphan(_holder(kernel.pid, **other))
    assert kernel.poll() is None


def test_a_holder_that_is_not_known_is_nobody() -> None:
    assert not end_orphan("")
    assert not end_orphan(f"pid 4194304, boot {current_boot_id()}, started 7")
