"""Reusing: a live call that an earlier attempt at this cell may have made (`replay.donor`).

Between the machine, which says that a call is live, and the port, which would make it. What is
taken from a donor is recorded as the donor's; from then on it replays like any other call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from durable_kernel.errors import ActNotRepeatedError, Stop
from durable_kernel.ports import Call, Lane
from durable_kernel.replay import Forbidden, GoLive, PositionReplay, Serve, Unfinished
from durable_kernel.runtime.steps import StepKey

__all__ = ["drawn_before", "made_before", "step_key"]


class Latching(Protocol):
    """What is needed of the port."""

    @property
    def replay(self) -> PositionReplay: ...

    def where(self) -> str: ...

    def set_latch(self, stop: Stop) -> Stop: ...


def made_before(
    port: Latching, lane: Lane, call: Call, live: GoLive
) -> Serve | Unfinished | GoLive:
    """Find a live call in the attempts before; the same verdict again if none of them made it.

    Who delivers it has to record that. Raises ActNotRepeatedError, with which the run is latched,
    before anything happened.
    """
    donor = port.replay.donor
    found = donor.ask(lane.path, call) if donor is not None else None
    if found is None:
        return live
    if isinstance(found, Forbidden):
        acts = tuple(each.label for each in found.acts)
        raise port.set_latch(ActNotRepeatedError(port.where(), call.label, acts))
    if found.call.is_complete:
        return Serve(live.ordinal, found.call, found.back)
    again = replace(found.call, parts=list(found.call.parts))
    return Unfinished(live.ordinal, again, found.back)


def drawn_before(replay: PositionReplay, lane: Lane, kind: str) -> tuple[Any] | None:
    """Find a hard observation in the attempts before; None: draw it."""
    return replay.donor.draw(lane.path, kind) if replay.donor is not None else None


def step_key(
    run_id: str, position: int, replay: PositionReplay, lane: Lane, verdict: Any
) -> StepKey:
    """Say where a call stands. A call of another attempt is another one, and has another key."""
    donor_lsn = replay.donor.lsn if replay.donor is not None else 0
    if isinstance(verdict, (Serve, Unfinished)):  # a union would be made anew each time
        donor_lsn, position = verdict.call.place
    run = f"{run_id}@{donor_lsn}" if donor_lsn else run_id
    return (run, position, lane.path, verdict.ordinal)
