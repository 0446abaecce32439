"""A generator that lanes share: who may draw from it without asking anew.

To ask the port for each draw would cost a hundred times the draw. So who has the turn keeps it
until somebody else asks, or something has to be written; the draws meanwhile are counted here.
"""

from __future__ import annotations

from _thread import RLock, get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable_kernel.ports.lanes import Lane

__all__ = ["SharedGenerator"]

_GUARD_TRIES = 200
_GUARD_S = 0.005
"""Tries, and not a second: who holds it may have stood still with all of the process."""


class SharedGenerator:
    """One generator of the process. A hook that finds its lane in `holder` draws at once.

    It does so inside `guard`, where it takes one from `left`; the port lends under its own lock,
    which is taken first. `ident`: the thread of the holder, as others may run in a copied context.
    """

    __slots__ = ("_lent", "guard", "holder", "ident", "left", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.guard = RLock()  # a signal's handler may draw, in the middle of a draw
        self.holder: Lane | None = None
        self.ident = 0
        self.left = 0
        self._lent = 0

    def __repr__(self) -> str:
        return f"<SharedGenerator {self.name}, {self.left} draws left to {self.holder}>"

    def lend(self, lane: Lane, draws: int) -> None:
        """Let the running lane draw so often. What another one had is taken back before."""
        with self.guard:
            self.holder, self.ident = lane, get_ident()
            self.left = self._lent = draws

    def take_back(self) -> int:
        """End what was lent. Returns how many draws were made."""
        # A finalizer in the middle of a draw may wait for the port, whose lock our caller has.
        seen, tries = self.left, 0
        while not (is_ours := self.guard.acquire(timeout=_GUARD_S)) and tries < _GUARD_TRIES:
            tries = tries + 1 if self.left == seen else 0  # whoever goes on gives it back
            seen = self.left
        made = self._lent - self.left
        self.holder, self.left, self._lent = None, 0, 0
        if is_ours:
            self.guard.release()
        return made
