"""Budget: how large a run may become on disk before its user is told (DESIGN §5).

Told at 80 % and again beyond it, once each in a process. Nothing is left out of the journal for it:
a run that is too large is a sentence, one that can't be replayed would be a loss.
"""

from __future__ import annotations

__all__ = ["JOURNAL_BYTES_MAX", "Budget"]

JOURNAL_BYTES_MAX = 10_000_000_000
_TOLD_FROM = 0.8
_GB = 1e9


class Budget:
    """One run's budget. `bytes_max` counts segments and blobs."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._told = 0

    def state(self, size_bytes: int) -> str:
        """Say how much of the budget is used; "" while it is not worth a word."""
        if not self._level(size_bytes):
            return ""
        return (
            f"the journal has {size_bytes / _GB:.3g} GB of its {self._bytes_max / _GB:.3g} GB "
            "(DURABLE_JOURNAL_MAX_BYTES)"
        )

    def news(self, size_bytes: int) -> str:
        """Return what to tell now, once for each of the two levels; "" if there is nothing."""
        level = self._level(size_bytes)
        if level <= self._told:
            return ""
        self._told = level
        over = " Nothing is left out: it goes on growing." if level > 1 else ""
        return (
            f"{self.state(size_bytes)}.{over} Large answers take most of it, as a rule. A fresh "
            "run begins with an empty journal; this one is kept."
        )

    def _level(self, size_bytes: int) -> int:
        """Return 0 below 80 %, 1 up to the budget, 2 beyond it."""
        return (size_bytes >= self._bytes_max * _TOLD_FROM) + (size_bytes > self._bytes_max)
