"""A slice of the kill campaign; `make campaign` is all of it."""

from __future__ import annotations

import pytest

from tests.crash.slices import play, told


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--kills", "150", "--real", "0"), id="150 forked kernels"),
        pytest.param(("--kills", "0", "--real", "3"), id="3 real kernels"),
    ],
)
def test_a_slice_of_the_campaign_finds_nothing(arguments: tuple[str, ...]) -> None:
    """0 completed requests repeated, 0 cells lost, 0 shown values changed, none hung."""
    done = play("tests.crash.campaign", *arguments, "--seed", "20261122")

    assert done.returncode == 0, told(done)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_case_is_played_again_alone() -> None:
    done = play("tests.crash.campaign", "--only", "settle/post/0", "--seed", "20261122")

    assert done.returncode == 0, told(done)
    assert "attempt 0" in done.stdout
