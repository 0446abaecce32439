"""The replay machine of one position: its records, consumed by the code that runs again.

Pure: no file, no clock, no lock (the runtime calls it under its own), nothing but dictionaries. It
answers each question of the port with a verdict; carrying the verdict out is the runtime's work.

    question        recorded, complete     recorded, cut            nothing recorded
    call            Serve                  Repeat or InDoubt        GoLive, or Diverges
    draw            Serve                  -                        GoLive, or Diverges

Nothing recorded is a divergence in a committed position, and wherever hard records of the same lane
are left: each flush writes what all lanes drew before it, so code that is still the same can't ask
for more before it has consumed all (H6, H31). A position is live once every hard record is
consumed. Soft columns never decide anything: left-overs are dropped, and a recorded value is served
even after the switch, since outputs that a person saw may rest on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from durable_kernel.history import Announced, CallHistory, PositionHistory, Settled, Turned
from durable_kernel.ports import Call
from durable_kernel.replay.order import TurnOrder

if TYPE_CHECKING:
    from durable_kernel.replay.donor import Donor

__all__ = [
    "Diverges",
    "GoLive",
    "PositionReplay",
    "Serve",
    "ServeValue",
    "Unfinished",
    "Verdict",
    "is_same_call",
]

_ORDER_HINT = (
    "the same call stands later in the journal, so the order differs. Iterating a set of plain "
    "objects does that (their order follows memory addresses); sort it, or iterate a list."
)
_MISSING = object()
_EDIT_HINT = "the cell or a module it uses was edited, a package was upgraded, or an input differs."


@dataclass(slots=True)
class Serve:
    """The journal holds the outcome: serve it, don't touch the world.

    `back`: how many donors before this attempt it was recorded; 0: by this one.
    """

    ordinal: int
    call: CallHistory
    back: int = 0


@dataclass(slots=True)
class ServeValue:
    """The journal holds this drawn value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Announced, but not settled: `decide_doubt` says what may be done. `back` as in `Serve`."""

    ordinal: int
    call: CallHistory
    back: int = 0


@dataclass(slots=True)
class GoLive:
    """Nothing is recorded and nothing is left: ask the world.

    `ordinal` numbers the call within its lane.
    """

    ordinal: int


@dataclass(frozen=True, slots=True)
class Diverges:
    """The code asks for something else than the journal recorded."""

    recorded: str
    asked: str
    differences: tuple[str, ...] = ()
    likely_cause: str = ""


Verdict = Serve | Unfinished | GoLive | Diverges


class PositionReplay:
    """Cursors over one position's records; `history` None means a position that never ran.

    `is_open`: the position has no commit, so its end is where the process died and the run goes
    live. `donor`: where a live call may find what an earlier attempt recorded; None: nowhere.
    """

    def __init__(
        self, history: PositionHistory | None, *, is_open: bool, donor: Donor | None = None
    ) -> None:
        self.is_open = is_open
        self.donor = donor
        self._calls = {
            lane: deque(calls) for lane, calls in (history.calls if history else {}).items()
        }
        self._own_calls = self._calls.setdefault("", deque())
        self._next = {lane: len(calls) for lane, calls in self._calls.items()}
        """The ordinal of a lane's first call behind those that are recorded."""
        self._drawn = {
            key: deque(values) for key, values in (history.hard if history else {}).items()
        }
        self._soft = dict(history.soft) if history else {}
        self._words = {
            lane: deque(words) for lane, words in (history.words if history else {}).items()
        }
        self._words_taken: dict[str, int] = {}
        self._text_words: dict[tuple[str, str], str] | None = None
        self.order = TurnOrder(history.turns if history else ())
        columns = (self._calls, self._drawn, self._words)
        left = sum(len(each) for column in columns for each in column.values())
        self._left_beside = left - len(self._own_calls)

    def __repr__(self) -> str:
        state = "live" if self.is_live else f"replaying, {self.hard_left} hard records left"
        return f"<PositionReplay {state}>"

    @property
    def hard_left(self) -> int:
        """Count the hard records that nobody asked for yet."""
        return self._left_beside + len(self._own_calls)

    @property
    def is_live(self) -> bool:
        return self.is_open and self.hard_left == 0 and self.order.is_over

    @property
    def has_own_calls(self) -> bool:
        """Tell whether the cell's own line of control has a recorded call left."""
        return bool(self._own_calls)

    @property
    def is_plain(self) -> bool:
        """Tell whether every call is live as it comes: nothing is left, and no donor is asked."""
        nothing_left = not self._own_calls and not self._left_beside
        return nothing_left and self.is_open and self.donor is None

    def next_ordinal(self, lane: str) -> int:
        """Return the ordinal of the next call of a lane where `is_plain`, as `ask_call` would."""
        ordinal = self._next.get(lane, 0)
        self._next[lane] = ordinal + 1
        return ordinal

    def is_live_but_for(self, lanes: Collection[str]) -> bool:
        """Tell whether all that is left belongs to `lanes`: they wait for their cut calls."""
        return (
            self.is_open
            and not any(self._left_in(lane) for lane in self._lanes() if lane not in lanes)
            and self.order.required_left(but=lanes) == 0
        )

    def is_done(self, *, before_commit: bool) -> bool:
        """Tell whether every lane took what is recorded (up to the cell's commit)."""
        if before_commit:
            return self.order.required_left(before_commit=True) == 0
        return self.hard_left == 0 and self.order.required_left() == 0

    def has_more(self, lane: str) -> bool:
        """Tell whether any hard record of a lane is left."""
        return self._left_in(lane)

    def ask_call(self, lane: str, asked: Call) -> Verdict:
        """Match the next call of a lane. A verdict other than Diverges consumes the record."""
        left = self._calls.get(lane)
        if not left:
            ordinal = self._next.get(lane, 0)
            if not (self.is_open and not self.hard_left):  # else no need to look at this lane
                beyond = self._beyond(lane, asked.label)
                if beyond is not None:
                    return beyond
            self._next[lane] = ordinal + 1
            return GoLive(ordinal)
        call = left[0]
        if not is_same_call(call.announced, asked):
            return self._diverges(left, asked, _differences(call.announced, asked))
        ordinal = self._next[lane] - len(left)
        self._take_call(lane)
        return Serve(ordinal, call) if call.is_complete else Unfinished(ordinal, call)

    def take_value(self, asked: Call, is_plain: Callable[[Settled], bool]) -> Settled | None:
        """Take the next call of the cell's own lane if this is it, and a value all that is there.

        The short way of `ask_call`: None where that has anything else to say than Serve, or where
        there is more to serve than a value that `is_plain`; then nothing is consumed. What is
        consumed is so by one operation, so an interrupt needs no deferring.
        """
        left = self._own_calls
        if not left:
            return None
        call = left[0]
        settled = call.settled
        if settled is None or call.head is not None or call.parts or call.resolved is not None:
            return None
        if not (is_same_call(call.announced, asked) and is_plain(settled)):
            return None
        left.popleft()
        return settled

    def give_up_taken(self, lane: str) -> None:
        """Take the turns of what a lane has asked for: it was alone then, and did not wait."""
        left = self._calls.get(lane, ())
        self.order.give_up_calls(lane, self._next.get(lane, 0) - len(left))

    def next_call(self, lane: str) -> CallHistory | None:
        """Look at the next recorded call of a lane; nothing is consumed."""
        left = self._calls.get(lane)
        return left[0] if left else None

    def next_word(self, lane: str) -> tuple[int, Turned] | None:
        """Look at the next word of a lane and its number; None when all are taken."""
        words = self._words.get(lane)
        return (self._words_taken.get(lane, 0), words[0]) if words else None

    def take_word(self, lane: str) -> Turned:
        """Consume the next word of a lane."""
        self._left_beside -= 1
        self._words_taken[lane] = self._words_taken.get(lane, 0) + 1
        return self._words[lane].popleft()

    def may_draw(self, lane: str, kind: str) -> bool:
        """Tell whether a draw can be answered here: it is recorded, or the position is open."""
        return self.is_open or bool(self._drawn.get((lane, kind)))

    def ask_draw(self, lane: str, kind: str) -> ServeValue | GoLive | Diverges:
        """Match the next hard observation of a kind."""
        column = self._drawn.get((lane, kind))
        if column:
            self._left_beside -= 1
            return ServeValue(column.popleft())
        return self._beyond(lane, f"a draw of {kind}") or GoLive(-1)

    def take_soft(self, lane: str, kind: str) -> list[Any]:
        """Hand over the recorded column of a soft kind; it is the caller's from now on."""
        column: list[Any] = self._soft.pop((lane, kind), [])
        return column

    def untaken_soft(self) -> int:
        """Count the soft values of the columns that nobody asked for at all."""
        return sum(map(len, self._soft.values()))

    def unmet_by(self, lane: str) -> Diverges | None:
        """At a lane's end: what the journal recorded for it and it never asked for."""
        if not self._left_in(lane):
            return None
        asked = f"the end of lane {lane}" if lane else "nothing more"
        return Diverges(self._first_left(lane), asked, (), _EDIT_HINT)

    def _take_call(self, lane: str) -> None:
        self._calls[lane].popleft()
        self._left_beside -= lane != ""

    def _beyond(self, lane: str, asked: str) -> Diverges | None:
        if self.is_open and not self._left_in(lane):
            return None
        left = self._first_left(lane)
        return Diverges(left or "nothing more in this cell", asked, (), _EDIT_HINT)

    def _left_in(self, lane: str) -> bool:
        if self._calls.get(lane) or self._words.get(lane):
            return True
        return any(column for (of, _), column in self._drawn.items() if of == lane)

    def _lanes(self) -> set[str]:
        return {*self._calls, *self._words, *(lane for lane, _ in self._drawn)}

    def _first_left(self, lane: str) -> str:
        if calls := self._calls.get(lane):
            return calls[0].announced.label
        if words := self._words.get(lane):
            return f"{words[0].kind} of lane {lane or 'main'}"
        return next(
            (f"a draw of {k}" for (of, k), column in self._drawn.items() if of == lane and column),
            "",
        )

    def _diverges(
        self, left: Sequence[CallHistory], asked: Call, differences: tuple[str, ...]
    ) -> Diverges:
        following = islice(left, 1, None)
        is_reordered = any(is_same_call(later.announced, asked) for later in following)
        cause = _ORDER_HINT if is_reordered else _EDIT_HINT
        return Diverges(left[0].announced.label, asked.label, differences, cause)


