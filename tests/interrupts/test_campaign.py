"""A slice of the interrupt campaign, and that its judge sees what it is there for."""

from __future__ import annotations

import random

import pytest

from tests.interrupts.campaign import campaign
from tests.interrupts.play import digest


@pytest.mark.slow
def test_no_interrupt_changes_what_the_next_process_finds() -> None:
    """H16: SIGINT at any microsecond, twice too, and time-outs of the cells' own."""
    tally = campaign(60, seed=1)

    assert tally.findings == []
    assert tally.counts["state"] == tally.counts["cases"]


def test_a_digest_tells_one_object_from_two_equal_ones() -> None:
    row = {"n": 1}

    assert digest({"a": row, "b": row}) != digest({"a": row, "b": dict(row)})


def test_a_digest_tells_generators_apart_by_their_state() -> None:
    one, other = random.Random(1), random.Random(1)
    before = digest(one) == digest(other)

    one.random()

    assert before
    assert digest(one) != digest(other)
