"""Ports: the words in which an effect speaks to the kernel.

`words` holds them, `lanes` the lines of control of a cell; `raised` raises recorded exceptions
again, `carrying` keeps what they held, `cancelling` lets calls be cancelled again, `hosts` is what
the user said of single hosts, `hiding` keeps secrets off the disk, `loading` asks for the source of
project code.
"""

from durable_kernel.ports.cancelling import (
    await_cancellation,
    reach_ending,
    through_cancellation,
)
from durable_kernel.ports.carrying import carried_with, rebuild_raised
from durable_kernel.ports.hiding import SECRETS, BodyHash, Guard, Secrets
from durable_kernel.ports.hosts import ANY_CALL, KEY_S, PUT_S, HostRules, Preset
from durable_kernel.ports.lanes import (
    CURRENT_LANE,
    INSIDE_EFFECT,
    REPEATABLE,
    Lane,
    Source,
    blocked,
    entered,
    machinery,
    suspended,
    waiting,
)
from durable_kernel.ports.loading import Sources
from durable_kernel.ports.raised import ReplayedError, rebuild_error, recorded_error, value_of
from durable_kernel.ports.shared import SharedGenerator
from durable_kernel.ports.words import (
    REPEAT_ALWAYS,
    REPEAT_NEVER,
    Act,
    AnswerParser,
    Call,
    CountedLock,
    Ending,
    ErrorFacts,
    Outcome,
    Port,
    Repeat,
    Secret,
    Step,
    Witness,
    describe_error,
)

__all__ = [
    "ANY_CALL",
    "CURRENT_LANE",
    "INSIDE_EFFECT",
    "KEY_S",
    "PUT_S",
    "REPEATABLE",
    "REPEAT_ALWAYS",
    "REPEAT_NEVER",
    "SECRETS",
    "Act",
    "AnswerParser",
    "BodyHash",
    "Call",
    "CountedLock",
    "Ending",
    "ErrorFacts",
    "Guard",
    "HostRules",
    "Lane",
    "Outcome",
    "Port",
    "Preset",
    "Repeat",
    "ReplayedError",
    "Secret",
    "Secrets",
    "SharedGenerator",
    "Source",
    "Sources",
    "Step",
    "Witness",
    "await_cancellation",
    "blocked",
    "carried_with",
    "describe_error",
    "entered",
    "machinery",
    "reach_ending",
    "rebuild_error",
    "rebuild_raised",
    "recorded_error",
    "suspended",
    "through_cancellation",
    "value_of",
    "waiting",
]