def is_same_call(recorded: Announced, asked: Call | Announced) -> bool:
    """Tell whether it is the same call. Each replayed call pays for this."""
    ours, theirs = recorded.identity, asked.identity
    if recorded.kind != asked.kind or len(ours) != len(theirs):
        return False
    for name, our in ours.items():
        their = theirs.get(name, _MISSING)
        if type(our) is not type(their) or not our == their:  # noqa: SIM201 - as `_equal`
            return False
    return True


def _differences(recorded: Announced, asked: Call) -> tuple[str, ...]:
    """Name the fields that differ, for people. Details never count (H32)."""
    if recorded.kind != asked.kind:
        return (f"kind: recorded {recorded.kind}, asked {asked.kind}",)
    return tuple(
        f"{name}: recorded {_shown(recorded.identity, name)}, asked {_shown(asked.identity, name)}"
        for name in dict.fromkeys((*recorded.identity, *asked.identity))
        if not _equal(recorded.identity, asked.identity, name)
    )


def _equal(recorded: Mapping[str, Any], asked: Mapping[str, Any], name: str) -> bool:
    if name not in recorded or name not in asked:
        return False
    ours, theirs = recorded[name], asked[name]
    return type(ours) is type(theirs) and bool(ours == theirs)


def _shown(identity: Mapping[str, Any], name: str) -> str:
    text = repr(identity[name]) if name in identity else "nothing"
    return text if len(text) <= 200 else text[:197] + "..."  # noqa: PLR2004 - one line for people
