"""A slice of the runners' campaign; `make runners` is all of it."""

from __future__ import annotations

import pytest

from tests.crash.slices import play, told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_runner_comes_to_the_end_of_a_job_that_is_killed_and_called_again() -> None:
    """Three seeds of each; the kernel, the runner and both of them take turns."""
    done = play("tests.runners", "--seeds", "3", "--real", "0", "--seed", "20261122")

    assert done.returncode == 0, told(done)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_job_comes_to_its_end() -> None:
    """One of `durable run`; tests/headless has one of papermill's and one of nbclient's."""
    done = play("tests.runners", "--only", "real/durable/2", "--seed", "20261122")

    assert done.returncode == 0, told(done)
