"""A kernel that computes with the GIL outlives its runner; the same command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from durable_kernel.headless.choosing import outline_of
from durable_kernel.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: it has pidfd and /proc"),
]

_COMMAND = "from durable_kernel.cli import main; main()"
_WAIT_S = 120.0
_KEEPS_THE_GIL = "import re\nre.match('(a+)+$', 'a' * 33 + 'b')"
"""Minutes of backtracking in C; nothing else of the process runs meanwhile."""


def _write(folder: Path, *sources: str) -> None:
    new: Any = nbformat.v4
    cells = [new.new_code_cell(each, id=f"c{index}") for index, each in enumerate(sources)]
    (folder / "n.ipynb").write_text(nbformat.writes(new.new_notebook(cells=cells)))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "run", "n.ipynb", "-o", "out.ipynb"],
            cwd=folder,
            env={**os.environ, "DURABLE_HOME": str(folder / "home")},
            stdout=log,
            stderr=log,
        )


def _has_begun(store: Store, position: int) -> bool:
    outlines = [outline_of(store, place) for place in store.all()]
    return any(each.position == position for one in outlines for each in one.positions)


def test_a_kernel_that_cannot_see_that_its_runner_is_gone_is_ended(tmp_path: Path) -> None:
    _write(tmp_path, "x = 7", _KEEPS_THE_GIL)
    killed = _start(tmp_path)
    deadline = time.monotonic() + _WAIT_S
    while not _has_begun(Store(tmp_path / "home"), 1):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    _write(tmp_path, "x = 7", "print(x)")

    again = _start(tmp_path)
    status = again.wait(timeout=_WAIT_S)

    said = (tmp_path / "log").read_text()
    assert status == 0, said
    assert "outlived" in said
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[1].outputs[0].text == "7\n"
