"""What a run takes of a cell that was cut while it computed, and `durable run --partly` (H16)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pytest

from durable_kernel.headless import run_notebook
from durable_kernel.headless.exits import Exit
from tests.headless.jobs import Told, request_of

pytestmark = pytest.mark.slow

_HANDLER = """\
import signal

def is_late(number, frame):
    raise TimeoutError

before = signal.signal(signal.SIGALRM, is_late)
"""
_CUT = """\
pages = (number for number in range(9))
seen = [next(pages)]
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    while True:
        pass
except TimeoutError:
    print('late')
"""


_request = partial(request_of, output="out.ipynb")


def _shown(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [out.get("text") or out.evalue for cell in cells for out in cell.outputs]


def test_a_run_goes_on_with_what_was_kept_of_a_cut_cell(tmp_path: Path) -> None:
    """Without it the run stops before that cell, names what is missing, and says the way."""
    run_notebook(_request(tmp_path, _HANDLER, _CUT, "1 / 0"), Told())
    mended = _request(tmp_path, _HANDLER, _CUT, "print(seen, 'pages' in globals())")
    told = Told()

    refused = run_notebook(mended, told)
    done = run_notebook(replace(mended, partly=True), Told())

    assert (refused, done) == (Exit.REFUSED, Exit.DONE)
    assert "`pages`: cannot pickle 'generator' object" in told.sentences[-1]
    assert "`durable run --partly`) takes what was kept" in told.sentences[-1]
    assert _shown(tmp_path / "out.ipynb") == ["late\n", "[0] False\n"]


def test_a_cut_cell_that_is_not_executed_again_shows_what_it_showed(tmp_path: Path) -> None:
    """The notebook is the one that nobody killed would have written, with the error, too."""
    cut = "total = 7\nprint('begun')\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\nwhile True: pass"
    handler = _HANDLER.replace("TimeoutError", "TimeoutError('late')")
    expects = ("raises-exception",)
    fails = "import os\nif os.getppid(): os.kill(os.getpid(), 9)"
    run_notebook(_request(tmp_path, handler, cut, fails, tags=expects), Told())

    done = run_notebook(_request(tmp_path, handler, cut, "print(total)", tags=expects), Told())

    assert done is Exit.DONE
    assert _shown(tmp_path / "out.ipynb") == ["begun\n", "late", "7\n"]
