"""The plan of a recovery: what re-executing the journal means.

Made from the commits alone, before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable_kernel.history import Outline

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Figures of a recovery. `str(plan)` is the sentence that people see."""

    cells: int
    calls: int
    computing_s: float
    has_open_cell: bool
    acts_in_doubt: tuple[str, ...]
    tainted: tuple[int, ...]
    waiting_calls: int = 0
    """Calls of attempts left behind: a cell that is run again may reuse them."""

    @classmethod
    def of(cls, outline: Outline) -> Plan:
        """Estimate from the recorded costs.

        Waiting for the network is not repeated, so CPU time counts.
        """
        done = [each for each in outline.positions if each.committed is not None]
        unfinished = outline.open_position
        doubtful = (
            []
            if unfinished is None
            else [each.label for each in unfinished.pending.values() if each.act]
        )
        return cls(
            cells=sum(not each.is_input for each in done),
            calls=sum(each.calls for each in outline.positions),
            computing_s=sum(
                each.committed.costs.get("cpu_s", 0.0) for each in done if each.committed
            ),
            has_open_cell=unfinished is not None and not unfinished.is_input,
            acts_in_doubt=tuple(doubtful),
            tainted=tuple(
                each.position
                for each in outline.positions
                if each.is_tainted or (each.committed is not None and each.committed.inexact)
            ),
            waiting_calls=sum(each.calls for each in outline.waiting),
        )

    def __str__(self) -> str:
        parts = [_counted(self.cells, "cell"), f"{_duration(self.computing_s)} of computing"]
        parts.append(
            f"{_counted(self.calls, 'recorded call')} answered from the journal, 0 repeated"
        )
        if self.has_open_cell:
            parts.append("1 interrupted cell to finish")
        if self.waiting_calls:
            wait = _counted(self.waiting_calls, "recorded call")
            parts.append(f"{wait} at hand for the cell that is run again")
        if self.acts_in_doubt:
            number, listed = len(self.acts_in_doubt), "; ".join(self.acts_in_doubt)
            parts.append(f"{_counted(number, 'act')} in doubt ({listed})")
        if self.tainted:
            listed = ", ".join(map(str, self.tainted))
            parts.append(
                f"stops before cell {listed}, which did something the journal does not hold"
            )
        return ", ".join(parts)


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes
