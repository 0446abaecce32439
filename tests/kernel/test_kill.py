"""Kill -9 at some moment, start another process: state back, the cell finished, no output lost."""

from __future__ import annotations

import sqlite3

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import HELD, printed

pytestmark = pytest.mark.slow


def test_a_killed_kernel_comes_back_with_its_state_and_finishes_the_cell(start: Start) -> None:
    kernel = start()
    kernel.run("x = [1]; import random")
    kernel.run("x.append(random.random()); x")
    before = kernel.run("print(x)").text()
    kernel.run("import time")
    cell = kernel.ask(f"print('step', 0)\n{HELD}time.sleep(0.2)\nprint('step', 1)\n'end'")
    kernel.watch(cell, printed("step 0\n"))
    kernel.kill()
    kernel.let_go()

    kernel.start()
    rest = kernel.wait(cell)
    after = kernel.run("print(x)")

    assert rest.status == "ok"
    assert rest.reply["execution_count"] == 5
    assert "clear_output" in rest.kinds
    assert rest.text() == "step 0\nstep 1\n"
    assert rest.plain() == "'end'"
    assert after.text() == before
    assert after.reply["execution_count"] == 6


def test_numbers_and_histories_of_cells_are_right_after_a_replay(start: Start) -> None:
    kernel = start()
    kernel.run("1 + 1")
    kernel.run("a = 5")
    kernel.run("a * 2")
    kernel.kill()

    kernel.start()
    shown = kernel.run("_, Out, In[1:], _i3, get_ipython().execution_count")

    assert shown.plain() == (
        "(10,\n {1: 2, 3: 10},\n ['1 + 1',\n  'a = 5',\n  'a * 2',\n"
        "  '_, Out, In[1:], _i3, get_ipython().execution_count'],\n 'a * 2',\n 5)"
    )
    assert shown.reply["execution_count"] == 4


def test_a_replay_writes_no_input_into_the_history_database_again(start: Start) -> None:
    kernel = start()
    kernel.run("first = 'only once'")
    kernel.run("second = 2")
    kernel.shut_down(restart=True)
    kernel.start()
    kernel.run("third = 3")

    kernel.shut_down(restart=False)

    with sqlite3.connect(kernel.folder / "ipython/profile_default/history.sqlite") as database:
        rows = [row[0] for row in database.execute("select source_raw from history")]
    database.close()
    assert sorted(rows) == ["first = 'only once'", "second = 2", "third = 3"]


def test_a_cell_that_asked_to_exit_is_not_executed_again(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")
    left = kernel.run("exit")
    assert kernel.process is not None
    kernel.process.wait(timeout=120)

    kernel.start()
    shown = kernel.run("x")

    assert left.status == "ok"
    assert shown.plain() == "1"
    assert shown.reply["execution_count"] == 3


def test_a_graceful_stop_in_the_middle_of_a_cell_leaves_it_to_be_finished(start: Start) -> None:
    kernel = start()
    cell = kernel.ask(f"print('begun', flush=True)\n{HELD}print('done')")
    kernel.watch(cell, printed("begun"))

    kernel.shut_down(restart=False)
    kernel.let_go()
    kernel.start()
    rest = kernel.watch(cell, printed("done\n"))

    assert rest.text().endswith("begun\ndone\n")


def test_an_interrupt_in_a_waiting_effect_is_replayed_there(start: Start) -> None:
    """H16."""
    kernel = start()
    kernel.run("x = 0")
    cell = kernel.ask("x = 1; print('begun', flush=True); input('? '); x = 2", allow_stdin=True)
    assert kernel.client.get_stdin_msg(timeout=120)["content"]["prompt"] == "? "
    kernel.interrupt()
    first = kernel.wait(cell)
    kernel.kill()

    kernel.start()

    assert first.reply["ename"] == "KeyboardInterrupt"
    assert kernel.run("x").plain() == "1"


def test_an_interrupt_of_computing_stops_recovery_where_its_names_cannot_be_kept(
    start: Start,
) -> None:
    """H16."""
    kernel = start()
    kernel.run("x = 0")
    cell = kernel.ask("x = (n for n in [1]); print('begun', flush=True)\nwhile True: pass")
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    kernel.wait(cell)
    kernel.kill()

    kernel.start()
    refused = kernel.run("x")
    chosen = kernel.run("%durable restore --without")
    shown = kernel.run("x")

    assert refused.reply["ename"] == "CutPositionError"
    assert chosen.status == "ok"
    assert shown.plain() == "0"


def test_a_run_answers_the_same_cells_from_its_journal_in_match_mode(start: Start) -> None:
    kernel = start()
    drawn = kernel.run("import random; random.random()").plain()
    kernel.run("print('here')")
    kernel.kill()
    kernel.start(DURABLE_RESUME="match")

    again = kernel.run("import random; random.random()")
    edited = kernel.run("print('there')")
    live = kernel.run("random.random()")

    assert again.plain() == drawn
    assert edited.text() == "there\n"
    assert [again.reply["execution_count"], edited.reply["execution_count"]] == [1, 2]
    assert live.status == "ok"
    assert live.plain() != drawn


def test_a_kernel_killed_while_it_replays_starts_over(start: Start) -> None:
    kernel = start()
    kernel.run("total = 0\nfor i in range(20_000_000): total += i")
    kernel.run("last = total")
    kernel.kill()
    kernel.start()
    kernel.kill()

    kernel.start()

    assert kernel.run("last").plain() == "199999990000000"


def test_an_async_cell_is_finished_too(start: Start) -> None:
    kernel = start()
    kernel.run("import asyncio, os")
    waits = "while not os.path.exists('let go'): await asyncio.sleep(0.02)"
    cell = kernel.ask(f"print('step', 0)\n{waits}\nprint('step', 1)\n'end'")
    kernel.watch(cell, printed("step 0\n"))
    kernel.kill()
    kernel.let_go()

    kernel.start()
    rest = kernel.wait(cell)

    assert rest.text() == "step 0\nstep 1\n"
    assert rest.plain() == "'end'"


def test_tracebacks_are_the_same_in_another_process(start: Start) -> None:
    kernel = start()
    kernel.run("def fails():\n    raise ValueError('always')")
    code = "import traceback\ntry:\n    fails()\nexcept ValueError:\n    traceback.print_exc()"
    before = kernel.run(code).text("stderr")
    kernel.kill()
    kernel.start(DURABLE_RESUME="match")

    kernel.run("def fails():\n    raise ValueError('always')")
    after = kernel.run(code).text("stderr")

    assert "always" in before
    assert after == before
