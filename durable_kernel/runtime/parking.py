"""Parking: a call in doubt waits, inside the call, for somebody to decide.

Nothing unwinds meanwhile (H4).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from durable_kernel.errors import AnswerRejectedError, UsageError
from durable_kernel.history import Announced, CallHistory, Choice, Resolved
from durable_kernel.ports import AnswerParser, Call, Ending, Lane, Outcome
from durable_kernel.runtime.steps import StepKey

__all__ = ["Parked", "advice", "decide", "effect_name", "parse_choice"]


@dataclass(eq=False)
class Parked:
    """One call in doubt. `wait` returns the decision once somebody made it."""

    lane: Lane
    call: Call
    ordinal: int
    position: int
    recorded: CallHistory
    key: StepKey
    answer: AnswerParser | None
    run_id: str = ""
    found: str = ""
    """What came back when it was repeated unasked, as a clause."""
    _decided: threading.Event = field(default_factory=threading.Event)
    _decision: Resolved | None = None
    _gate: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """Name the effect as people do: position.ordinal, with the lane if it is not the cell's."""
        return effect_name(self.position, self.lane.path, self.ordinal)

    def was_decided_by(self, message: str) -> bool:
        """Tell whether this inbox message decided before: a crash kept it from being taken."""
        return self.recorded.resolved is not None and self.recorded.resolved.message == message

    def wait(self, timeout_s: float) -> Resolved | None:
        """Wait for a decision; None if there is none after `timeout_s` seconds."""
        if timeout_s:
            self._decided.wait(timeout_s)
        return self._decision

    def wait_decided(self, queued: Callable[[Parked], Resolved | None]) -> Resolved:
        """Wait for a decision, made in this process or `queued` by another one."""
        while True:
            decision = self.wait(0.2) or queued(self)
            if decision is not None:
                return decision

    async def wait_decided_async(self, queued: Callable[[Parked], Resolved | None]) -> Resolved:
        """Do the same, and let the event loop go on."""
        while True:
            decision = self.wait(0) or queued(self)
            if decision is not None:
                return decision
            await asyncio.sleep(0.1)

    def settle(self, decision: Resolved) -> None:
        """Hand over the decision. Safe from any thread; the first one counts.

        Raises UsageError when somebody decided before.
        """
        with self._gate:
            if self._decision is not None:
                raise UsageError(
                    f"effect {self.name} was decided already: {self._decision.choice}."
                )
            self._decision = decision
        self._decided.set()

    def sentence(self) -> str:
        """One paragraph that says what is in doubt and what can be done."""
        announced = self.recorded.announced
        when = datetime.fromtimestamp(announced.wall_ns / 1e9, UTC).strftime(
            "%Y-%m-%d %H:%M:%S UTC"
        )
        what_now = (
            f"It was repeated, and {self.found}; so whether the first one happened is not known."
            if self.found
            else "It may or may not have happened, and it is not repeated unasked."
        )
        return (
            f"cell {self.position}, effect {self.name}: {announced.label} was announced at {when}, "
            f"and the process died before its answer was recorded. {what_now}{advice(announced)} "
            "Look at the other side, then: "
            f"`durable resolve {self.run_id} {self.name} --retry` makes the call again, "
            "`--answer FILE` supplies what came back, `--fail` makes the call fail."
        )


def advice(announced: Announced) -> str:
    """Say which setting would have repeated it, as a sentence behind a blank; "" if none."""
    return (
        f" It is {announced.repeat_why}."
        if announced.repeat_s == 0 and announced.repeat_why
        else ""
    )


def effect_name(position: int, lane: str, ordinal: int) -> str:
    """Name an effect for people and commands: "8.0", or "8/t1.0" in another lane."""
    return f"{position}{lane}.{ordinal}"


def _plain_answer(answer: bytes) -> Outcome:
    """Read the answer of an effect without a shape of its own: one JSON value."""
    try:
        return Outcome.of_value(json.loads(answer))
    except (ValueError, RecursionError) as error:
        raise AnswerRejectedError(
            "this effect", f"the file is not JSON: {error}", "one JSON value"
        ) from None


def parse_choice(choice: str, answer: bytes | None) -> Choice:
    """Read a choice as people give it. Raises UsageError, also for an answer without a file."""
    try:
        chosen = Choice(choice)
    except ValueError:
        raise UsageError(
            f"{choice!r} is no way to resolve an act; use retry, answer or fail."
        ) from None
    if chosen is Choice.ANSWER and answer is None:
        raise UsageError("an answer needs a file: --answer FILE")
    return chosen


def decide(
    parked: Parked, choice: str, answer: bytes | None, wall_ns: int, message: str = ""
) -> Resolved:
    """Turn a user's words into a decision about this call.

    Raises UsageError or AnswerRejectedError; the call stays in doubt.
    """
    chosen = parse_choice(choice, answer)
    value = None
    if chosen is Choice.ANSWER:
        assert answer is not None, "parse_choice asks for it"
        outcome = parked.answer(answer) if parked.answer else _plain_answer(answer)
        assert outcome.ending is Ending.VALUE, "answer parsers give values"
        value = outcome.value
    return Resolved(
        position=parked.position,
        lane=parked.lane.path,
        ordinal=parked.ordinal,
        choice=chosen.value,
        wall_ns=wall_ns,
        value=value,
        message=message,
    )
