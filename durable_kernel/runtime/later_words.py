"""Later words: what a lane that outlives its cell has next, in positions that are yet to come.

Most of what a lane does waits by itself for the position in which it was recorded. A look at an
event does not: as long as it sees nothing new, nothing is recorded of it. Where a lane has used up
its records of a position, only the next word that it has anywhere tells whether this very look is
the one that saw something new, one position later (H8).

Reads positions; decides nothing, and takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from durable_kernel.history import PositionHistory, PositionOutline
from durable_kernel.ports import Lane, machinery

__all__ = ["LaterWords"]

_NEVER = 1 << 62


class LaterWords:
    """Finds the next word of a lane behind a position. Each position is read once for a lane."""

    def __init__(
        self,
        positions: Callable[[], Sequence[PositionOutline]],
        load: Callable[[PositionOutline], PositionHistory],
    ) -> None:
        self._positions = positions
        self._load = load
        self._found: dict[str, tuple[int, str]] = {}
        """By lane the position of its next word, and the word's kind."""

    def kind_after(self, lane: Lane, position: int) -> str:
        """Return the kind of the lane's first word behind a position; "" if it has none there."""
        path = f"@{lane.home}{lane.branch}"
        at, kind = self._found.get(path, (-1, ""))
        if at <= position:
            with machinery():
                at, kind = self._found[path] = self._search(path, position)
        return kind

    def _search(self, path: str, position: int) -> tuple[int, str]:
        for outline in self._positions():
            is_brought_back = outline.kept is not None and not outline.kept.refused
            if outline.position <= position or is_brought_back:
                continue
            words = self._load(outline).words.get(path)
            if words:
                return outline.position, words[0].kind
        return _NEVER, ""
