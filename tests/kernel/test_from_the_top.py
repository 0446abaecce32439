"""From the top (H13): after a restart, what is run again in order is answered from the journal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import HELD, LiveKernel, Shown, printed
from tests.kernel.serving import Server, text_of

pytestmark = pytest.mark.slow

COUNTED = "with open('runs.txt', 'a') as f: f.write('x')"


def _run_all(kernel: LiveKernel, *cells: tuple[str, str | None]) -> list[Shown]:
    """Send all cells at once, as Run All does, then collect what they brought."""
    return [kernel.wait(each) for each in kernel.ask_together(*cells)]


def _numbers(shown: list[Shown]) -> list[Any]:
    return [each.reply.get("execution_count") for each in shown]


def test_a_notebook_run_again_in_order_is_answered_from_the_journal(start: Start) -> None:
    """H13."""
    kernel = start()
    first = kernel.run("import random; x = random.random(); print('out'); x")
    second = kernel.run("x = x + 1; x")
    kernel.shut_down(restart=True)
    kernel.start()

    again = kernel.run("import random; x = random.random(); print('out'); x")
    then = kernel.run("x = x + 1; x")
    new = kernel.run("x")

    assert (again.plain(), again.text()) == (first.plain(), "out\n")
    assert then.plain() == second.plain() == new.plain()
    assert [each.reply["execution_count"] for each in (again, then, new)] == [1, 2, 3]
    inputs = [content for kind, content in again.messages if kind == "execute_input"]
    assert [each["execution_count"] for each in inputs] == [1]
    assert again.text("stderr").count("it was not executed again") == 1
    assert "%%live" in again.text("stderr")
    assert "executed again" not in then.text("stderr")


def test_a_single_other_cell_is_live_and_told_on_which_state(start: Start) -> None:
    """H13."""
    kernel = start()
    kernel.run("x = 0")
    kernel.run("x = x + 1")
    kernel.run("x = x + 10")
    kernel.kill()
    kernel.start()

    answered = kernel.run("x = 0")
    out_of_order = kernel.run("x = x + 10")
    after = kernel.run("x")

    assert "not executed again" in answered.text("stderr")
    assert "the state after cell 2" in out_of_order.text("stderr")
    assert "%durable rewind 2" in out_of_order.text("stderr")
    assert after.plain() == "21"
    assert "durable:" not in after.text("stderr")


def test_a_new_cell_after_a_restart_is_told_nothing_of_places(start: Start) -> None:
    kernel = start()
    kernel.run("x = 0")
    kernel.kill()
    kernel.start()

    new = kernel.run("y = x")
    first = kernel.run("x = 0; x")

    assert "rewind" not in new.text("stderr")
    assert "executed again" not in first.text("stderr")


def test_run_all_goes_on_at_the_edited_cell_with_the_state_of_its_place(start: Start) -> None:
    """H13: c1, c2, an aside, and c2 again were run; Run All sends c1, c2, c3."""
    kernel = start()
    kernel.run("x = [1]")
    kernel.run("x.append(2)")
    kernel.run("x.append('aside')")
    kernel.run("x.append(2)")
    kernel.shut_down(restart=True)
    kernel.start()
    process = kernel.process
    assert process is not None

    shown = _run_all(
        kernel, ("x = [1]", None), ("x.append(2)", None), ("x.append(3)", None), ("x", None)
    )

    assert shown[-1].plain() == "[1, 2, 3]"
    assert _numbers(shown) == [1, 2, 3, 4]
    assert "restored in a new process" in shown[2].text("stderr")
    assert process.poll() is None
    assert kernel.run("x.append(4); x").plain() == "[1, 2, 3, 4]"


STEP = f"import durable_kernel as durable\n@durable.step\ndef act():\n    {COUNTED}\n    return 1\n"


def _runs(kernel: LiveKernel) -> int:
    """How often the step was really done."""
    path = Path(kernel.folder / "runs.txt")
    return len(path.read_text()) if path.exists() else 0


def test_run_all_is_refused_where_it_would_leave_an_act_behind(start: Start) -> None:
    """H14."""
    kernel = start()
    kernel.run(STEP)
    kernel.run("x = 1")
    kernel.run("act()")
    kernel.shut_down(restart=True)
    kernel.start()

    shown = _run_all(kernel, (STEP, None), ("x = 2", None), ("act()", None))
    alone = kernel.run("x")

    assert shown[1].reply["ename"] == "BranchRefusedError"
    assert "act" in shown[1].reply["evalue"]
    assert "%durable rewind 1 --repeat-acts" in shown[1].reply["evalue"]
    assert shown[2].status in {"aborted", "error"}
    assert alone.plain() == "1"
    assert _runs(kernel) == 1


def test_a_restart_after_a_refused_run_all_is_no_second_restart(start: Start) -> None:
    """Who ran something wants no clean state, even where nothing of it was executed."""
    kernel = start()
    for cell in ((STEP, "a"), ("x = act()", "b")):
        _run_all(kernel, cell)
    kernel.shut_down(restart=True)
    kernel.start()
    refused = _run_all(kernel, ("pass", "a"), ("x = act()", "b"))
    kernel.shut_down(restart=True)
    kernel.start()

    shown = kernel.run("x")

    assert refused[0].reply["ename"] == "BranchRefusedError"
    assert shown.plain() == "1"


def test_rewind_goes_back_to_the_state_before_a_cell(start: Start) -> None:
    kernel = start()
    kernel.run("x = [1]")
    kernel.run("x.append(2)")
    kernel.run("x.append(3)")

    asked = kernel.run("%durable rewind 1")
    shown = kernel.run("x")

    assert "2 cells are left behind" in asked.plain()
    assert shown.plain() == "[1]"
    assert shown.reply["execution_count"] == 2
    assert "the state before cell 1" in shown.text("stderr")


def test_rewind_lists_the_acts_it_would_leave_behind(start: Start) -> None:
    """H14."""
    kernel = start()
    kernel.run(STEP)
    kernel.run("act()")

    refused = kernel.run("%durable rewind 1")
    kernel.run("%durable rewind 1 --repeat-acts")
    again = kernel.run("%%live\nact()")

    assert refused.reply["ename"] == "BranchRefusedError"
    assert "act" in refused.reply["evalue"]
    assert again.status == "ok"
    assert _runs(kernel) == 2


def test_what_is_run_again_after_a_rewind_repeats_no_call(start: Start) -> None:
    kernel = start()
    kernel.run(STEP)
    kernel.run("act()")
    kernel.run("%durable rewind 1 --repeat-acts")

    again = kernel.run("act()")

    assert again.plain() == "1"
    assert _runs(kernel) == 1


def test_what_was_reused_once_is_live_when_the_cell_is_run_once_more(start: Start) -> None:
    """A cell run a second time makes its calls, as ever: the attempt before has its successor."""
    kernel = start()
    kernel.run(STEP)
    kernel.run("act()")
    kernel.run("%durable rewind 1 --repeat-acts")

    kernel.run("act()")
    kernel.run("act()")

    assert _runs(kernel) == 2


def test_rewind_waits_for_no_running_cell(start: Start) -> None:
    kernel = start()
    cell = kernel.ask("x = input('? ')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=120)

    refused = kernel.run("%durable rewind 0")
    kernel.client.input("7")
    kernel.wait(cell)

    assert refused.reply["ename"] == "UsageError"
    assert kernel.run("x").plain() == "'7'"


def test_a_live_cell_is_executed_again_though_it_is_recorded(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")
    kernel.run("%%live\nx += 1; x")
    kernel.kill()
    kernel.start()

    kernel.run("x = 1")
    again = kernel.run("%%live\nx += 1; x")

    assert again.plain() == "3"


def test_a_live_cell_begins_anew_in_match_mode(start: Start) -> None:
    kernel = start()
    kernel.run("import uuid")
    first = kernel.run("%%live\nuuid.uuid4()").plain()
    kernel.run("y = 1")
    kernel.kill()
    kernel.start(DURABLE_RESUME="match")

    kernel.run("import uuid")
    again = kernel.run("%%live\nuuid.uuid4()").plain()
    later = kernel.run("y = 1")

    assert again != first
    assert later.status == "ok"


def test_run_all_begins_the_mended_cell_anew_where_the_last_one_failed(start: Start) -> None:
    kernel = start()
    kernel.run(STEP)
    kernel.run("x = act(); 1 / 0")
    kernel.shut_down(restart=True)
    kernel.start()

    shown = _run_all(kernel, (STEP, None), ("x = act(); y = x + 1", None), ("y", None))

    assert shown[2].plain() == "2"
    assert _runs(kernel) == 1


def test_an_edited_first_cell_begins_a_branch_and_another_cell_does_not(start: Start) -> None:
    """H13: cells have ids; Run All begins with the first one, running some cells does not."""
    kernel = start()
    for cell in (("x = 1", "a"), ("x += 10", "b"), ("x += 100", "c")):
        _run_all(kernel, cell)
    kernel.kill()
    kernel.start()

    some = _run_all(kernel, ("x += 10", "b"), ("x", "d"))
    kernel.kill()
    kernel.start()
    every = _run_all(kernel, ("x = 2", "a"), ("x += 10", "b"), ("x", "e"))

    assert some[1].plain() == "121"
    assert "%durable rewind 1" in some[0].text("stderr")
    assert every[2].plain() == "12"
    assert _numbers(every) == [1, 2, 3]


def test_the_process_that_takes_over_is_as_the_first_one_was_started(start: Start) -> None:
    kernel = start(DURABLE_RUN="", MARK="of the launcher")
    kernel.run("import os; x = 1")
    kernel.run("os.environ['MARK'] = 'changed'; os.chdir('/')")
    kernel.run("%durable rewind 1")

    shown = kernel.run(
        "os.environ['MARK'], os.getcwd() != '/', x, 'DURABLE_HANDOVER' in os.environ"
    )
    child = kernel.run("!echo of a child")

    assert shown.plain() == "('of the launcher', True, 1, False)"
    assert "of a child" in child.text()
    assert len(list((kernel.folder / "home" / "runs").iterdir())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="two sockets on one port")
def test_the_process_that_takes_over_has_the_ports_of_the_first_one_all_along(
    start: Start,
) -> None:
    """They are kept by what it inherited, and its children inherit nothing of that."""
    kernel = start()
    kernel.run("import os, socket; app = get_ipython().kernel.parent")
    kernel.run("x = 1")
    before = kernel.run("app.kept_ports.descriptors")
    kernel.run("%durable rewind 1")

    after = kernel.run("app.kept_ports.descriptors")
    kept = kernel.run(
        "ports = app.shell_port, app.iopub_port, app.stdin_port, app.control_port, app.hb_port\n"
        "kept = [socket.socket(fileno=os.dup(each)) for each in app.kept_ports.descriptors]\n"
        "print(sorted(each.getsockname()[1] for each in kept) == sorted(ports))\n"
        "print(any(map(os.get_inheritable, app.kept_ports.descriptors)))\n"
        "for each in kept: each.close()"
    )

    assert before.plain() == after.plain()
    assert kept.text("stdout") == "True\nFalse\n"


def test_a_client_that_nobody_watches_goes_on_with_the_state_of_the_place(start: Start) -> None:
    """H13: nbclient waits for each reply, so nothing is queued; it says that it takes no input."""
    kernel = start()
    kernel.run("x = 1")
    kernel.run("x += 10")
    kernel.kill()
    kernel.start()

    kernel.run("x = 1", allow_stdin=False)
    edited = kernel.run("x += 5; x", allow_stdin=False)

    assert edited.plain() == "6"


def test_restoring_stops_where_the_user_says(start: Start) -> None:
    kernel = start()
    kernel.run("x = [0]")
    kernel.run("x.append(1)")
    kernel.run("x.append(2)\ntotal = sum(range(1_000_000))")
    kernel.kill()
    kernel.start(DURABLE_REPLAY_ASK_S="0")

    refused = kernel.run("x")
    nowhere = kernel.run("%durable restore --to 7")
    chosen = kernel.run("%durable restore --to 1")
    shown = kernel.run("x")

    assert "%durable restore" in refused.reply["evalue"]
    assert "none of those" in nowhere.reply["evalue"]
    assert chosen.status == "ok"
    assert shown.plain() == "[0, 1]"
    assert shown.reply["execution_count"] == 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.start()
    yield running
    running.close()


def test_a_server_and_its_websockets_notice_nothing_of_the_replacement(server: Server) -> None:
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    channel.run("x = [1]")
    channel.run("x.append('aside')")
    server.post(f"kernels/{kernel_id}/restart")

    with server.standing_still():
        *_, last = [channel.ask(code) for code in ("x = [1]", "x.append(2)", "x")]
    shown = channel.collect(last, lambda each: each["msg_type"] == "execute_result")
    after = channel.run("x.append(3); x")

    assert text_of(shown).endswith("[1, 2]")
    assert text_of(after) == "[1, 2, 3]"
    assert "KernelRestarter: restarting kernel" not in server.log()
    assert server.get(f"kernels/{kernel_id}")["execution_state"] in {"idle", "busy"}


def test_a_cell_whose_module_was_edited_is_no_answer(start: Start) -> None:
    """H25."""
    kernel = start()
    module = Path(kernel.folder / "helper.py")
    module.write_text("VALUE = 1\n")
    kernel.run("x = 0")
    kernel.run("import helper")
    kernel.run("helper.VALUE")
    kernel.kill()
    module.write_text("VALUE = 22\n")
    kernel.start()

    shown = _run_all(kernel, ("x = 0", None), ("import helper", None), ("helper.VALUE", None))

    assert "helper was edited since cell 1" in shown[1].text("stderr")
    assert shown[2].plain() == "22"


def test_a_rewind_behind_a_reply_finds_the_cell_done(start: Start) -> None:
    """The reply leaves last of all: who has it may ask for what no running cell allows."""
    kernel = start()
    kernel.run("x = [0]")

    asked = []
    for step in range(3):
        kernel.run(f"x.append({step})")
        asked.append(kernel.run("%durable rewind 1"))

    assert [each.status for each in asked] == ["ok"] * 3
    assert kernel.run("x").plain() == "[0]"


def test_a_kill_of_the_process_that_took_over_repeats_nothing(start: Start) -> None:
    kernel = start()
    kernel.run(STEP)
    kernel.run("x = 1")
    kernel.shut_down(restart=True)
    kernel.start()
    waits = f"print('begun', flush=True)\n{HELD}act(); print('done')"
    asked = kernel.ask_together((STEP, None), ("x = 2; act()", None), (waits, None))
    kernel.watch(asked[-1], printed("begun"))
    kernel.kill()
    kernel.let_go()

    kernel.start()
    rest = kernel.watch(asked[-1], printed("done\n"))
    shown = kernel.run("x")

    assert rest.text().endswith("begun\ndone\n")
    assert shown.plain() == "2"
    assert _runs(kernel) == 2


def test_a_cell_that_asked_to_exit_is_passed_over(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")
    kernel.run("exit")
    assert kernel.process is not None
    kernel.process.wait(timeout=120)
    kernel.start()
    kernel.run("x += 1; x")
    kernel.kill()
    kernel.start()

    shown = _run_all(kernel, ("x = 1", None), ("x += 1; x", None), ("x", None))

    assert [each.plain() for each in shown] == ["", "2", "2"]


def test_a_stopped_restoration_can_be_rewound(start: Start) -> None:
    """H16: what an interrupted cell left can't be kept, nor the cell repeated; one goes back."""
    kernel = start()
    kernel.run("x = 0")
    kernel.run("x = 1")
    cell = kernel.ask("x = (n for n in [2]); print('begun', flush=True)\nwhile True: pass")
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    kernel.wait(cell)
    kernel.kill()
    kernel.start()
    refused = kernel.run("x")

    asked = kernel.run("%durable rewind 1")
    shown = kernel.run("x")

    assert refused.reply["ename"] == "CutPositionError"
    assert asked.status == "ok"
    assert shown.plain() == "0"


def test_a_process_that_cannot_start_itself_anew_refuses_all_that_waits(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter is gone (an environment that was deleted): told, and nothing is executed."""
    python, interpreter = sys.executable, tmp_path / "python"
    interpreter.symlink_to(python)
    path = os.pathsep.join(each for each in sys.path if each)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    kernel = start(PYTHONPATH=path)
    kernel.run("x = [1]")
    kernel.run("x.append(2)")
    interpreter.unlink()

    shown = _run_all(kernel, ("%durable rewind 1", None), ("x.append(3)", None), ("x", None))
    interpreter.symlink_to(python)
    kernel.shut_down(restart=True)
    kernel.start()
    after = kernel.run("x")

    assert shown[1].reply["ename"] == "RunSuspendedError"
    assert "could not start itself anew" in shown[1].reply["evalue"]
    assert shown[2].status in {"aborted", "error"}
    assert after.plain() == "[1]"
