"""The recorded order of one position, over all its lanes: whose turn it is to go on.

Pure. A *turn* is one delivery: the head of a stream, the outcome of a call, a word (a sleep that
ended, a lock that was taken). Code between two turns of a lane is deterministic by itself; what
lanes do to each other follows from the order in which they are let go on (H6, H8).

A lane that asks for a later turn gives up its earlier ones: an answer whose end nobody reads again
is no reason to wait. Such an end is *optional*: it may be passed over when everybody else waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from durable_kernel.history import Turn, TurnKind

__all__ = ["TurnOrder"]


class TurnOrder:
    """What is left of the order; a position with one lane has none."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        has_company = any(turn.lane for turn in turns)
        self._turns = list(turns) if has_company else []
        self._is_gone = bytearray(len(self._turns))
        self._first = 0
        self._places: dict[str, deque[int]] = {}
        self._optional: set[int] = set()
        heads: set[tuple[str, int]] = set()
        for place, turn in enumerate(self._turns):
            self._places.setdefault(turn.lane, deque()).append(place)
            if turn.kind is TurnKind.HEAD:
                heads.add((turn.lane, turn.number))
            elif turn.kind is TurnKind.END and (turn.lane, turn.number) in heads:
                self._optional.add(place)

    def __repr__(self) -> str:
        return f"<TurnOrder {self.required_left()} turns left, next {self.first()}>"

    @property
    def is_over(self) -> bool:
        return not self._turns or self.required_left() == 0

    def first(self) -> Turn | None:
        """Return the turn that comes next; None when all are taken."""
        self._advance()
        return self._turns[self._first] if self._first < len(self._turns) else None

    def place_of(self, lane: str, kind: TurnKind, number: int) -> int | None:
        """Find a turn of a lane; None if it is not recorded. The lane gives up earlier ones."""
        places = self._places.get(lane)
        if not places:
            return None
        for earlier, place in enumerate(places):
            turn = self._turns[place]
            if turn.kind is kind and turn.number == number:
                for _ in range(earlier):
                    self._is_gone[places.popleft()] = 1
                return place
        return None

    def is_first(self, place: int, *, but: Collection[str] = ()) -> bool:
        """Tell whether a turn comes next. `but`: lanes whose turns keep nobody waiting."""
        self._advance()
        if self._first == place or not but:
            return self._first == place
        between = range(self._first, place)
        return all(self._is_gone[each] or self._turns[each].lane in but for each in between)

    def turn_at(self, place: int) -> Turn:
        return self._turns[place]

    def take(self, place: int) -> None:
        """Take the turn of a lane; it is the lane's first one left."""
        self._is_gone[place] = 1
        self._places[self._turns[place].lane].remove(place)

    def skip_optional(self) -> bool:
        """Pass over the next turn if it is an end that nobody has to read. Tells whether it was."""
        self._advance()
        if self._first not in self._optional:
            return False
        self.take(self._first)
        return True

    def give_up_calls(self, lane: str, below: int) -> None:
        """Forget the turns of a lane's first calls, those numbered below `below`."""
        places = self._places.get(lane, deque())
        for place in list(places):
            turn = self._turns[place]
            if turn.kind is not TurnKind.WORD and turn.number < below:
                self.take(place)

    def give_up(self, lane: str) -> None:
        """Forget the turns of a lane that has ended."""
        for place in self._places.pop(lane, ()):
            self._is_gone[place] = 1

    def required_left(self, *, but: Collection[str] = (), before_commit: bool = False) -> int:
        """Count the turns that have to be taken before the run is live.

        `but`: lanes that do not count. `before_commit`: only those before the cell's commit.
        """
        return sum(
            place not in self._optional
            and not (before_commit and self._turns[place].is_after_commit)
            for lane, places in self._places.items()
            if lane not in but
            for place in places
        )

    def _advance(self) -> None:
        while self._first < len(self._turns) and self._is_gone[self._first]:
            self._first += 1
