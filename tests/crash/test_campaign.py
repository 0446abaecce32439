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


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a person needs to play a finding again: each in a line of its own, then the errors."""
    findings = [line[:600] for line in done.stdout.splitlines() if line.startswith("--seed")]
    return "\n".join([*findings[:20], done.stdout[-400:], done.stderr[-2000:]])


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

    assert done.returncode == 0, told(done)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_case_is_played_again_alone() -> None:
    done = campaign("--only", "settle/post/0", "--seed", "20261122")

    assert done.returncode == 0, told(done)
    assert "attempt 0" in done.stdout
