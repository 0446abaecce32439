"""%store: a shelf that other notebooks write to as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel.conftest import Start
from tests.parity.both import told

pytestmark = pytest.mark.slow


def test_a_stored_value_is_that_of_then_and_is_not_stored_again(
    start: Start, tmp_path: Path
) -> None:
    shared = str(tmp_path / "ipython")
    first = start("a", IPYTHONDIR=shared)
    second = start("b", IPYTHONDIR=shared)
    second.run("x = 'of then'\n%store x")

    first.run("%store -r x")
    stored = first.run("mine = [1, 2]\n%store mine")
    missing = first.run("%store -r nothing_there")
    listed = first.run("%store")
    second.run("x = 'of now'; mine = 'of others'\n%store x\n%store mine")
    first.kill()
    first.start()
    restored = first.run("x, mine")
    second.run("%store -r mine")

    assert stored.text() == "Stored 'mine' (list)\n"
    assert stored.text("stderr") == ""
    assert "no stored variable" in missing.text()
    assert "'of then'" in listed.text()
    assert restored.plain() == "('of then', [1, 2])"
    assert "restored 4 cells" in told(restored)
    assert second.run("mine").plain() == "'of others'"
    assert first.run("%store -r x\nx").plain() == "'of now'"


def test_a_bookmark_is_none_of_the_journal(start: Start) -> None:
    kernel = start()

    kernel.run("%bookmark here")
    shown = kernel.run("%cd -b here")

    assert shown.status == "ok"
    assert os.fspath(kernel.folder) in shown.text()
