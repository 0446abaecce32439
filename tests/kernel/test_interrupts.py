"""Ctrl-C, a signal, and a kill -9 afterwards: the state is what it was, or the run says why not."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed

pytestmark = pytest.mark.slow

ROWS = "rows = [{'n': n} for n in range(5)]\nclass Sum:\n    total = 0"
COMPUTES = (
    "first = rows[0]\nmine = Sum()\nprint('begun', flush=True)\n"
    "while True:\n    first['n'] += 1; Sum.total += 1\n"
)
LOOK = "first is rows[0], first['n'] == Sum.total, isinstance(mine, Sum), first['n'], In[2][:5]"


def interrupted(kernel: LiveKernel, code: str) -> None:
    """Run a cell until it printed `begun`, and send SIGINT. Waits for its end."""
    cell = kernel.ask(code)
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    assert kernel.wait(cell).reply["ename"] == "KeyboardInterrupt"


def test_what_an_interrupted_loop_left_is_there_again_after_a_kill(start: Start) -> None:
    """H16: identity among the names and with objects of earlier cells, and the class is the one."""
    kernel = start()
    kernel.run(ROWS)
    interrupted(kernel, COMPUTES)
    before = kernel.run(LOOK).plain()
    kernel.kill()

    kernel.start()
    after = kernel.run(LOOK).plain()

    assert before.startswith("(True, True, True")
    assert after == before
