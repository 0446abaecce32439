"""A skip for want of a program is counted, and fails where programs are required; a run ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy import tree

PATIENCE = "THREADS_END_S = 10.0"
CASES = {
    "tool": "@pytest.mark.needs_tool('no-such-program')\ndef test_a(): raise AssertionError\n",
    "platform": "@pytest.mark.skip('only on macOS')\ndef test_a(): raise AssertionError\n",
    "library": "def test_a(): pytest.importorskip('no_such_library')\n",
    "file": "pytest.importorskip('no_such_library')\ndef test_a(): raise AssertionError\n",
    "expected": "@pytest.mark.xfail\ndef test_a(): raise AssertionError\n",
    "thread": "import threading\ndef test_a():\n    hold = threading.Lock()\n    hold.acquire()\n"
    "    threading.Thread(target=hold.acquire, name='stays').start()\n",
    "passing": "@pytest.mark.needs_tool('sh')\ndef test_a(): pass\n",
}


def run_case(folder: Path, case: str, *, are_tools_required: bool) -> tuple[int, str]:
    """Run one test under this project's conftest and settings; return exit status and output."""
    (folder / "tests").mkdir()
    conftest = (tree.ROOT / "tests" / "conftest.py").read_text()
    assert PATIENCE in conftest
    # A thread that stays does so however long one waits: a moment is enough here.
    (folder / "tests" / "conftest.py").write_text(conftest.replace(PATIENCE, "THREADS_END_S = 0.1"))
    shutil.copyfile(tree.ROOT / "pyproject.toml", folder / "pyproject.toml")
    (folder / "tests" / "test_case.py").write_text(f"import pytest\n\n{CASES[case]}")
    (folder / ".ci").mkdir()
    (folder / ".ci" / "debian-packages").write_text("# comment\nno-such-program such-package\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "DURABLE_REQUIRE_TOOLS": str(int(are_tools_required))},
        check=False,
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_missing_program_skips_with_a_count_and_a_remedy(tmp_path: Path) -> None:
    status, output = run_case(tmp_path, "tool", are_tools_required=False)

    assert status == 0, output
    assert "skipped: 1, of these for want of what could be there: 1" in output
    assert "apt-get install such-package" in output


@pytest.mark.parametrize("case", ["tool", "library", "file"])
def test_a_skip_fails_where_programs_are_required(tmp_path: Path, case: str) -> None:
    status, output = run_case(tmp_path, case, are_tools_required=True)

    assert status == 1, output
    assert "a skip is a failure" in output


@pytest.mark.parametrize("case", ["platform", "expected", "passing"])
def test_what_no_package_could_supply_does_not_fail(tmp_path: Path, case: str) -> None:
    status, output = run_case(tmp_path, case, are_tools_required=True)

    assert status == 0, output


@pytest.mark.slow
def test_a_thread_that_stays_fails_the_run_instead_of_hanging_it(tmp_path: Path) -> None:
    status, output = run_case(tmp_path, "thread", are_tools_required=False)

    assert status == pytest.ExitCode.INTERNAL_ERROR
    assert "left a thread that does not end: stays" in output
