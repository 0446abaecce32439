"""Context: what a cell may ask about its run.

Outside a durable cell: plain answers, and one warning (rule 7).
"""

from __future__ import annotations

import sys
import uuid
import warnings
from contextvars import ContextVar
from functools import cache

from durable_kernel.ports import CURRENT_LANE, Lane, Step

__all__ = ["STEP_IN_PROGRESS", "idempotency_key", "is_replaying", "run_id", "warn_not_durable"]

STEP_IN_PROGRESS: ContextVar[Step | None] = ContextVar("durable_step", default=None)
"""The live step whose body is running; its key is that of whatever the body sends."""


@cache
def _warned(_name: str) -> None:
    """Warn at the line of the user's that called, through however many frames of ours."""
    depth, frame = 1, sys._getframe(0)  # noqa: SLF001 - `warnings` counts frames as well
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(
        "durable_kernel is not recording here: this is no cell of a durable kernel, so nothing "
        "survives a crash. The call works plainly.",
        RuntimeWarning,
        stacklevel=depth,
    )


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def warn_not_durable(name: str) -> None:
    """Warn, once for each primitive and process."""
    _warned(name)


def lane_or_warn(name: str) -> Lane | None:
    """Return the lane of the running cell, or None after a warning."""
    lane = CURRENT_LANE.get()
    if lane is None:
        warn_not_durable(name)
    return lane


def run_id() -> str | None:
    """Return the id of the run that the running cell belongs to; None outside a durable cell."""
    lane = CURRENT_LANE.get()
    return lane.port.run_id if lane is not None else None


def is_replaying() -> bool:
    """Tell whether the running cell is being answered from the journal.

    False outside a durable cell. For logging and progress only: what the cell computes must not
    depend on it.
    """
    lane = CURRENT_LANE.get()
    return lane is not None and not lane.port.is_live


def idempotency_key() -> str:
    """Return a key of 32 hex digits, the same in every attempt of this place in the notebook.

    No other place of this or any other run has it.
    Inside a `step` it is the step's own; elsewhere each call in a cell takes the next one. Outside
    a durable cell it is random, so a retry by hand is not recognised.
    """
    step = STEP_IN_PROGRESS.get()
    if step is not None:
        return step.idempotency_key
    lane = lane_or_warn("idempotency_key")
    if lane is None:
        return uuid.uuid4().hex
    drawn = lane.port.draw(lane, "idempotency_key", lambda: uuid.uuid4().hex)
    assert isinstance(drawn, str)
    return drawn
