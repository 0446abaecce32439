"""Deciding: about an act that waits now, or for the next start of a run that stopped with one."""

from __future__ import annotations

from collections.abc import Sequence
from os import urandom as _urandom  # bound before any hook: our own entropy is no record

from durable_kernel.errors import UsageError
from durable_kernel.history import PositionOutline
from durable_kernel.runtime.inbox import AskedResolution, inbox_of, queue_instead
from durable_kernel.runtime.parking import Parked, decide, effect_name, parse_choice
from durable_kernel.store import RunPlace, Store

__all__ = ["decide_waiting", "queue_decision"]


def decide_waiting(
    waiting: Sequence[Parked], effect: str | None, choice: str, answer: bytes | None, now_ns: int
) -> str:
    """Let one of the calls that wait go on. Returns a sentence for the user.

    Raises UsageError when it is not clear which one is meant, AnswerRejectedError; it waits on.
    """
    listed = "; ".join(f"{each.name}: {each.call.label}" for each in waiting)
    if not effect and len(waiting) > 1:
        raise UsageError(f"in doubt are {listed}. Name one of them.")
    parked = next((each for each in waiting if effect in (None, "", each.name)), None)
    if parked is None:
        verb = "are" if len(waiting) > 1 else "is"
        raise UsageError(f"effect {effect} is not in doubt. In doubt {verb} {listed}.")
    parked.settle(decide(parked, choice, answer, now_ns))
    return f"effect {parked.name} ({parked.call.label}): {choice}. The cell goes on."


def queue_decision(
    store: Store,
    place: RunPlace,
    unfinished: PositionOutline | None,
    effect: str | None,
    choice: str,
    answer: bytes | None,
) -> str:
    """Leave a decision about an act of the unfinished cell in the run's inbox.

    Returns a sentence for the user. Raises UsageError when it is not clear which act is meant.
    """
    doubtful = (
        {}
        if unfinished is None
        else {
            effect_name(unfinished.position, each.lane, each.ordinal): each
            for each in unfinished.pending.values()
            if each.act
        }
    )
    if not doubtful:
        raise UsageError("no act is in doubt in this kernel.")
    name = effect or next(iter(doubtful))
    if name not in doubtful or (effect is None and len(doubtful) > 1):
        listed = "; ".join(f"{known}: {each.label}" for known, each in doubtful.items())
        raise UsageError(f"in doubt are {listed}. Name one of them.")
    act = doubtful[name]
    asked = AskedResolution(name, parse_choice(choice, answer).value, answer, act.wall_ns)
    queue_instead(inbox_of(store, place), f"resolve-{name}-{_urandom(6).hex()}", asked)
    return f"effect {name} ({act.label}): {choice}. Restart the kernel: it goes on so."
