"""Lineage: whose positions these are, in a run that was forked from another.

A position keeps the identity of the run that recorded it, since user code may have seen it: in
`run_id()`, in idempotency keys, in file names of tracebacks. From the fork on the run has its own,
and its own random draws. What is rewound behind the fork and run anew is the run's own, too.
"""

from __future__ import annotations

from bisect import bisect_right

from durable_kernel.history.records import Forked

__all__ = ["FORK", "Lineage"]

FORK = "fork"
"""`Opened.reason` of who made a fork, and ran nothing of it."""


class Lineage:
    """Fold of `Forked` and `Branched`, in order. Empty for a run that was begun by itself."""

    def __init__(self) -> None:
        self.forks: list[Forked] = []
        self._owners: list[tuple[int, str]] = []
        self._seeds: list[tuple[int, bytes]] = []
        self._own_from = 0

    def __bool__(self) -> bool:
        return bool(self.forks)

    @property
    def parent(self) -> str | None:
        """The run that this one was forked from."""
        return self.forks[-1].parent if self.forks else None

    @property
    def secrets_of(self) -> str | None:
        """The run whose keys seal and hide here; None where these are the run's own."""
        return self.forks[-1].secrets_of or None if self.forks else None

    def fork(self, record: Forked) -> None:
        """From `record.position` on the run is its own."""
        self.forks.append(record)
        self._owners = [(int(start), str(run_id)) for start, run_id in record.lineage]
        self._seeds.append((record.position, record.genesis))
        self._own_from = record.position

    def branch(self, position: int) -> None:
        """Count what is run from there on as the run's own.

        Up to where the runs parted it draws as the parent did: what is run again there may reuse
        the parent's outcomes, and asks for the same.
        """
        self._own_from = min(self._own_from, position)

    def owner_of(self, position: int, own_id: str) -> str:
        """Return the id of the run that a position belongs to; `own_id` is this one's."""
        if position >= self._own_from or not self._owners:
            return own_id
        found = bisect_right(self._owners, position, key=lambda each: each[0])
        return self._owners[max(found - 1, 0)][1]

    def owners_before(self, position: int, own_id: str) -> list[list[int | str]]:
        """Return what `Forked.lineage` has to hold in a run that is forked there."""
        theirs = [each for each in self._owners if each[0] < self._own_from]
        owners = [*theirs, (self._own_from if theirs else 0, own_id)]
        return [[start, owner] for start, owner in owners if start < max(position, 1)]

    def seed_of(self, position: int) -> bytes | None:
        """Return what seeds the generators where a position begins; None: they just go on."""
        found = [genesis for start, genesis in self._seeds if start == position]
        return found[-1] if found else None
