"""How a kernel can end, and what the next one does by itself: the rows of the guide's table."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from durable_kernel.history import Outline
from durable_kernel.runtime import records_of
from durable_kernel.runtime.vitals import Doing, read_signs
from durable_kernel.store import Store
from tests.kernel.conftest import Start
from tests.kernel.live import HELD, LiveKernel, printed
from tests.kernel.serving import cpu_s, wait_until

pytestmark = pytest.mark.slow

STEPS = f"print('begun', flush=True)\n{HELD}print('done', flush=True)"

HANGS = "import time\nprint('begun', flush=True)\ntime.sleep(0.2)\nsum(range(10**11))"

STAYS = "import os\ntotal = 0\nwhile os.path.exists('stay'): total += 1"
"""Done at once, and on replay not before the file is gone."""

CLOCK = """
import os, time
ahead_s = int(os.environ.get("AHEAD_S", "0"))
then, then_ns = time.monotonic, time.monotonic_ns
time.monotonic = lambda: then() + ahead_s
time.monotonic_ns = lambda: then_ns() + ahead_s * 10**9
"""

LAUNCHER = (
    "import os, subprocess, sys\n"
    "os.environ['JPY_PARENT_PID'] = str(os.getpid())\n"
    "subprocess.run(sys.argv[1:])"
)


def _outline(kernel: LiveKernel, run_id: str = "nightly") -> Outline:
    """Read what the journal holds."""
    store = Store(kernel.folder / "home")
    records = records_of(store, run_id, with_objects=False)
    return Outline.of(store.frames(store.place(run_id)), records)


def _begun(start: Start, code: str = STEPS) -> tuple[LiveKernel, str]:
    """Start a kernel with a state, and a cell that runs."""
    kernel = start()
    kernel.run("x = 7")
    cell = kernel.ask(code)
    kernel.watch(cell, printed("begun"))
    return kernel, cell


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kernel_that_was_killed_finishes_its_cell(start: Start, number: int) -> None:
    kernel, cell = _begun(start)
    assert kernel.process is not None
    kernel.process.send_signal(number)
    kernel.process.wait(timeout=60)

    kernel.start()
    kernel.let_go()
    rest = kernel.wait(cell)

    assert rest.text().endswith("begun\ndone\n")
    assert "it was killed" in rest.text("stderr") + kernel.run("x").text("stderr")
    assert kernel.run("x").plain() == "7"
    assert [each.shutdown for each in _outline(kernel).lives] == [None, None]


def test_a_kernel_that_was_shut_down_finishes_its_cell(start: Start) -> None:
    """What a shutdown, a cull and a stop of the server send is the same."""
    kernel, cell = _begun(start)
    kernel.shut_down(restart=False)

    kernel.start()
    kernel.let_go()
    rest = kernel.watch(cell, printed("done"))

    assert rest.text().endswith("begun\ndone\n")
    first = _outline(kernel).lives[0]
    assert first.shutdown is not None
    assert not first.was_restarted


def test_a_restart_leaves_the_interrupted_cell_to_the_user(start: Start) -> None:
    kernel, _ = _begun(start)
    kernel.shut_down(restart=True)

    kernel.start()
    first = kernel.run("x")
    kernel.let_go()
    again = kernel.run(STEPS)

    assert first.plain() == "7"
    assert first.text("stderr").count("was not finished by itself") == 1
    assert "done" not in first.text()
    assert again.text() == "begun\ndone\n"
    assert _outline(kernel).lives[0].was_restarted


def test_a_cell_that_was_left_to_the_user_reuses_what_it_had_recorded(start: Start) -> None:
    code = (
        "import durable_kernel as durable\n@durable.step\ndef draw():\n    import uuid\n"
        "    return str(uuid.uuid4())\n"
        f"first = draw()\nprint('begun', first, flush=True)\n{HELD}"
    )
    kernel, _ = _begun(start, code)
    drawn = _outline(kernel).positions[-1].announced
    kernel.shut_down(restart=True)
    kernel.start()
    kernel.let_go()

    kernel.run(code)

    last = _outline(kernel).positions[-1]
    assert drawn
    assert last.reused == 1


def test_a_second_restart_gives_a_clean_state_and_tells_the_way_back(start: Start) -> None:
    kernel = start()
    kernel.run("x = 7")
    kernel.shut_down(restart=True)
    kernel.start()
    kernel.shut_down(restart=True)

    kernel.start()
    told = kernel.run("'x' in globals()")
    undone = kernel.run("%durable fresh --undo")
    back = kernel.run("x")

    assert told.plain() == "False"
    assert "nightly, is archived and nothing of it is deleted" in told.text("stderr")
    assert "run nightly is back" in undone.plain()
    assert back.plain() == "7"


def test_a_second_restart_during_the_replay_gives_a_clean_state(start: Start) -> None:
    kernel = start()
    kernel.run(STAYS)
    kernel.shut_down(restart=True)
    (kernel.folder / "stay").touch()
    kernel.start()
    wait_until(partial(_is_restoring, kernel, 0, epoch=2), "no replay", kernel.log)
    kernel.shut_down(restart=True)

    kernel.start()
    told = kernel.run("'total' in globals()")

    assert told.plain() == "False"
    assert "%durable fresh --undo" in told.text("stderr")


def test_a_cell_that_kills_its_process_is_not_executed_a_third_time(start: Start) -> None:
    """H36."""
    kernel = start()
    kernel.run("x = 7")
    kernel.ask("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert kernel.process is not None
    kernel.process.wait(timeout=60)
    _start_and_die(kernel)

    kernel.start()
    told = kernel.run("x")

    assert told.plain() == "7"
    assert "ended its process 2 times in a row" in told.text("stderr")
    assert kernel.run("'corrected'").plain() == "'corrected'"


def _start_and_die(kernel: LiveKernel) -> None:
    """Start a process whose resumed cell ends it."""
    assert kernel.client is not None
    process = kernel.spawn()
    assert process.wait(timeout=60) == -signal.SIGKILL


def test_a_hung_cell_that_was_stopped_is_left_to_the_user(start: Start) -> None:
    """It holds the GIL: no shutdown request is seen, and the stop ends in a signal that kills."""
    kernel, _ = _begun(start, HANGS)
    assert kernel.process is not None
    pid = kernel.process.pid
    begun_s = cpu_s(pid)
    wait_until(lambda: cpu_s(pid) > begun_s + 0.5, "it does not compute")
    kernel.interrupt()
    kernel.client.shutdown(restart=True)
    folder = kernel.folder / "home/runs/nightly"  # a server waits 2.5 s with the next signal
    wait_until(lambda: bool(read_signs(folder).unheard), "the signal left no trace")
    kernel.process.terminate()
    kernel.process.wait(timeout=60)

    kernel.start()
    told = kernel.run("x")

    assert told.plain() == "7"
    assert "was not finished by itself" in told.text("stderr")
    assert _outline(kernel).lives[0].shutdown is None


def test_a_kernel_whose_parent_is_gone_leaves_its_cell_to_be_finished(start: Start) -> None:
    kernel = start()
    kernel.shut_down(restart=False)
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *kernel.command()],
        env=kernel.environ(),
        cwd=kernel.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kernel.adopt(launcher)
    pid = int(kernel.run("import os; os.getpid()").plain())
    cell = kernel.ask(STEPS)
    kernel.watch(cell, printed("begun"))
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the kernel outlived its launcher")

    kernel.start()
    kernel.let_go()
    rest = kernel.wait(cell)

    assert rest.text().endswith("begun\ndone\n")


def test_a_replay_that_kills_its_process_three_times_at_one_cell_stops(start: Start) -> None:
    kernel = start()
    kernel.run("x = 7")
    kernel.run(STAYS)
    kernel.kill()
    (kernel.folder / "stay").touch()
    for processes in (2, 3, 4):
        process = kernel.spawn()
        is_there = partial(_is_restoring, kernel, 1, epoch=processes)
        wait_until(is_there, "no replay", kernel.log)
        process.kill()
        process.wait()

    kernel.start()
    refused = kernel.run("x")
    (kernel.folder / "stay").unlink()
    kernel.run("%durable restore")
    shown = kernel.run("x")

    assert "3 processes in a row died while cell 1" in refused.reply["evalue"]
    assert shown.plain() == "7"


def _is_restoring(kernel: LiveKernel, position: int, epoch: int) -> bool:
    """Tell whether the process of this epoch executes this cell again."""
    signs = read_signs(kernel.folder / "home/runs/nightly")
    is_it = signs.epoch == epoch and signs.position == position
    return is_it and signs.doing is Doing.RESTORING


def test_a_start_waits_no_longer_than_its_clients_need_to_come_back(start: Start) -> None:
    """They come while IPython is still being loaded: who looks later waits 5 s for nobody."""
    kernel = start()
    kernel.run("x = 1")
    kernel.kill()
    kernel.start()

    began = time.monotonic()
    shown = kernel.run("x")

    assert shown.plain() == "1"
    assert time.monotonic() - began < 4


def test_a_doubt_is_told_at_once_however_long_nobody_was_there(
    start: Start, tmp_path: Path
) -> None:
    """H15: timers from before the run was open would wait for all that time, here an hour."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    kernel = start(PYTHONPATH=str(tmp_path))
    kernel.run("import durable_kernel as durable, os, signal")
    asked = kernel.ask(
        "@durable.step\ndef act(): os.kill(os.getpid(), signal.SIGKILL)\nact()", allow_stdin=True
    )
    assert kernel.process is not None
    kernel.process.wait(timeout=60)

    kernel.start(AHEAD_S="3600")
    told = kernel.watch(asked, printed("and the process died before"))

    assert "announced" in told.text("stderr")
