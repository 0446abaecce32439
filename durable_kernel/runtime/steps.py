"""Steps: what `begin` hands to an effect.

A recorded one only serves; a live one records what the real call brings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import urandom as _urandom  # bound before any hook: our own entropy is no record
from typing import Any, Protocol

from blake3 import blake3

from durable_kernel.history import CallHistory
from durable_kernel.ports import Call, Lane, Outcome

__all__ = ["LiveStep", "RecordedStep", "Recorder", "StepKey", "UnjournaledStep"]


class Recorder(Protocol):
    """What a live step needs of the port."""

    async def reach(self, step: LiveStep) -> None: ...

    def record_head(self, step: LiveStep, head: Any) -> None: ...

    def record_part(self, step: LiveStep, data: bytes) -> None: ...

    def record_stray(self) -> None: ...

    def record_end(self, step: LiveStep, outcome: Outcome) -> None: ...


class Turns(Protocol):
    """Whose turn it is to be let go on, for a recorded step in company."""

    async def take(self) -> None: ...


class CutTurns(Protocol):
    """When a stream that was cut in company goes on: its head in its turn, the rest when live."""

    async def take(self) -> bool: ...


StepKey = tuple[str, int, str, int]
"""Run id, position, lane, ordinal: where a call stands."""


def derive_key(place: StepKey) -> str:
    """Return the idempotency key of a call: the same in every attempt, unlike any other's."""
    run_id, position, lane, ordinal = place
    return blake3(f"{run_id}/{position}/{lane}/{ordinal}".encode()).hexdigest(16)


class RecordedStep:
    """A complete call found in the journal. Parts are read from disk only when asked for."""

    repeats: Mapping[str, Any] | None = None
    is_unasked = False

    def __init__(
        self,
        outcome: Outcome,
        head: Any,
        parts: Iterable[bytes],
        key: StepKey,
        turns: Turns | None = None,
    ) -> None:
        self.outcome: Outcome | None = outcome
        self.head = head
        self.parts = parts
        self._key = key
        self._turns = turns

    @property
    def idempotency_key(self) -> str:
        return derive_key(self._key)

    async def turn(self) -> None:
        if self._turns is not None:
            await self._turns.take()

    def set_head(self, head: Any) -> None:
        """Do nothing: it is recorded."""

    def add_part(self, data: bytes) -> None:
        """Do nothing: it is recorded."""

    def settle(self, outcome: Outcome) -> None:
        """Do nothing: it is settled."""


class LiveStep:
    """An announced call that is made now.

    `head` and `parts` hold a recorded prefix when a cut call is repeated; `cut` is that call.
    `told`, `pieces` and `soft` belong to `Pending`: what waits of an observation while nothing of
    it is written, and what its lane observed before. Most steps keep most of the defaults, which
    cost nothing here.
    """

    outcome: Outcome | None = None
    head: Any = None
    parts: Iterable[bytes] = ()
    cut: CallHistory | None = None
    repeats: Mapping[str, Any] | None = None
    is_unasked = False
    is_settled = False
    has_recorded_head = False
    generators_before: bytes | None = None
    turns: CutTurns | None = None
    told: Any = None
    size_bytes = 0
    soft: dict[str, list[Any]] | None = None

    def __init__(
        self,
        recorder: Recorder,
        call: Call,
        wall_ns: int,
        owner: Lane,
        ordinal: int,
        key: StepKey,
    ) -> None:
        self.call = call
        self.label = call.label
        self.wall_ns = wall_ns
        self.owner = owner
        self.lane = owner.path
        self.ordinal = ordinal
        self.key = key
        self.pieces: list[bytes] = []
        self._recorder = recorder

    def repeat(self, cut: CallHistory) -> None:
        """Take note that a cut call is made again."""
        self.cut = cut
        self.repeats = cut.announced.details

    def go_on_behind(self, head: Any, parts: Iterable[bytes]) -> None:
        """Take the recorded prefix of the cut call."""
        self.head, self.parts = head, parts
        self.has_recorded_head = head is not None

    @property
    def idempotency_key(self) -> str:
        return derive_key(self.key)

    def __repr__(self) -> str:
        state = "settled" if self.is_settled else "open"
        return f"<LiveStep {self.lane or 'main'}/{self.ordinal} {state}>"

    async def turn(self) -> None:
        if self.turns is not None and await self.turns.take():
            return
        if not self.is_settled:
            await self._recorder.reach(self)

    def set_head(self, head: Any) -> None:
        if not self.has_recorded_head and not self.is_settled:
            self.has_recorded_head = True
            self._recorder.record_head(self, head)

    def add_part(self, data: bytes) -> None:
        if self.is_settled:
            self._recorder.record_stray()
        else:
            self._recorder.record_part(self, data)

    def settle(self, outcome: Outcome) -> None:
        if not self.is_settled:
            self.is_settled = True
            self._recorder.record_end(self, outcome)


class UnjournaledStep:
    """A call that this version does not journal (another task or thread).

    It was reported, and its position is tainted.
    """

    outcome: Outcome | None = None
    head: Any = None
    repeats: Mapping[str, Any] | None = None
    is_unasked = False

    def __init__(self) -> None:
        self.parts: Iterable[bytes] = ()
        # No place to derive it from; an empty one would be the same key for different calls.
        self.idempotency_key = _urandom(16).hex()

    async def turn(self) -> None:
        """Do nothing: it has no place in the order."""

    def set_head(self, head: Any) -> None:
        """Do nothing: it is not journaled."""

    def add_part(self, data: bytes) -> None:
        """Do nothing: it is not journaled."""

    def settle(self, outcome: Outcome) -> None:
        """Do nothing: it is not journaled."""
