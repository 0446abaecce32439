"""What a server does to a kernel: restart, twice, interrupt, shut down; and what it finds dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.serving import Channel, Server, cpu_s, errors_of, is_idle, text_of, wait_until

pytestmark = pytest.mark.slow

STEPS = "import time\nprint('begun', flush=True)\ntime.sleep({})\ny = 'done'"
HANGS = "import time\nprint('begun', flush=True)\ntime.sleep(0.2)\nsum(range(10**11))"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.start()
    yield running
    running.close()


def _begun(server: Server, code: str) -> tuple[str, Channel, str]:
    """Let a notebook have a state, and a cell that runs. Returns kernel, channel and request."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    cell = channel.ask(code)
    channel.collect(cell, lambda each: "begun" in each["content"].get("text", ""))
    return kernel_id, channel, cell


def _pid(channel: Channel) -> int:
    words = text_of(channel.run("%durable status")).split()
    return int(words[words.index("kernel_pid") + 1])


def _wait_for_restarts(server: Server, count: int) -> None:
    wait_until(
        lambda: server.log().count("KernelRestarter: restarting kernel") >= count,
        "no autorestart",
        server.log,
    )


def test_a_second_restart_gives_a_clean_run_and_the_first_one_comes_back(server: Server) -> None:
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    server.post(f"kernels/{kernel_id}/restart")
    wait_until(lambda: server.lives() == 2, "it is not there again", server.log)
    server.post(f"kernels/{kernel_id}/restart")

    clean = channel.run("'x' in globals()")
    undone = channel.run("%durable fresh --undo")
    server.post(f"kernels/{kernel_id}/restart")
    back = channel.run("x")

    assert text_of(clean) == "False"
    assert "is archived and nothing of it is deleted" in errors_of(clean)
    assert "is back" in text_of(undone)
    assert text_of(back) == "7"


def test_an_interrupt_ends_the_cell_and_is_restored_as_it_was(server: Server) -> None:
    """H16: it landed in a waiting effect."""
    kernel_id, channel, cell = _begun(server, STEPS.format(60))
    server.post(f"kernels/{kernel_id}/interrupt")
    ended = channel.collect(cell, is_idle)
    pid = _pid(channel)
    os.kill(pid, signal.SIGKILL)
    _wait_for_restarts(server, 1)

    shown = channel.run("x, 'y' in globals()")

    assert any(each["content"].get("ename") == "KeyboardInterrupt" for each in ended)
    assert text_of(shown) == "(7, False)"


def test_a_kernel_that_was_shut_down_finishes_its_cell_when_it_is_opened_again(
    server: Server,
) -> None:
    """What a session's end and "Shut down" send; the next kernel has another id."""
    kernel_id, _, _ = _begun(server, STEPS.format(2))
    session = server.get("sessions")[0]["id"]
    server.delete(f"sessions/{session}")
    again = server.open_notebook("a.ipynb")

    shown = server.connect(again).run("x, y")

    assert again != kernel_id
    assert text_of(shown) == "(7, 'done')"


def test_a_hung_cell_that_is_restarted_is_left_to_the_user(server: Server) -> None:
    """It holds the GIL: the server waits, then sends SIGTERM. Its SIGINT left a trace."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    pid = _pid(channel)
    cell = channel.ask(HANGS)
    channel.collect(cell, lambda each: "begun" in each["content"].get("text", ""))
    begun_s = cpu_s(pid)
    wait_until(lambda: cpu_s(pid) > begun_s + 0.5, "it does not compute")

    server.post(f"kernels/{kernel_id}/restart")
    shown = channel.run("x")

    assert text_of(shown) == "7"
    assert "was not finished by itself" in errors_of(shown)


def test_a_frozen_kernel_that_is_restarted_finishes_its_cell(server: Server) -> None:
    """SIGSTOP: it hears nothing and leaves no trace, so this is as after kill -9."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    pid = _pid(channel)
    cell = channel.ask(STEPS.format(1))
    channel.collect(cell, lambda each: "begun" in each["content"].get("text", ""))
    os.kill(pid, signal.SIGSTOP)

    server.post(f"kernels/{kernel_id}/restart")
    shown = channel.run("x, y")

    assert text_of(shown) == "(7, 'done')"


def test_a_cell_that_kills_its_kernel_twice_is_left_and_the_kernel_stays(server: Server) -> None:
    """H36: the server would start it five times, and then take it away."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    channel.ask("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    _wait_for_restarts(server, 2)

    shown = channel.run("x")

    assert text_of(shown) == "7"
    assert "ended its process 2 times in a row" in errors_of(shown)
    assert server.get(f"kernels/{kernel_id}")["id"] == kernel_id
    assert server.log().count("KernelRestarter: restarting kernel") == 2


def test_a_cell_that_leaves_is_not_executed_again(server: Server) -> None:
    """A replayed `exit` would be a loop of restarts."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    channel.run("exit")
    _wait_for_restarts(server, 1)

    shown = channel.run("x")

    assert text_of(shown) == "7"
    assert server.log().count("KernelRestarter: restarting kernel") == 1
