"""replay: decides. Pure state machines over the history; no file, no clock, no library."""

from durable_kernel.replay.donor import Donor, Forbidden, Reuse
from durable_kernel.replay.doubt import (
    Doubt,
    InDoubtPolicy,
    decide_doubt,
    may_repeat,
    names_interruption,
)
from durable_kernel.replay.machine import (
    Diverges,
    GoLive,
    PositionReplay,
    Serve,
    ServeValue,
    Unfinished,
    Verdict,
)

__all__ = [
    "Diverges",
    "Donor",
    "Doubt",
    "Forbidden",
    "GoLive",
    "InDoubtPolicy",
    "PositionReplay",
    "Reuse",
    "Serve",
    "ServeValue",
    "Unfinished",
    "Verdict",
    "decide_doubt",
    "may_repeat",
    "names_interruption",
]
