"""A slice of the gestures; `make gestures` is all of them."""

from __future__ import annotations

import pytest

from tests.crash.slices import play


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_slice_of_the_gestures_finds_no_difference() -> None:
    """Names, numbers, outputs, cells of the run and requests are those that are promised."""
    done = play("tests.gestures", "--seeds", "2", "--gestures", "10", "--no-shrink")

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_interrupt_at_any_moment_of_restoring_leaves_a_kernel_that_answers() -> None:
    """While the run is opened, between its cells and in the midst of one (H35)."""
    interrupts = ", ".join(f"interrupt replay#{each}" for each in range(1, 9))
    done = play("tests.gestures", "--play", "2/1", "--only", f"run all#0, {interrupts}")

    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
