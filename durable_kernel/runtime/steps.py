"""Steps: what `begin` hands to an effect. A recorded one only serves; a live one records what the real call brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from blake3 import blake3

from durable_kernel.ports import Outcome

__all__ = ["LiveStep", "RecordedStep", "Recorder", "UnjournaledStep"]


class Recorder(Protocol):
    """What a live step needs of the port."""

    def record_head(self, step: LiveStep, head: Any) -> None: ...

    def record_part(self, step: LiveStep, data: bytes) -> None: ...

    def record_end(self, step: LiveStep, outcome: Outcome) -> None: ...


def derive_key(run_id: str, position: int, lane: str, ordinal: int) -> str:
    """The idempotency key of a call: the same in every attempt, different for every call of every run."""
    return blake3(f"{run_id}/{position}/{lane}/{ordinal}".encode()).hexdigest(16)


class RecordedStep:
    """A complete call found in the journal. Parts are read from disk only when asked for."""

    def __init__(
        self, outcome: Outcome, head: Any, read_parts: Callable[[], list[bytes]], key: str
    ) -> None:
        self.outcome: Outcome | None = outcome
        self.head = head
        self.idempotency_key = key
        self._read_parts = read_parts
        self._parts: list[bytes] | None = None

    @property
    def parts(self) -> list[bytes]:
        if self._parts is None:
            self._parts = self._read_parts()
        return self._parts

    @parts.setter
    def parts(self, value: list[bytes]) -> None:
        self._parts = value

    def set_head(self, head: Any) -> None:
        """Recorded already."""

    def add_part(self, data: bytes) -> None:
        """Recorded already."""

    def settle(self, outcome: Outcome) -> None:
        """Settled already."""


class LiveStep:
    """An announced call that is made now. `head` and `parts` hold a recorded prefix when a cut call is repeated."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        lane: str,
        ordinal: int,
        key: str,
        head: Any = None,
        parts: list[bytes] | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        self.head = head
        self.parts: list[bytes] = parts or []
        self.lane = lane
        self.ordinal = ordinal
        self.idempotency_key = key
        self.is_settled = False
        self.has_recorded_head = head is not None
        self.generators_before: bytes | None = None
        self._recorder = recorder

    def __repr__(self) -> str:
        return f"<LiveStep {self.lane or 'main'}/{self.ordinal} {'settled' if self.is_settled else 'open'}>"

    def set_head(self, head: Any) -> None:
        if not self.has_recorded_head and not self.is_settled:
            self.has_recorded_head = True
            self._recorder.record_head(self, head)

    def add_part(self, data: bytes) -> None:
        if not self.is_settled:
            self._recorder.record_part(self, data)

    def settle(self, outcome: Outcome) -> None:
        if not self.is_settled:
            self.is_settled = True
            self._recorder.record_end(self, outcome)


class UnjournaledStep:
    """A call that this version does not journal (another task or thread): reported, its position tainted."""

    outcome: Outcome | None = None
    head: Any = None
    idempotency_key = ""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def set_head(self, head: Any) -> None:
        """Not journaled."""

    def add_part(self, data: bytes) -> None:
        """Not journaled."""

    def settle(self, outcome: Outcome) -> None:
        """Not journaled."""
