"""Deciding later: the run stopped with an act in doubt, and its next start takes the decision."""

from __future__ import annotations

from os import urandom as _urandom  # bound before any hook: our own entropy is no record

from durable_kernel.errors import UsageError
from durable_kernel.history import PositionOutline
from durable_kernel.runtime.inbox import AskedResolution, inbox_of, queue_instead
from durable_kernel.runtime.parking import effect_name, parse_choice
from durable_kernel.store import RunPlace, Store

__all__ = ["queue_decision"]


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
