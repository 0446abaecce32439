"""`%durable fork` and `%durable at` in a running kernel: it goes on as if nobody had asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from durable_kernel.history import Outline, RecordCodec
from durable_kernel.store import Store
from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed
from tests.kernel.serving import Server, text_of

pytestmark = pytest.mark.slow


def _store(kernel: LiveKernel) -> Store:
    return Store(kernel.folder / "home")


def _fork_of(kernel: LiveKernel) -> str:
    (found,) = [each.run_id for each in _store(kernel).all() if each.run_id != "nightly"]
    return found


def test_a_running_kernel_is_forked_and_both_go_on(start: Start) -> None:
    kernel = start()
    kernel.run("import random\nx = random.random()")
    kernel.run("y = random.random()")

    told = kernel.run("%durable fork --at 1 --notebook other.ipynb")
    mine = kernel.run("x")
    fork = _fork_of(kernel)
    kernel.kill()
    kernel.start(DURABLE_RUN=fork)
    theirs = kernel.run("x")
    drawn = kernel.run("random.random(), 'y' in globals()")

    assert told.status == "ok"
    assert f"run {fork} is forked from nightly, before cell 1." in told.plain()
    assert theirs.plain() == mine.plain()
    assert "this run was forked from nightly, before cell 1" in theirs.text("stderr")
    assert "The kernel before this one" not in theirs.text("stderr")
    assert drawn.plain().endswith("False)")
    copy = json.loads((kernel.folder / "other.ipynb").read_text())
    assert copy["metadata"]["durable"]["run_id"] == fork


def test_a_fork_among_other_code_is_no_act_of_the_cell(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")

    shown = kernel.run("y = 2\n%durable fork --notebook other.ipynb\nz = 3")

    assert shown.status == "ok"
    assert "cell 1 is not finished in the parent" in shown.plain()
    outline = Outline.of(_store(kernel).frames(_store(kernel).place("nightly")), RecordCodec())
    assert [each.crossings for each in outline.positions] == [[], []]
    kernel.kill()
    kernel.start()
    assert kernel.run("y + z").plain() == "5"
    assert _fork_of(kernel)


def test_the_past_can_be_asked_while_the_kernel_goes_on(start: Start) -> None:
    kernel = start()
    kernel.run("x = {'a b': [1]}")
    kernel.run("x['a b'].append(2)")

    then = kernel.run("%durable at 0 x['a b']")
    names = kernel.run("%durable at 0")
    now = kernel.run("x['a b']")
    acting = kernel.run("%durable at 1 open('made.txt', 'w')")
    nowhere = kernel.run("%durable at 7 x")

    assert then.plain() == "[1]"
    assert "dict" in names.plain()
    assert now.plain() == "[1, 2]"
    assert "looking into the past does nothing" in acting.reply["evalue"]
    assert not (kernel.folder / "made.txt").exists()
    assert nowhere.reply["evalue"] == "there is no cell 7: the run has the cells 0 to 2."


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%durable re", {"resolve", "restore", "retry", "rewind"}),
        ("%durable fresh ", {"--undo"}),
        ("%durable fork --at 1 ", {"--notebook"}),
    ],
)
def test_what_may_follow_is_completed(start: Start, line: str, expected: set[str]) -> None:
    kernel = start()
    kernel.run("x = 1")

    content = kernel.reply_to(kernel.client.complete(line, len(line)))

    assert expected <= set(content["matches"])


def test_a_server_opens_the_notebook_of_a_fork_with_its_state(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        parent = server.connect(server.open_notebook("story.ipynb"))
        parent.run("import uuid; x = uuid.uuid4().hex")
        parent.run("y = 1")
        told = text_of(parent.run("%durable fork --at 1 --notebook other.ipynb"))

        fork = server.connect(server.open_notebook("other.ipynb"))
        theirs = text_of(fork.run("x, 'y' in globals()"))
        mine = text_of(parent.run("x, 'y' in globals()"))
    finally:
        server.close()

    assert "before cell 1" in told
    assert theirs.replace("False", "True") == mine


def test_what_is_asked_beside_a_running_cell_is_no_act_of_it(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")
    waiting = "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go'):"
    cell = kernel.ask(f"{waiting} time.sleep(0.1)")
    kernel.watch(cell, printed("begun"))

    then = kernel.run("%durable at 0 x")
    forked = kernel.run("%durable fork --notebook other.ipynb")
    (kernel.folder / "go").touch()
    ended = kernel.wait(cell)

    assert ended.status == "ok"
    assert then.plain() == "1"
    assert "cell 1 is not finished in the parent" in forked.plain()
    outline = Outline.of(_store(kernel).frames(_store(kernel).place("nightly")), RecordCodec())
    assert [each.crossings for each in outline.positions] == [[], []]
