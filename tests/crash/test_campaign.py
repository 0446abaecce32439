"""A slice of the kill campaign; `make campaign` is all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own: its hooks stay for ever."""
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.campaign", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.slow
def test_a_slice_of_the_campaign_finds_nothing() -> None:
    """0 completed requests repeated, 0 cells lost, 0 shown values changed, none hung."""
    done = campaign("--kills", "150", "--seed", "20261122")

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
