"""Ports: the words in which an effect speaks to the rest of the kernel.

No library, no disk, no decision lives here.

An effect file (`durable_kernel.effects`) hooks one library. While a cell runs, the hook finds the
*lane* of the running line of control in `CURRENT_LANE`, and asks one of two questions:

    soft observation   lane.replay[kind] -> a source of recorded values, or None: then read the
                       world, lane.record[kind](value)
    call               lane.port.begin(lane, call) -> Step: `step.outcome` is recorded, or the step
                       is live: make the real call inside `suspended()`, `step.settle(outcome)`.

Entropy is the third, rarer shape: a hard observation, `lane.port.draw(lane, kind, produce)`.

No lane (None) means that the caller is not a cell: observations pass through; acts are told to the
`Witness`. Everything else in this file is plain values: Call, Outcome, ErrorFacts, and what may be
repeated for how long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from durable_kernel.ports.hosts import HostRules
from durable_kernel.ports.hiding import Guard, Secrets

__all__ = [
    "CURRENT_LANE",
    "INSIDE_EFFECT",
    "REPEATABLE",
    "REPEAT_ALWAYS",
    "REPEAT_NEVER",
    "Act",
    "AnswerParser",
    "Call",
    "Ending",
    "ErrorFacts",
    "Lane",
    "Outcome",
    "Port",
    "Repeat",
    "Secret",
    "Source",
    "Step",
    "Witness",
    "describe_error",
    "entered",
    "suspended",
]


class Act(IntEnum):
    """Class of a call: what may have changed outside, so how it is announced (DESIGN §5, H30)."""

    OBSERVATION = 0  # changes nothing outside; announced without a sync
    REMOTE = 1  # something on the other side of a network; announcement synced
    PROCESS = 2  # a child process; announcement synced
    COMMIT = 3  # the commit of a transaction; announcement synced
    FILE = 4  # a local file; announced by write() only


@dataclass(frozen=True, slots=True)
class Repeat:
    """How long after its announcement a call in doubt may be made again without asking.

    `seconds_max`: 0 never, `math.inf` always. `why` is shown to people ("GET is safe",
    "Idempotency-Key"). `is_listed`: the user's settings say so, which also counts for a call that
    was announced before they did.
    """

    seconds_max: float
    why: str = ""
    is_listed: bool = False


REPEAT_ALWAYS = Repeat(math.inf, "it changes nothing outside")
REPEAT_NEVER = Repeat(0.0, "it may change something outside")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the world, before it is made.

    `identity` is verified on replay, field by field; `details` are recorded and shown, never
    verified (H32). Both hold values that the codec carries; secrets are redacted before they get
    here. `label` is one line for people. `runs_user_code`: the real call executes user code (a step
    body), so generator states belong to its outcome (H9). `guard` makes, of the head of an answer,
    who says which of its parts are secret (`hiding`).
    """

    kind: str
    label: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    act: Act = Act.OBSERVATION
    repeat: Repeat = REPEAT_ALWAYS
    runs_user_code: bool = False
    guard: Callable[[Any], Guard] | None = None


