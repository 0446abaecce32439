"""Run All where it stops: what waits behind a refusal is aborted, whoever has its turn."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, Shown

pytestmark = pytest.mark.slow

ACT = """import durable_kernel as durable
@durable.step
def act():
    return 1
act()"""

NOTES_SLOWLY = """import time
backlog = get_ipython().kernel.backlog
note = backlog.note
def slowly(frames):
    note(frames)
    time.sleep(0.5)
backlog.note = slowly"""


def _run(kernel: LiveKernel, *cells: tuple[str, str | None]) -> list[Shown]:
    return [kernel.wait(each) for each in kernel.ask_together(*cells)]


def test_what_was_seen_behind_a_refused_cell_is_aborted(start: Start) -> None:
    """The thread that takes requests stands still behind noting the second one (H14)."""
    kernel = start()
    cells = [(NOTES_SLOWLY, "a"), (ACT, "b"), ("x = 1", "c")]
    for cell in cells:
        _run(kernel, cell)
    kernel.kill()
    kernel.start()
    _run(kernel, cells[0])

    refused, behind = _run(kernel, cells[0], cells[2])

    assert refused.reply["ename"] == "BranchRefusedError"
    assert behind.status == "aborted"
