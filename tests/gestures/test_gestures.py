"""A slice of the gestures; `make gestures` is all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_slice_of_the_gestures_finds_no_difference() -> None:
    """Names, numbers, outputs, cells of the run and requests are those that are promised."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.gestures", "--seeds", "2", "--gestures", "12", "--no-shrink"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=190,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
