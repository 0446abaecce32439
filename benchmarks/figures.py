"""Figures: what a benchmark found, against what the design allows.

Every figure comes from one interleaved run: each round measures every side once, so that whatever
else the machine does meets all sides alike. A figure is computed from the medians of the sides; its
interval says how far it would move if the same rounds were drawn again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Self

__all__ = ["Budget", "Effort", "Figure", "Rounds", "Side"]

_RESAMPLES = 400
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: full for figures, quick for a look, smoke to see that it runs."""

    name: str

    def pick(self, full: int, quick: int, smoke: int) -> int:
        """Choose a number of rounds, or of anything."""
        return {"full": full, "quick": quick, "smoke": smoke}[self.name]


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound that the design sets."""

    limit: float
    is_upper: bool = True

    def is_met_by(self, value: float) -> bool:
        return value <= self.limit if self.is_upper else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.is_upper else '≥'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: its median, and the quartiles around it."""

    median: float
    quartiles: tuple[float, float]
    unit: str

    @classmethod
    def of(cls, samples: list[float], unit: str) -> Self:
        if len(samples) < 2:
            return cls(samples[0], (samples[0], samples[0]), unit)
        low, _, high = quantiles(samples, n=4)
        return cls(median(samples), (low, high), unit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `interval` holds `value` in 95 of 100 repetitions of the rounds."""

    row: str
    what: str
    value: float
    unit: str
    interval: tuple[float, float]
    budget: Budget | None = None
    sides: Mapping[str, Side] = field(default_factory=dict)
    rounds: int = 1
    note: str = ""

    @property
    def verdict(self) -> str:
        """`pass` or `miss`; with a "~" where the interval holds both, "" without a budget."""
        if self.budget is None:
            return ""
        word = "pass" if self.budget.is_met_by(self.value) else "miss"
        ends = {self.budget.is_met_by(end) for end in self.interval}
        return f"~{word}" if len(ends) > 1 else word

    def as_plain(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "row": self.row,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "interval": list(self.interval),
            "budget": str(self.budget) if self.budget else None,
            "verdict": self.verdict,
            "rounds": self.rounds,
            "note": self.note,
            "sides": {
                name: {"median": side.median, "quartiles": list(side.quartiles), "unit": side.unit}
                for name, side in self.sides.items()
            },
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read back what `as_plain` wrote."""
        limit = plain["budget"]
        return cls(
            row=plain["row"],
            what=plain["what"],
            value=plain["value"],
            unit=plain["unit"],
            interval=(plain["interval"][0], plain["interval"][1]),
            budget=Budget(float(limit[2:]), limit.startswith("≤")) if limit else None,
            sides={
                name: Side(
                    side["median"], (side["quartiles"][0], side["quartiles"][1]), side["unit"]
                )
                for name, side in plain["sides"].items()
            },
            rounds=plain["rounds"],
            note=plain["note"],
        )


class Rounds:
    """Samples of several sides, one of each per round, all in one unit."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._samples: dict[str, list[float]] = {}

    def add(self, **samples: float) -> None:
        """Add one round."""
        for side, sample in samples.items():
            self._samples.setdefault(side, []).append(sample)

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(self._samples)

    @property
    def count(self) -> int:
        return min(map(len, self._samples.values()))

    def median(self, side: str) -> float:
        return median(self._samples[side])

    def figure(
        self,
        row: str,
        what: str,
        of_medians: Callable[[Mapping[str, float]], float],
        *,
        unit: str = "×",
        budget: Budget | None = None,
        sides: tuple[str, ...] | None = None,
        note: str = "",
    ) -> Figure:
        """Compute a figure from the medians of the sides, and its interval by resampling."""
        value = of_medians({side: median(found) for side, found in self._samples.items()})
        again = sorted(of_medians(medians) for medians in self._resampled())
        tail = int(len(again) * (1 - _CONFIDENCE) / 2)
        shown = self._samples if sides is None else sides
        return Figure(
            row=row,
            what=what,
            value=value,
            unit=unit,
            interval=(min(again[tail], value), max(again[-tail - 1], value)),
            budget=budget,
            sides={side: Side.of(self._samples[side], self._unit) for side in shown},
            rounds=self.count,
            note=note,
        )

    def _resampled(self) -> Iterator[dict[str, float]]:
        """Draw the same number of rounds again and again (percentile bootstrap, Efron 1979)."""
        draw = random.Random(17)  # the same interval for the same samples
        count = self.count
        for _ in range(_RESAMPLES):
            rounds = draw.choices(range(count), k=count)
            yield {
                side: median([found[index] for index in rounds])
                for side, found in self._samples.items()
            }


def is_finite(figure: Figure) -> bool:
    """Tell whether a figure says anything at all."""
    return all(map(math.isfinite, (figure.value, *figure.interval)))
