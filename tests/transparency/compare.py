"""What differs between the two kernels, against what is expected to. Pure, but for one file read.

An expected difference has a reason, and must be there: one that is gone is as wrong as a new one,
or the list would grow old.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ABSENT", "Difference", "Verdict", "differences", "judge", "read_expected", "within"]

ABSENT = "absent"
"""The outcome of a test that one kernel did not even collect."""

Outcomes = Mapping[str, str]
"""Outcome by test id: passed, failed, skipped, xfailed, xpassed or error."""


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One test that ends otherwise. `reason` is "" where nobody knows one yet."""

    test: str
    stock: str
    durable: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.test}: {self.stock} in stock, {self.durable} in durable"

    def is_like(self, other: Difference) -> bool:
        """Tell whether both say the same, whatever the reason."""
        mine = self.test, self.stock, self.durable
        return mine == (other.test, other.stock, other.durable)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: expected ones, new ones, and expected ones that are gone."""

    expected: tuple[Difference, ...]
    unexpected: tuple[Difference, ...]
    gone: tuple[Difference, ...]

    @property
    def is_good(self) -> bool:
        return not self.unexpected and not self.gone

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The tests that are worth another look."""
        return tuple(sorted({each.test for each in (*self.unexpected, *self.gone)}))


def differences(stock: Outcomes, durable: Outcomes) -> list[Difference]:
    """Return the tests whose outcomes differ, by id."""
    return [
        Difference(test, ours, theirs)
        for test in sorted({*stock, *durable})
        if (ours := stock.get(test, ABSENT)) != (theirs := durable.get(test, ABSENT))
    ]


def judge(found: Collection[Difference], expected: Collection[Difference]) -> Verdict:
    """Compare what was found with what is expected."""
    known = [each for each in expected if any(each.is_like(other) for other in found)]
    return Verdict(
        tuple(known),
        tuple(each for each in found if not any(each.is_like(other) for other in expected)),
        tuple(each for each in expected if each not in known),
    )


def read_expected(path: Path, suite: str) -> list[Difference]:
    """Read the expected differences of one suite. Raises ValueError for one without a reason."""
    listed = tomllib.loads(path.read_text()).get("difference", [])
    found = []
    for each in listed:
        if not str(each.get("reason", "")).strip().endswith("."):
            raise ValueError(f"{path.name}: {each.get('test')} has no sentence for a reason")
        if each.pop("suite") == suite:
            found.append(Difference(**each))
    return found


def within(expected: Collection[Difference], ran: Collection[str]) -> list[Difference]:
    """Return those expected differences whose tests could be seen in this run of a slice."""
    return [each for each in expected if each.test in ran]
