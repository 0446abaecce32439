"""Records: the meaning of one frame.

One dataclass for each frame type; nothing here reads or writes a file, and `record_codec` packs
them. Nobody changes a record once it is made. It is not frozen: making one would cost three times
as much, for each effect and frame.

A record's payload is a msgpack array of its fields in the order in which they stand in the class,
trailing defaults cut off; the number of the frame type is `CODE`. `docs/journal-format.md` lists
both, and a test compares. A field may be added at the end with a default; nothing is ever
renumbered.

What belongs to a position follows that position's `Cell` (or `Resumed`) record; only `Output.late`
text, `Committed`, `Resolved` and `Branched` name theirs. `lane` is "" for the cell itself.
`ordinal` counts the calls of one lane within one position from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

from durable_kernel import codec

__all__ = [
    "COMM",
    "INLINE_BYTES_MAX",
    "INPUT",
    "Announced",
    "Branched",
    "Called",
    "Cell",
    "Choice",
    "Committed",
    "Crossed",
    "Finished",
    "Forked",
    "Head",
    "Loaded",
    "Noted",
    "Observed",
    "Opened",
    "Output",
    "Part",
    "Record",
    "Resolved",
    "Resumed",
    "Reused",
    "Settled",
    "Shutdown",
    "Turned",
    "Unsettled",
    "Withdrawn",
]

INLINE_BYTES_MAX = 64 * 1024
"""Larger values become blobs: above this a file and its sync cost no more than the frame's own."""


INPUT = "input"
"""A request that is no cell, and after which something was different: `source` is its code."""

COMM = "comm"
"""A message of a widget: `source` is its type, content and metadata as JSON."""


class Choice(StrEnum):
    """What a user decided about an act in doubt."""

    RETRY = "retry"
    ANSWER = "answer"
    FAIL = "fail"


@dataclass(slots=True, kw_only=True)
class Record:
    """Base of all records; `CODE` is the frame type on disk (1..127)."""

    CODE: ClassVar[int] = 0


@dataclass(slots=True, kw_only=True)
class Opened(Record):
    """A process opened the run for writing.

    Everything after it, up to the next one, is of its epoch.
    """

    CODE: ClassVar[int] = 1
    wall_ns: int
    pid: int
    boot_id: str
    host: str
    reason: str = "start"
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    genesis: bytes = b""
    """32 bytes that seed the generators; only the first opener of a run draws them."""
    clocks: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Cell(Record):
    """A position begins: this source is about to run."""

    CODE: ClassVar[int] = 2
    position: int
    source: str
    wall_ns: int
    request: Mapping[str, Any] = field(default_factory=dict)
    """What the front end said of it: cell_id, parent header, idents, store_history, expressions."""
    donor: int = 0
    """lsn of the `Cell` frame of the attempt before, whose outcomes it may reuse; 0: of none."""
    is_crowded: bool = False
    """Lanes of earlier positions were still there when it began."""
    sealed_source: Any = None
    """The source as it is executed, where `source` is redacted: it holds a registered value."""
    kind: str = ""
    """"" for a cell; `INPUT` and `COMM` are inputs: replayed in their place, never shown (H38)."""

    @property
    def code(self) -> str:
        """What is executed. Raises SealedSecretError where it is sealed and the key is missing."""
        return self.source if self.sealed_source is None else str(self.sealed_source.value)


@dataclass(slots=True, kw_only=True)
class Resumed(Record):
    """The open position is executed again, in a new process.

    Its outputs so far are superseded by what follows.
    """

    CODE: ClassVar[int] = 3
    position: int
    wall_ns: int


@dataclass(slots=True, kw_only=True)
class Observed(Record):
    """Observations of one kind in one lane, in the order in which they were made."""

    CODE: ClassVar[int] = 4
    lane: str
    kind: str
    values: list[Any]
    hard: bool = False


@dataclass(slots=True, kw_only=True)
class Announced(Record):
    """A call is about to be made. Synced for remote acts, processes and commits (rule 2)."""

    CODE: ClassVar[int] = 5
    ordinal: int
    lane: str
    kind: str
    label: str
    wall_ns: int
    act: int = 0
    identity: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    repeat_s: float | None = None
    """Seconds after `wall_ns` within which it may be repeated unasked; None: always."""
    repeat_why: str = ""
    """For people; empty: an act like any other, which may not be repeated at all."""


@dataclass(slots=True, kw_only=True)
class Head(Record):
    """What a stream told before its first part."""

    CODE: ClassVar[int] = 6
    ordinal: int
    lane: str
    value: Any
    pace: int = 0
    """A `Pace`: whether the other lanes had come to rest when this was delivered."""
    sealed: bool = False
    """The value is sealed as a whole: a Sealed of its encoding."""


