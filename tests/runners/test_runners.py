"""A slice of the runners' campaign; `make runners` is all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def runners(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Play it in a process of its own: it forks."""
    return subprocess.run(
        [sys.executable, "-m", "tests.runners", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a person needs to play a finding again, then the errors."""
    findings = [line[:1500] for line in done.stdout.splitlines() if line.startswith("--seed")]
    return "\n".join([*findings, done.stdout[-400:], done.stderr[-2000:]])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_runner_comes_to_the_end_of_a_job_that_is_killed_and_called_again() -> None:
    """Three seeds of each; the kernel, the runner and both of them take turns."""
    done = runners("--seeds", "3", "--real", "0", "--seed", "20261122")

    assert done.returncode == 0, told(done)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_job_comes_to_its_end() -> None:
    """One of `durable run`; tests/headless has one of papermill's and one of nbclient's."""
    done = runners("--only", "real/durable/2", "--seed", "20261122")

    assert done.returncode == 0, told(done)