class Ending(IntEnum):
    """How a call ended. Every begun call ends in exactly one of these, on every way out (H17)."""

    VALUE = 0  # `value` is what the caller got
    ERROR = 1  # an Exception of the call itself; `error` rebuilds it
    ABANDONED = 2  # cancelled, interrupted or closed by the caller; `error` names the BaseException
    INTERRUPTED = 3  # RequestInterrupted was raised into user code that names it
    FAILED = 4  # a user marked an act in doubt as failed; the effect raises "connection lost"
    LOST = 5  # it happened, but its outcome could not be written (disk full); replay stops here


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """An exception as plain values: enough to raise it again with its real type.

    `type_path` is "module:QualName". `args` holds what the codec carries. `extra` belongs to the
    effect that wrote it.
    """

    type_path: str
    message: str
    args: tuple[Any, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What came back from a call. `value` is anything the codec (or the object codec) carries.

    Nobody changes one; but a frozen class is made three times as slowly, and each replayed call
    makes one.
    """

    ending: Ending
    value: Any = None
    error: ErrorFacts | None = None

    @classmethod
    def of_value(cls, value: Any) -> Outcome:
        return cls(Ending.VALUE, value)

    @classmethod
    def of_error(cls, error: BaseException, **extra: Any) -> Outcome:
        """Describe a raised exception: an Exception ended the call, another one abandoned it."""
        ending = Ending.ERROR if isinstance(error, Exception) else Ending.ABANDONED
        return cls(ending, None, describe_error(error, **extra))


@dataclass(frozen=True, slots=True)
class Secret:
    """Part of an answer that only replay may see (Set-Cookie, getpass).

    Stored encrypted, shown as ‹sealed› (H18).

    May stand anywhere inside a head or a value; replay hands the effect a Secret again.
    """

    value: str | bytes

    def __repr__(self) -> str:
        return "‹sealed›"


_CARRIED = (str, bytes, int, float, bool, type(None))


def describe_error(error: BaseException, **extra: Any) -> ErrorFacts:
    """Reduce an exception to `ErrorFacts`. Arguments other than plain scalars are kept as text."""
    kind = type(error)
    args = tuple(_carried(each) for each in error.args)
    if isinstance(error, OSError) and error.errno is not None:
        is_short = len(args) < 2  # noqa: PLR2004 - OSError takes (errno, text)
        args = (error.errno, error.strerror or str(error)) if is_short else args
        args += _file_names(error) if kind.__module__ == "builtins" else ()
    return ErrorFacts(f"{kind.__module__}:{kind.__qualname__}", str(error), args, extra)


def _carried(argument: object) -> Any:
    return argument if type(argument) in _CARRIED else str(argument)


def _file_names(error: OSError) -> tuple[Any, ...]:
    """Return what OSError takes out of its arguments: (file), or (file, winerror, other file)."""
    if error.filename is None:
        return ()
    first = (_carried(error.filename),)
    return first if error.filename2 is None else (*first, None, _carried(error.filename2))


class Step(Protocol):
    """One begun call. Either `outcome` is set (serve it, touch no world), or the step is live.

    A stream records a head, then parts, then settles. On a live step that repeats a cut one, `head`
    and `parts` hold the recorded prefix: compare, do not record it again (H23).

    `repeats`: the details of the cut call that a live step makes again, None on a first attempt.
    `is_unasked`: it is made again by itself, not because a person said so (H21).
    """

    outcome: Outcome | None
    head: Any
    parts: Iterable[bytes]  # recorded, in order, boundaries kept; of a cut stream: its prefix
    repeats: Mapping[str, Any] | None
    is_unasked: bool

    @property
    def idempotency_key(self) -> str:
        """Stable over retries and restarts: derived from run, position, lane and ordinal."""

    def set_head(self, head: Any) -> None:
        """Record what is known before the parts (HTTP status and headers)."""

    def add_part(self, data: bytes) -> None:
        """Record the next part of a stream.

        Buffered; on disk before anything leaves the process.
        """

    def settle(self, outcome: Outcome) -> None:
        """End the call. Returns once the frames are written. A second settle is ignored."""


class Port(Protocol):
    """What the runtime offers to effects.

    Raises a `Stop` (BaseException) where the run may not go on.
    """

    run_id: str
    hosts: HostRules

    @property
    def secrets(self) -> Secrets:
        """Stand-ins for secrets of requests, and the values known to be secret (`hiding`)."""

    def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        """Announce a call, or find it in the journal.

        On return of a live step the announcement is on disk.

        Blocks while the call is in doubt and parked. `answer` turns a user's answer into an outcome
        (None: JSON value).
        """

    async def begin_async(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        """Do the same without blocking the event loop while parked."""

    def put_in_doubt(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        """Put a repeated call in doubt: what came back, the clause `found`, does not settle it.

        Takes a live step that is not settled, and forgets it. Returns, blocks and raises as
        `begin` does.
        """

    async def put_in_doubt_async(
        self, lane: Lane, call: Call, step: Step, found: str, answer: AnswerParser | None = None
    ) -> Step:
        """Do the same without blocking the event loop while parked."""

    def next_recorded(self, lane: Lane) -> tuple[str, Mapping[str, Any]] | None:
        """Look at the lane's next recorded call, its kind and identity, without asking for it."""

    def draw(self, lane: Lane, kind: str, produce: Callable[[], Any]) -> Any:
        """Take the next recorded hard observation of `kind`, or produce and record one.

        Values are immutable scalars.
        """

    def flush(self) -> None:
        """Write every pending observation of every lane (one `write()`, no sync)."""

    def note(self, lane: Lane, sentence: str) -> None:
        """Tell the user something about the running cell; shown once, kept in the journal."""

    @property
    def is_live(self) -> bool:
        """True once every hard record was consumed."""


AnswerParser = Callable[[bytes], Outcome]
"""Turns the bytes of an answer file into an outcome; AnswerRejectedError if the shape is wrong."""

Source = Callable[[Callable[[], Any]], Any]
"""Recorded values of one soft kind: called with the real reader, for when they are used up."""


class _Sources(dict[str, "Source | None"]):
    """Recorded sources by kind. A kind without one gets whatever `make` says (None: live)."""

    def __init__(self, make: Callable[[str], Source | None]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, kind: str) -> Source | None:
        source = self[kind] = self._make(kind)
        return source


class _Recorders(dict[str, Callable[[Any], None]]):
    """`list.append` of the pending column, by kind: one C call per observation (H5)."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, list[Any]] = {}

    def __missing__(self, kind: str) -> Callable[[Any], None]:
        column: list[Any] = []
        self.columns[kind] = column
        append = self[kind] = column.append
        return append


class Lane:
    """One line of control within a position.

    The path "" is the cell itself; threads and tasks of later versions add "/t1", "/a2".

    Hooks read `replay` and `record`; only the runtime makes lanes. `root_task` and `root_thread`
    (its ident) are whose line it is; others reach it through a copied context. `sleeps` counts the
    sleeps asked for, so that an interrupted one is found again.
    """

    __slots__ = ("path", "port", "record", "replay", "root_task", "root_thread", "sleeps")

    def __init__(self, path: str, port: Port, make_source: Callable[[str], Source | None]) -> None:
        self.path = path
        self.port = port
        self.replay: Mapping[str, Source | None] = _Sources(make_source)
        self.record: Mapping[str, Callable[[Any], None]] = _Recorders()
        self.root_task: object | None = None
        self.root_thread: int | None = None
        self.sleeps = 0

    def __repr__(self) -> str:
        return f"<Lane {self.path or 'main'} {'live' if self.port.is_live else 'replaying'}>"

    def make_live(self, kind: str) -> None:
        """From now on `kind` is read from the world."""
        self.replay[kind] = None  # type: ignore[index]  # hooks see a read-only mapping

    def take_pending(self) -> Iterator[tuple[str, list[Any]]]:
        """Remove and yield what waits in each column.

        Safe against a concurrent append: only a prefix is cut.
        """
        columns: dict[str, list[Any]] = self.record.columns  # type: ignore[attr-defined]
        for kind, column in list(columns.items()):
            count = len(column)
            if count:
                values = column[:count]
                del column[:count]
                yield kind, values


CURRENT_LANE: ContextVar[Lane | None] = ContextVar("durable_lane", default=None)
"""The lane of the running line of control.

Set around a cell, None while an effect runs and everywhere else.
"""

INSIDE_EFFECT: ContextVar[bool] = ContextVar("durable_inside_effect", default=False)
"""True while a journaled effect makes its real call: what the detector sees then is known."""


REPEATABLE: ContextVar[bool] = ContextVar("durable_repeatable", default=False)
"""True inside `durable.idempotent()`: the user's word that an act may be made again."""


class suspended:  # noqa: N801 - used as a statement, like contextlib's
    """Take the lane away while the real call of an effect runs, so that nothing is journaled twice.

    Sets back by value, not by token: an async generator may be closed from another context.
    """

    __slots__ = ("_inside", "_lane")

    def __enter__(self) -> Self:
        self._lane = CURRENT_LANE.get()
        self._inside = INSIDE_EFFECT.get()
        CURRENT_LANE.set(None)
        INSIDE_EFFECT.set(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        CURRENT_LANE.set(self._lane)
        INSIDE_EFFECT.set(self._inside)


class entered:  # noqa: N801 - the counterpart of `suspended`
    """Give the lane to user code: around a cell, and around callbacks inside an effect (H28)."""

    __slots__ = ("_inside", "_lane", "_previous")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __enter__(self) -> Lane:
        self._previous = CURRENT_LANE.get()
        self._inside = INSIDE_EFFECT.get()
        CURRENT_LANE.set(self._lane)
        INSIDE_EFFECT.set(False)
        return self._lane

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        CURRENT_LANE.set(self._previous)
        INSIDE_EFFECT.set(self._inside)


class Witness(Protocol):
    """Where hooks tell of crossings that no lane journals.

    The runtime knows whether a cell is to blame.
    """

    def crossing(self, what: str, *, is_act: bool) -> None:
        """Report an exchange that is about to happen unrecorded.

        Returns when it may go on: the crossing is on disk, and the position is tainted if `is_act`.
        Raises WorldClosedError, before it happens, while the position replays (rule 9).
        """