@dataclass(slots=True, kw_only=True)
class Part(Record):
    """Consecutive parts of a stream: `sizes` are the boundaries within `content`.

    Larger content is a blob.
    """

    CODE: ClassVar[int] = 7
    ordinal: int
    lane: str
    sizes: list[int]
    content: bytes | codec.Sealed = b""
    blob: list[Any] | None = None
    sealed: bool = False
    """The content, inline or blob, is a Sealed: tokens stand in it, or a registered value."""


@dataclass(slots=True, kw_only=True)
class Settled(Record):
    """A call ended. `ending` is a `ports.Ending`; `error` is [type path, message, args, extra]."""

    CODE: ClassVar[int] = 8
    ordinal: int
    lane: str
    ending: int = 0
    value: Any = None
    error: list[Any] | None = None
    blob: list[Any] | None = None
    """Where the encoded value is when it is larger than INLINE_BYTES_MAX: [digest, size, codec]."""
    generators: Mapping[str, Any] | None = None
    """State of the global generators after the call, if the call changed it (H9)."""
    pace: int = 0
    sealed: bool = False
    """The value, inline or blob, is a Sealed of the encoding of [value, error]."""
    secrets: list[Any] | None = None
    """[name, Sealed] of the tokens that the answer told: they become registered on replay, too."""


@dataclass(slots=True, kw_only=True)
class Output(Record):
    """One message that the cell sent to its front end."""

    CODE: ClassVar[int] = 9
    kind: str
    content: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    blob: list[Any] | None = None
    late: int | None = None
    """The position it belongs to, when that was already committed."""


@dataclass(slots=True, kw_only=True)
class Crossed(Record):
    """An exchange with the world that the journal does not hold.

    With `is_act` the position is tainted.
    """

    CODE: ClassVar[int] = 10
    what: str
    where: str
    is_act: bool


@dataclass(slots=True, kw_only=True)
class Noted(Record):
    """A sentence that the user was told about this position."""

    CODE: ClassVar[int] = 11
    sentence: str


@dataclass(slots=True, kw_only=True)
class Committed(Record):
    """The position is final: status is "ok" or "error".

    Synced; the reply leaves after it (rule 4).
    """

    CODE: ClassVar[int] = 12
    position: int
    status: str
    wall_ns: int
    execution_count: int | None = None
    generators: bytes = b""
    """Fingerprint of the global generators at the end."""
    clocks: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    """wall_s, cpu_s, peak_rss_bytes."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Effects by kind."""
    reply: Mapping[str, Any] = field(default_factory=dict)
    inexact: bool = False
    """Interrupted outside a waiting effect: re-execution cannot reproduce it (H16)."""
    asked_exit: bool = False
    """The cell asked the kernel to exit; it is never executed again."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of the installed packages that it imported first."""


@dataclass(slots=True, kw_only=True)
class Resolved(Record):
    """A user's decision about an act in doubt. A retry is synced before the act is made again."""

    CODE: ClassVar[int] = 13
    position: int
    lane: str
    ordinal: int
    choice: str
    wall_ns: int
    value: Any = None
    """The outcome's value, for an answer."""
    blob: list[Any] | None = None
    message: str = ""
    """Name of the inbox message that brought it; the same message never decides twice."""
    sealed: bool = False
    """The value is a Sealed of its encoding."""


@dataclass(slots=True, kw_only=True)
class Branched(Record):
    """From here on the run continues without the positions >= `position` recorded so far.

    They stay in the journal.
    """

    CODE: ClassVar[int] = 14
    position: int
    wall_ns: int
    reason: str = ""
    reuses: bool = False
    """Cells that take the place of those left behind may reuse their outcomes."""
    repeats_acts: bool = False
    """The user's word: these cells may do again what was done."""


@dataclass(slots=True, kw_only=True)
class Shutdown(Record):
    """The kernel was asked to stop; `position` is the cell that was running then."""

    CODE: ClassVar[int] = 15
    wall_ns: int
    restart: bool
    position: int | None = None
    answered: int = 0
    """Cells that were run from the top in this process, which showed or refused them."""


@dataclass(slots=True, kw_only=True)
class Finished(Record):
    """A headless runner came to the end of its notebook."""

    CODE: ClassVar[int] = 16
    wall_ns: int
    status: str = "ok"


