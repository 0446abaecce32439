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
        timeout=280,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--kills", "150", "--real", "0"), id="150 forked kernels"),
        pytest.param(("--kills", "0", "--real", "3"), id="3 real kernels"),
    ],
)
def test_a_slice_of_the_campaign_finds_nothing(arguments: tuple[str, ...]) -> None:
    """0 completed requests repeated, 0 cells lost, 0 shown values changed, none hung."""
    done = campaign(*arguments, "--seed", "20261122")

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_case_is_played_again_alone() -> None:
    done = campaign("--only", "settle/post/0", "--seed", "20261122")

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "attempt 0" in done.stdout
