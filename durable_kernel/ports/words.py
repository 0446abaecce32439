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
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from durable_kernel.ports.hosts import HostRules

if TYPE_CHECKING:
    from durable_kernel.ports.hiding import Secrets
    from durable_kernel.ports.lanes import Lane
    from durable_kernel.ports.shared import SharedGenerator

__all__ = [
    "REPEAT_ALWAYS",
    "REPEAT_NEVER",
    "Act",
    "AnswerParser",
    "Call",
    "CountedLock",
    "Ending",
    "ErrorFacts",
    "Outcome",
    "Port",
    "Repeat",
    "Secret",
    "Step",
    "Witness",
    "describe_error",
]

T = TypeVar("T")


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


@dataclass(slots=True)
class Call:
    """One request to the world, before it is made. Nobody changes one; as for `Outcome`.

    `identity` is verified on replay, field by field; `details` are recorded and shown, never
    verified (H32). Both hold values that the codec carries; secrets are redacted before they get
    here. `label` is one line for people. `runs_user_code`: the real call executes user code (a step
    body), so generator states belong to its outcome (H9).
    """

    kind: str
    label: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    act: Act = Act.OBSERVATION
    repeat: Repeat = REPEAT_ALWAYS
    runs_user_code: bool = False


class Ending(IntEnum):
    """How a call ended. Every begun call ends in exactly one of these, on every way out (H17)."""

    VALUE = 0  # `value` is what the caller got
    ERROR = 1  # an Exception of the call itself; `error` rebuilds it
    ABANDONED = 2  # cancelled, interrupted or closed by the caller; `error` names the BaseException
    INTERRUPTED = 3  # RequestInterrupted was raised into user code that names it
    FAILED = 4  # a user marked an act in doubt as failed; the effect raises "connection lost"
    CARRIED = 6  # the cell ended first: the next position announces it again, and has the outcome
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

    async def turn(self) -> None:
        """Wait until the next delivery of a step may reach its lane: head, then end.

        Asynchronous effects await it before they deliver either, outside `suspended()`: on a
        recorded step until it is its turn, on a live one until the other lanes rest, just before
        it is recorded. It does nothing where one lane is alone.
        """

    def set_head(self, head: Any) -> None:
        """Record what is known before the parts (HTTP status and headers)."""

    def add_part(self, data: bytes) -> None:
        """Record the next part of a stream.

        Buffered; on disk before anything leaves the process.
        """

    def settle(self, outcome: Outcome) -> None:
        """End the call. Returns once the frames are written. A second settle is ignored."""


class CountedLock(Protocol):
    """A lock that lanes share: its name, and how often it was taken while there were several."""

    name: str
    taken: int

    def give_back(self) -> None:
        """Release it, as if it had not been taken."""


class Port(Protocol):
    """What the runtime offers to effects.

    Raises a `Stop` (BaseException) where the run may not go on.
    """

    run_id: str
    """As user code sees it at this position: a fork keeps its parent's for what it copied."""
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

    def recall(self, lane: Lane, call: Call) -> tuple[Any] | None:
        """Find the value of a call in the journal. None: `begin` says what there is.

        The short way for a call without head and parts. Nothing happens when it gives None.
        """

    async def begin_async(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Step:
        """Do the same as `begin` without blocking the event loop while parked."""

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

    def spawn(self, lane: Lane, kind: str) -> Lane:
        """Make the lane of a new line of control.

        `kind`: "t" a thread, "p" a task of a pool, "a" a task of an event loop, "c" a timer.
        To be called in the lane that starts it, in the order in which it starts them.
        """

    def end(self, lane: Lane) -> None:
        """End a line of control: what it drew is taken, nobody waits for it any more."""

    def decide(
        self, lane: Lane, kind: str, produce: Callable[[], Any], *, is_free: bool = False
    ) -> Any:
        """Take the recorded word of a lane when it is its turn, or produce and record one.

        For what depends on timing: how a timed wait ended, who got a lock. The value is an
        immutable scalar. `produce` may block. `is_free`: the order alone counts, other lanes need
        not come to rest first. Where one lane is alone nothing is recorded.
        """

    async def decide_async(
        self, lane: Lane, kind: str, produce: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Do the same in an event loop."""

    def obtain(
        self, lane: Lane, kind: str, attempt: Callable[[], bool], timeout_s: float | None = None
    ) -> tuple[bool, float] | None:
        """Wait for what another lane has to give: until `attempt` takes it, or the time is over.

        Returns whether it was obtained and after how many seconds, on the lane's turn, which is
        recorded as its word. `attempt` is called often and must not block. None: there is nobody to
        wait for, or who asks is not the lane's own line of control; wait as without a lane.
        """

    def take_lock(
        self,
        lane: Lane,
        lock: CountedLock,
        mine: int,
        attempt: Callable[[], bool],
        timeout_s: float | None = None,
    ) -> bool | None:
        """Take a lock that lanes share, in the recorded order of this lock (H6).

        It is the lane's `mine`-th attempt on it. `timeout_s` 0 tries once. None: as for `obtain`.
        """

    def draw_shared(self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]) -> T:
        """Draw from a generator that lanes share, in the recorded order of these draws (H9).

        `make` draws; it neither blocks nor makes an effect. What it raises counts as a draw.
        """

    def nudge(self, lane: Lane) -> None:
        """Let a lane that waits try at once: there may be something to obtain."""

    def has_word(self, lane: Lane, kind: str = "") -> bool:
        """Tell whether a word of this lane is recorded and not taken yet; the next, of a kind.

        With a `kind`, the next word may stand in a later position: who decides waits for that.
        """

    def has_observed(self, lane: Lane, kind: str) -> bool:
        """Tell whether a recorded soft observation of a kind is left to this lane."""

    def is_at_rest(self, lane: Lane | None = None) -> bool:
        """Tell whether every lane but this one waits: for the world, for its turn, for another."""

    @property
    def is_crowded(self) -> bool:
        """True once this position has two lanes or more."""

    def flush(self) -> None:
        """Write every pending observation of every lane (one `write()`, no sync)."""

    def note(self, lane: Lane, sentence: str) -> None:
        """Tell the user something about the running cell; shown once, kept in the journal."""

    @property
    def is_live(self) -> bool:
        """True once every hard record was consumed."""


AnswerParser = Callable[[bytes], Outcome]
"""Turns the bytes of an answer file into an outcome; AnswerRejectedError if the shape is wrong."""


class Witness(Protocol):
    """Where hooks tell of crossings that no lane journals.

    The runtime knows whether a cell is to blame.
    """

    def crossing(self, what: str, *, is_act: bool) -> None:
        """Report an exchange that is about to happen unrecorded.

        Returns when it may go on: the crossing is on disk, and the position is tainted if `is_act`.
        Raises WorldClosedError, before it happens, while the position replays (rule 9).
        """
