"""replay: decides. Pure state machines over the history; no file, no clock, no library."""

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
    "Doubt",
    "GoLive",
    "InDoubtPolicy",
    "PositionReplay",
    "Serve",
    "ServeValue",
    "Unfinished",
    "Verdict",
    "decide_doubt",
    "may_repeat",
    "names_interruption",
]
