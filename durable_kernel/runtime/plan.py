"""The plan of a recovery: what re-executing the journal means.

Made from the commits alone, before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable_kernel.history import Outline, PositionOutline

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
    brought_back: tuple[int, ...] = ()
    """Interrupted cells whose names were kept: they are bound, and nothing is executed (H16)."""
    cut: tuple[int, ...] = ()
    """Interrupted cells of which something could not be kept."""

    @classmethod
    def of(cls, outline: Outline) -> Plan:
        """Estimate from the recorded costs.

        Waiting for the network is not repeated, so CPU time counts.
        """
        done = [each for each in outline.positions if each.committed is not None]
        executed = [each for each in done if not _is_brought_back(each)]
        executed = [each for each in executed if not (each.committed and each.committed.asked_exit)]
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
                each.committed.costs.get("cpu_s", 0.0) for each in executed if each.committed
            ),
            has_open_cell=unfinished is not None and not unfinished.is_input,
            acts_in_doubt=tuple(doubtful),
            tainted=tuple(
                each.position
                for each in outline.positions
                if each.is_tainted and not _is_brought_back(each)
            ),
            waiting_calls=sum(each.calls for each in outline.waiting),
            brought_back=tuple(each.position for each in done if _is_brought_back(each)),
            cut=tuple(
                each.position
                for each in done
                if each.committed is not None
                and each.committed.inexact
                and not _is_brought_back(each)
            ),
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
        if self.brought_back:
            cells = _counted(len(self.brought_back), "interrupted cell")
            parts.append(f"{cells} brought back without executing it")
        stops = sorted({*self.tainted, *self.cut})
        if stops:
            why = "did something the journal does not hold"
            if stops[0] in self.cut:
                why = "was interrupted while it computed, and could not be kept whole"
            later = f" (then before {', '.join(map(str, stops[1:]))})" if stops[1:] else ""
            parts.append(f"stops before cell {stops[0]}, which {why}, and asks{later}")
        return ", ".join(parts)


def _is_brought_back(position: PositionOutline) -> bool:
    kept = position.kept
    return position.committed is not None and kept is not None and not kept.refused


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes
