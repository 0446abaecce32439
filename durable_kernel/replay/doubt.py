"""Doubt: what may be done with an act that was announced and never settled.

Pure; the tables of DESIGN §8, as code.

Never guess (rule 5): what changes nothing is repeated, what may be repeated is repeated within its
time (H21), and all else goes to the user. A clock that ran back since the announcement makes its
age unknown, so time-bound repeats end there.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from types import CodeType, FrameType

from durable_kernel.history import Announced, CallHistory
from durable_kernel.ports import Act

__all__ = ["Doubt", "InDoubtPolicy", "decide_doubt", "may_repeat", "names_interruption"]

_NAME = "RequestInterrupted"


class InDoubtPolicy(StrEnum):
    """`DURABLE_IN_DOUBT`: what happens to an act in doubt that user code does not name.

    Park it and ask; raise RequestInterrupted all the same; or stop the run without unwinding.
    """

    ASK = "ask"
    RAISE = "raise"
    STOP = "stop"


class Doubt(StrEnum):
    """What happens to a call in doubt."""

    REPEAT = "repeat"
    PARK = "park"
    FAIL = "fail"
    """Stop the run and let the cell fail with a sentence: nobody can be asked."""
    RAISE = "raise"
    STOP = "stop"


def may_repeat(announced: Announced, now_ns: int) -> bool:
    """Tell whether a cut call may be made again without asking, `now_ns` being wall time."""
    if announced.act == Act.OBSERVATION or announced.repeat_s is None:
        return True
    age_ns = now_ns - announced.wall_ns
    return announced.repeat_s > 0 and 0 <= age_ns <= announced.repeat_s * 1e9


def decide_doubt(
    call: CallHistory,
    now_ns: int,
    policy: InDoubtPolicy | None,
    *,
    code_names_it: bool,
    can_ask: bool = True,
    is_listed: bool = False,
    was_repeated: bool = False,
) -> Doubt:
    """Decide about a cut call at wall time `now_ns`.

    `policy` None: the user set none. `code_names_it`: a frame on the lane's stack names
    RequestInterrupted (H4). `can_ask`: whoever sent the cell may have an answer. `is_listed`: the
    user's settings let it be repeated now. `was_repeated`: it was, and what came back tells nothing
    (H21).
    """
    if not was_repeated and (is_listed or may_repeat(call.announced, now_ns)):
        return Doubt.REPEAT
    if policy is InDoubtPolicy.RAISE or code_names_it:
        return Doubt.RAISE
    if policy is InDoubtPolicy.STOP:
        return Doubt.STOP
    return Doubt.PARK if can_ask or policy is InDoubtPolicy.ASK else Doubt.FAIL


def names_interruption(frame: FrameType | None, own_package: str) -> bool:
    """Tell whether user code on this stack names RequestInterrupted in what it may catch.

    Looks at the names of each frame that is not ours: globals and attributes, locals (an import
    stores one), and those that a function shares with the functions inside it.
    """
    return any(_NAME in names for code in _codes(frame, own_package) for names in _names_of(code))


def _names_of(code: CodeType) -> tuple[tuple[str, ...], ...]:
    return code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars


def _codes(frame: FrameType | None, own_package: str) -> Iterator[CodeType]:
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != own_package and not module.startswith(own_package + "."):
            yield frame.f_code
        frame = frame.f_back
