"""Lives: what each process that wrote a run left in its journal.

A life begins with `Opened` and has no end of its own: one that was killed writes nothing any more.
It ended orderly if there is a `Shutdown` in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable_kernel.history.records import (
    Announced,
    Called,
    Cell,
    Head,
    Observed,
    Opened,
    Part,
    Resolved,
    Reused,
    Settled,
    Shutdown,
    Turned,
)
from durable_kernel.journal import Frame

__all__ = ["Life", "is_hard"]

_HARD = frozenset(
    each.CODE for each in (Announced, Called, Head, Part, Resolved, Reused, Settled, Turned)
)
_WITH_HARD = b"\x94"
"""A msgpack array of four: `Observed` writes its field `hard` only where it is true."""


@dataclass(slots=True)
class Life:
    """One process. `cells`: cells that it began; `hard`: hard records since the last position.

    `newest`: the last position that it began, be it a cell or an input; -1: none.
    A position that it only resumed is not among `cells`, but what was recorded in it is counted.
    """

    opened: Opened
    epoch: int
    cells: int = 0
    newest: int = -1
    hard: int = 0
    shutdown: Shutdown | None = None

    @property
    def was_restarted(self) -> bool:
        """Tell whether the user asked for another process."""
        return self.shutdown is not None and self.shutdown.restart

    def add(self, frame: Frame) -> None:
        """Count a frame. Whether a `Cell` is one of the user's, only its record tells."""
        if frame.type == Cell.CODE:
            self.hard = 0
        elif is_hard(frame):
            self.hard += 1


def is_hard(frame: Frame) -> bool:
    """Tell whether a frame holds what a replay has to meet again. Decodes nothing."""
    if frame.type == Observed.CODE:
        return frame.payload[:1] == _WITH_HARD
    return frame.type in _HARD