@dataclass(slots=True, kw_only=True)
class Unsettled(Record):
    """The call was repeated unasked, and what came back tells nothing of the first one (H21).

    `found` is a clause: "was answered 404 Not Found". It is not repeated unasked again.
    """

    CODE: ClassVar[int] = 21
    lane: str
    ordinal: int
    found: str
    why: str = ""
    """What it is instead, as a noun phrase, where it was not repeated."""

    def put_on(self, announced: Announced) -> Announced:
        """Return the announcement as it counts from here on."""
        why = self.why or f"a call that was repeated, and {self.found}"
        return replace(announced, repeat_s=0, repeat_why=why)


@dataclass(slots=True, kw_only=True)
class Withdrawn(Record):
    """The cell did not go on from the outcome of this call; it, and all that followed, is void.

    RequestInterrupted reached the top of the cell (H4), or the kernel's stop cut the waiting call.
    """

    CODE: ClassVar[int] = 17
    lane: str
    ordinal: int


@dataclass(slots=True, kw_only=True)
class Turned(Record):
    """A lane went on, at this place in the order of all lanes (H6, H8, H24).

    Written only in positions with two lanes or more: a sleep that ended, a lock that was taken, a
    timed wait with its result. `value` is what the lane was told.
    """

    CODE: ClassVar[int] = 18
    lane: str
    kind: str
    value: Any = None
    pace: int = 0


@dataclass(slots=True, kw_only=True)
class Reused(Record):
    """Consecutive calls of a lane were answered with what an earlier attempt recorded there.

    They are the calls of the same lane and ordinals in the attempt `back` donors before this one.
    """

    CODE: ClassVar[int] = 19
    lane: str
    ordinal: int
    count: int = 1
    back: int = 1
    pace: int = 0
    """As in `Settled`: whether the other lanes had come to rest."""


@dataclass(slots=True, kw_only=True)
class Called(Record):
    """A finished observation in one record: announced, its head and parts if any, settled.

    What would be `Announced`, `Head`, `Part`, `Settled` where nothing else was recorded meanwhile.
    `soft`: what its lane observed before its end, values by kind; stands for `Observed` records.
    """

    CODE: ClassVar[int] = 20
    ordinal: int
    lane: str
    kind: str
    label: str
    wall_ns: int
    identity: Mapping[str, Any]
    details: Mapping[str, Any]
    value: Any = None
    head: Any = None
    sizes: list[int] | None = None
    content: bytes = b""
    soft: Mapping[str, list[Any]] | None = None

    def unfold(self) -> tuple[Announced, Head | None, Part | None, Settled]:
        """Return the records that it stands for."""
        ordinal, lane = self.ordinal, self.lane
        announced = Announced(
            ordinal=ordinal,
            lane=lane,
            kind=self.kind,
            label=self.label,
            wall_ns=self.wall_ns,
            identity=self.identity,
            details=self.details,
        )
        head = part = None
        if self.head is not None:
            head = Head(ordinal=ordinal, lane=lane, value=self.head)
        if self.sizes:
            part = Part(ordinal=ordinal, lane=lane, sizes=self.sizes, content=self.content)
        return announced, head, part, Settled(ordinal=ordinal, lane=lane, value=self.value)


@dataclass(slots=True, kw_only=True)
class Loaded(Record):
    """A module or script of the project was loaded; `source` is what it said (H25)."""

    CODE: ClassVar[int] = 22
    name: str
    """Full name of a module; path of a script, relative to the working folder where below it."""
    path: str
    digest: str
    """Keyed hash of the source: tells an edit, and nothing else."""
    source: bytes | codec.Sealed = b""
    blob: list[Any] | None = None
    sealed: bool = False
    """The source, inline or blob, is a Sealed: a registered value stands in it."""


@dataclass(slots=True, kw_only=True)
class Forked(Record):
    """What was copied from the run `parent` ends here; positions >= `position` are its own."""

    CODE: ClassVar[int] = 23
    position: int
    wall_ns: int
    parent: str
    genesis: bytes
    """32 bytes that seed the generators anew where `position` begins."""
    lineage: list[list[Any]] = field(default_factory=list)
    """[first position, run id] of the runs that the positions before belong to, in order."""
    secrets_of: str = ""
    """The run whose keys seal answers and hide request secrets here, as META says, too."""


@dataclass(slots=True, kw_only=True)
class Kept(Record):
    """The names that a cell changed and that executing it again would not bring back (H16)."""

    CODE: ClassVar[int] = 24
    names: list[str]
    gone: list[str] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)
    """[name, reason] of what could not be kept."""
    blobs: list[list[Any]] = field(default_factory=list)
    """The pieces of one pickle, each a Sealed: [digest, size, codec]."""
    generators: Mapping[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class Cut(Record):
    """A signal broke into the computing of the cell here; no further attempt does the same."""

    CODE: ClassVar[int] = 25
    by: str
