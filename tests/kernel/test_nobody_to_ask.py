"""An act in doubt in match mode: a person is asked; who takes no questions is told."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel

pytestmark = pytest.mark.slow

_DIES_IN_ITS_ACT = """\
import durable_kernel as durable, os, pathlib
@durable.step
def pay():
    with open('paid', 'a') as file:
        file.write('x')
    os.kill(os.getpid(), 9)
print('paid', pay())
"""


def _died_in_an_act(start: Start) -> LiveKernel:
    kernel = start(DURABLE_RESUME="match")
    kernel.ask(_DIES_IN_ITS_ACT)
    assert kernel.process is not None
    kernel.process.wait(timeout=60)
    kernel.start()
    return kernel


def test_a_client_that_takes_no_questions_is_told_and_its_next_cells_too(start: Start) -> None:
    kernel = _died_in_an_act(start)

    told = kernel.run(_DIES_IN_ITS_ACT, allow_stdin=False)
    refused = kernel.run("open('paid', 'a').write('x')", allow_stdin=False)

    assert told.reply["ename"] == refused.reply["ename"] == "RunSuspendedError"
    assert "--retry` makes the call again" in told.reply["evalue"]
    assert (kernel.folder / "paid").read_text() == "x"


def test_a_person_is_asked_and_the_cell_goes_on_with_the_answer(start: Start) -> None:
    kernel = _died_in_an_act(start)
    cell = kernel.ask(_DIES_IN_ITS_ACT, allow_stdin=True)
    kernel.watch(cell, lambda seen: "announced" in str(seen[1].get("text")))

    resolved = kernel.run("%durable resolve --fail", allow_stdin=True)
    rest = kernel.wait(cell)

    assert resolved.status == "ok"
    assert rest.status == "error"
    assert rest.reply["ename"] != "RunSuspendedError"
    assert (kernel.folder / "paid").read_text() == "x"
