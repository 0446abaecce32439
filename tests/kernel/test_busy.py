"""While the main thread is busy: kernel info, %durable lines, the wait of others (H35)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed

pytestmark = pytest.mark.slow

COMPUTES = "import os\ntotal = sum(range(1000))\nwhile not os.path.exists('let go'): pass"
"""No effect is in it, so its replay takes as long as the file is not there."""


def _spun(start: Start) -> LiveKernel:
    """A killed kernel whose replay computes until it is let go."""
    kernel = start()
    kernel.let_go()
    kernel.run(COMPUTES)
    kernel.run("spun = total")
    kernel.kill()
    kernel.hold_again()
    return kernel


def test_kernel_info_is_answered_at_once_while_a_replay_computes(start: Start) -> None:
    kernel = _spun(start)

    kernel.start()
    waiting = kernel.ask("spun")
    asked = kernel.client.kernel_info()
    answered: list[str] = []
    while asked not in answered:  # those that were sent while the process came up are answered too
        answered.append(kernel.client.get_shell_msg(timeout=120)["parent_header"]["msg_id"])
    status = kernel.run("%durable status")
    kernel.let_go()
    shown = kernel.wait(waiting)

    assert waiting not in answered
    assert "restoring" in status.plain() or "replaying" in status.plain()
    assert shown.plain() == "499500"


def test_a_request_that_waits_for_the_replay_shows_its_progress(start: Start) -> None:
    kernel = _spun(start)
    kernel.start()

    waiting = kernel.ask("spun")
    begun = kernel.watch(waiting, lambda seen: seen[0] == "display_data")
    kernel.let_go()
    ended = kernel.wait(waiting)

    outputs = [*begun.outputs, *ended.outputs]
    texts = [content["data"]["text/plain"] for _, content in outputs if "data" in content]
    assert outputs[0][0] == "display_data"
    assert texts[0].startswith("restoring: cell 1 of 2\n2 cells")
    assert texts[-2].startswith("restored 2 cells; 0 recorded calls were answered")
    assert texts[-1] == "499500"


def test_durable_lines_are_answered_while_a_cell_runs(start: Start, tmp_path: Path) -> None:
    """The cell runs until it is told, behind the answers, that it may end."""
    kernel = start()
    answered = tmp_path / "answered"
    busy = kernel.ask(
        "import os, time\nprint('begun', flush=True)\n"
        f"while not os.path.exists({str(answered)!r}): time.sleep(0.05)"
    )
    kernel.watch(busy, printed("begun"))

    status = kernel.run("%durable status")
    plan = kernel.run("%durable plan\n%durable log -n 1")
    wrong = kernel.run("%durable nonsense")
    answered.touch()
    shown = kernel.wait(busy)

    assert "nightly" in status.plain()
    assert plan.kinds == ["display_data", "display_data"]
    assert wrong.reply["ename"] == "UsageError"
    assert shown.reply["execution_count"] == 1


def test_durable_lines_take_no_number_and_are_no_positions(start: Start) -> None:
    kernel = start()
    kernel.run("%durable status")
    first = kernel.run("1")
    kernel.run("%durable log")
    kernel.kill()

    kernel.start()
    second = kernel.run("2")

    assert [first.reply["execution_count"], second.reply["execution_count"]] == [1, 2]


def test_an_interrupt_during_a_replay_stops_it_and_says_so(start: Start) -> None:
    kernel = _spun(start)
    kernel.start()
    kernel.wait_for_restoring(0)

    kernel.interrupt()
    refused = kernel.run("spun")
    kernel.let_go()
    chosen = kernel.run("%durable restore")
    shown = kernel.run("spun")

    assert refused.reply["ename"] == "RunSuspendedError"
    assert "interrupted at cell 0" in refused.reply["evalue"]
    assert chosen.status == "ok"
    assert shown.plain() == "499500"


def test_running_the_interrupted_cell_again_attaches_to_it(start: Start) -> None:
    kernel = start()
    kernel.run("import time")
    code = (
        "from pathlib import Path\n"
        "for i in range(3):\n    print('step', i, flush=True)\n"
        "    while i == 1 and not Path('go').exists(): time.sleep(0.05)\n'end'"
    )
    first = kernel.ask(code)
    kernel.watch(first, printed("step 1\n"))
    kernel.kill()
    kernel.start()

    again = kernel.ask(code)
    shown = kernel.watch(again, printed("step 1\n"))
    (kernel.folder / "go").touch()
    rest = kernel.wait(again)
    count = kernel.run("1").reply["execution_count"]

    assert shown.text() + rest.text() == "step 0\nstep 1\nstep 2\n"
    assert rest.plain() == "'end'"
    assert rest.status == "ok"
    assert rest.reply["execution_count"] == 2
    assert count == 3


def test_a_resumed_cell_asks_the_client_that_attaches_for_input(start: Start) -> None:
    kernel = start()
    code = "first = input('a? ')\nsecond = input('b? ')\nfirst + second"
    kernel.ask(code, allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=120)
    kernel.client.input("typed before ")
    assert kernel.client.get_stdin_msg(timeout=120)["content"]["prompt"] == "b? "
    kernel.kill()
    kernel.start()

    again = kernel.ask(code, allow_stdin=True)
    kernel.watch(again, lambda seen: seen[0] == "execute_input")  # else the answer may overtake it
    prompts = [kernel.client.get_stdin_msg(timeout=120)["content"]["prompt"]]
    kernel.client.input("the kill")
    shown = kernel.wait(again)

    assert prompts == ["b? "]
    assert shown.plain() == "'typed before the kill'"


def test_a_kernel_whose_run_is_locked_refuses_cells_in_one_sentence(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    first.run("x = 1")

    second = start("b", DURABLE_HOME=str(first.folder / "home"))
    refused = second.run("x = 2")
    status = second.run("%durable status")

    assert refused.reply["ename"] == "RunLockedError"
    assert "another process is writing this run" in refused.reply["evalue"]
    assert "RunLockedError" in status.plain()
    assert first.run("x").plain() == "1"


def test_a_subshell_is_refused(start: Start) -> None:
    kernel = start()

    message = kernel.client.session.msg("create_subshell_request")
    kernel.client.control_channel.send(message)
    reply = kernel.client.get_control_msg(timeout=120)

    assert reply["content"]["status"] == "error"
