"""What a settled HTTP call serves to its library: a head, a body, an exception.

Three kinds of ending meet here: recorded ones, answers that a user gave for an act in doubt, and
acts that a user marked as failed. Knows no library; a hook brings its own exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from durable_kernel.effects.http_payloads import BrokenEnd, RecordedPayload
from durable_kernel.effects.http_wire import answered_head_and_body
from durable_kernel.errors import DivergenceError, RequestInterrupted
from durable_kernel.ports import Call, Ending, ErrorFacts, Lane, Outcome, Step, recorded_error

__all__ = [
    "ErrorKinds",
    "Recalled",
    "failed_sentence",
    "left_by_reader",
    "make_read_interrupted",
    "recall",
]

_CLOSED = "builtins:GeneratorExit"


class ErrorKinds(Protocol):
    """How a library's exceptions are made."""

    def rebuild(self, facts: ErrorFacts) -> BaseException:
        """Make a recorded exception again."""

    def interrupted(self, label: str, reason: str) -> BaseException:
        """Make the read error of an answer that came back different (H23)."""

    def lost(self, sentence: str, *, has_head: bool) -> BaseException:
        """Make the error of a connection that was lost, before the head of an answer or behind."""


class Recalled(NamedTuple):
    """A settled call. `error` makes what is raised behind the parts, or in place of the head."""

    head: dict[str, Any] | None
    parts: Iterable[bytes]
    outcome: Outcome
    error: Callable[[], BaseException] | None = None
    broken: BrokenEnd | None = None

    def payload(self) -> RecordedPayload:
        return RecordedPayload(self.parts, self.error)


def recall(lane: Lane, call: Call, step: Step, outcome: Outcome, kinds: ErrorKinds) -> Recalled:
    """Return what a settled step holds."""
    answer = answered_head_and_body(outcome)
    if answer is not None:
        return _recall_answer(call, step, outcome, answer, kinds)
    broken = BrokenEnd.of(outcome)
    if outcome.ending is Ending.VALUE or broken is not None:
        return Recalled(step.head, step.parts, outcome, None, broken)

    def make_error() -> BaseException:
        return _error_of(lane, call, outcome, kinds, has_head=step.head is not None)

    return Recalled(step.head, step.parts, outcome, make_error)


def _recall_answer(
    call: Call,
    step: Step,
    outcome: Outcome,
    answer: tuple[dict[str, Any], bytes],
    kinds: ErrorKinds,
) -> Recalled:
    """Serve the answer of a user; behind what the code has seen already, if that fits."""
    head, body = answer
    if step.head is None:
        return Recalled(head, (body,) if body else (), outcome)
    parts = list(step.parts)
    seen = b"".join(parts)
    if step.head["status"] == head["status"] and body.startswith(seen):
        if len(body) > len(seen):
            parts.append(body[len(seen) :])
        return Recalled(_with_length(step.head, len(body)), parts, outcome)
    reason = "the answer that was given begins differently"
    return Recalled(step.head, parts, outcome, lambda: kinds.interrupted(call.label, reason))


def _with_length(head: dict[str, Any], size_bytes: int) -> dict[str, Any]:
    """Correct the Content-Length of a head: the library counts."""
    length = str(size_bytes).encode()
    headers = [
        [name, length if name.lower() == b"content-length" else value]
        for name, value in head["headers"]
    ]
    return {**head, "headers": headers}


def _error_of(
    lane: Lane, call: Call, outcome: Outcome, kinds: ErrorKinds, *, has_head: bool
) -> BaseException:
    facts = outcome.error
    if facts is not None and facts.type_path == _CLOSED:
        return left_by_reader(lane, call)
    if facts is not None and facts.extra.get("is_read_interrupted"):
        return kinds.interrupted(*facts.args)
    if outcome.ending in (Ending.ERROR, Ending.ABANDONED) and facts is not None:
        return kinds.rebuild(facts)
    return recorded_error(outcome, lambda: kinds.lost(failed_sentence(call), has_head=has_head))


def left_by_reader(lane: Lane, call: Call) -> DivergenceError:
    """Make what is raised to who reads on where the recorded reader did not."""
    return DivergenceError(
        f"lane {lane.path or 'main'}",
        f"{call.label}, closed or left by its reader at this point",
        "more of its answer",
        likely_cause="the reading code was edited, or another cell read on",
    )


def failed_sentence(call: Call) -> str:
    """Say what became of a call that a user marked as failed."""
    return f"{call.label} was marked as failed: its answer never arrived"


def make_read_interrupted(kind: Any) -> Any:
    """Make a class that is a library's read error of that kind and a RequestInterrupted (H23)."""

    class ReadInterrupted(kind, RequestInterrupted):
        """The rest of an answer can't be had: it was cut, and the repeated one is another."""

        def __init__(self, label: str, reason: str) -> None:
            kind.__init__(self, reason)
            self.call, self.where, self.announced_at = label, "", "an earlier time"
            self.args = label, reason

        def __str__(self) -> str:
            label, reason = self.args
            return (
                f"the answer to {label} was cut when the process died, and sent again it is a "
                f"different one: {reason}. What was read before stays as recorded."
            )

    return ReadInterrupted
