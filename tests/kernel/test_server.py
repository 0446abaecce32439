"""Under a real server: kill -9, autorestart, rename, a new server. The notebook's run is found."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.serving import Channel, Server, errors_of, is_idle, text_of, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.start()
    yield running
    running.close()


def _pid(channel: Channel) -> int:
    words = text_of(channel.run("%durable status")).split()
    return int(words[words.index("kernel_pid") + 1])


def _kill(server: Server, kernel_id: str, pid: int) -> None:
    """Kill the kernel, and wait until its server noticed."""
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: "KernelRestarter: restarting kernel" in server.log(),
        "no autorestart",
        server.log,
    )


def test_a_killed_kernel_is_restarted_and_its_cell_is_finished(
    server: Server, tmp_path: Path
) -> None:
    """The replay stays in its second cell, and the third one goes on, until the test has looked."""
    stay, go = tmp_path / "stay", tmp_path / "go"
    kernel_id = server.open_notebook("sub/fetch.ipynb")
    channel = server.connect(kernel_id)
    channel.run("import os, time; x = 7")
    channel.run(f"y = 8\nwhile os.path.exists({str(stay)!r}): pass")
    cell = channel.ask(
        f"print('step 0', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
        "print('step 1')\nx"
    )
    channel.collect(cell, lambda each: "step 0" in each["content"].get("text", ""))
    killed = _pid(channel)
    stay.touch()

    _kill(server, kernel_id, killed)
    another = server.connect(kernel_id)
    asked = another.ask_info()
    another.collect(asked, lambda each: each["msg_type"] == "kernel_info_reply")
    state = text_of(another.run("%durable status"))
    wait_until(
        lambda: server.get(f"kernels/{kernel_id}")["execution_state"] == "busy",
        "a kernel that restores is not busy",
        server.log,
    )
    stay.unlink()
    go.touch()
    rest = channel.collect(cell, is_idle)

    assert "live" not in state  # all of these were answered while the replay computed
    assert text_of(rest).endswith("step 0\nstep 1\n7")
    assert text_of(another.run("y")) == "8"
    assert _pid(another) != killed


def test_a_user_restart_brings_the_state_back(server: Server) -> None:
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")

    server.post(f"kernels/{kernel_id}/restart")
    shown = channel.run("x")

    assert text_of(shown) == "7"


def test_a_renamed_notebook_keeps_its_run_over_a_restart_of_the_server(server: Server) -> None:
    kernel_id = server.open_notebook("before.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 'kept'")
    session = server.get("sessions")[0]["id"]
    server.patch(f"sessions/{session}", {"path": "after.ipynb", "name": "after.ipynb"})
    server.post(f"kernels/{kernel_id}/restart")
    channel.run("y = 1")
    server.stop()
    server.start()

    channel = server.connect(server.open_notebook("after.ipynb"))
    shown = channel.run("x, y")

    assert text_of(shown) == "('kept', 1)"


def test_notebooks_have_runs_of_their_own(server: Server) -> None:
    first = server.connect(server.open_notebook("one.ipynb"))
    second = server.connect(server.open_notebook("two.ipynb"))
    first.run("x = 1")

    shown = second.run("'x' in globals()")

    assert text_of(shown) == "False"


STEPS = "import time\nprint('begun', flush=True)\ntime.sleep({})\ny = 'done'"


def _begin(server: Server, path: str) -> int:
    """Let a notebook have a state and a cell that runs. Returns the kernel's process id."""
    channel = server.connect(server.open_notebook(path))
    channel.run("x = 7")
    pid = _pid(channel)
    cell = channel.ask(STEPS.format(2))
    channel.collect(cell, lambda each: "begun" in each["content"].get("text", ""))
    return pid


def test_a_server_that_was_stopped_leaves_its_cell_to_be_finished(server: Server) -> None:
    _begin(server, "a.ipynb")
    server.stop()
    server.start()

    channel = server.connect(server.open_notebook("a.ipynb"))

    assert text_of(channel.run("x, y")) == "(7, 'done')"


def test_a_server_that_was_killed_leaves_its_cell_to_be_finished(server: Server) -> None:
    pid = _begin(server, "a.ipynb")
    server.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the kernel outlived its server")
    server.start()

    channel = server.connect(server.open_notebook("a.ipynb"))

    assert text_of(channel.run("x, y")) == "(7, 'done')"


def test_a_restart_by_the_user_leaves_the_cell_to_him(server: Server) -> None:
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = 7")
    cell = channel.ask(STEPS.format(600))
    channel.collect(cell, lambda each: "begun" in each["content"].get("text", ""))

    server.post(f"kernels/{kernel_id}/restart")
    shown = channel.run("x, 'y' in globals()")

    assert text_of(shown) == "(7, False)"
    assert "was not finished by itself" in errors_of(shown)


def test_a_culled_kernel_is_restored_when_its_notebook_is_opened_again(tmp_path: Path) -> None:
    """Its state is from before it is opened there: a busy machine may cull it while it starts."""
    manager = "--MappingKernelManager.cull"
    server = Server(tmp_path)
    server.start()
    try:
        server.connect(server.open_notebook("a.ipynb")).run("x = 7")
        server.stop()
        server.start(f"{manager}_idle_timeout=2", f"{manager}_interval=1")
        server.open_notebook("a.ipynb")
        wait_until(lambda: server.get("kernels") == [], "the kernel is not culled", server.log)
        server.stop()
        server.start()  # one that does not cull the next one, too

        channel = server.connect(server.open_notebook("a.ipynb"))

        assert text_of(channel.run("x")) == "7"
    finally:
        server.close()


def test_a_notebook_that_was_renamed_under_a_running_kernel_is_known_to_a_new_server(
    server: Server,
) -> None:
    """Its kernel never heard of the new name, and the new server gives another kernel id."""
    sources = ("x = 'kept'", "y = [x, x]")
    server.write_notebook("before.ipynb", *sources)
    channel = server.connect(server.open_notebook("before.ipynb"))
    for source in sources:
        channel.run(source)
    server.patch("contents/before.ipynb", {"path": "after.ipynb"})
    session = server.get("sessions")[0]["id"]
    server.patch(f"sessions/{session}", {"path": "after.ipynb", "name": "after.ipynb"})
    server.stop()
    server.start()

    shown = server.connect(server.open_notebook("after.ipynb")).run("y")

    assert text_of(shown) == "['kept', 'kept']"
    assert "knew this notebook as" in errors_of(shown)


def test_a_copied_notebook_starts_its_own_run_and_says_so(server: Server) -> None:
    sources = ("x = 'kept'", "y = [x, x]")
    server.write_notebook("a.ipynb", *sources)
    channel = server.connect(server.open_notebook("a.ipynb"))
    for source in sources:
        channel.run(source)
    copy = server.post("contents", {"copy_from": "a.ipynb"})["path"]

    shown = server.connect(server.open_notebook(copy)).run("'x' in globals()")

    assert text_of(shown) == "False"
    assert "this notebook is a copy of" in errors_of(shown)
