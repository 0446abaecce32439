"""A whole port in memory: effects are tested against it, without journal, replay or runtime.

    live = FakePort()                        first session: every step is live, everything is kept
    again = FakePort(live.journal())         second session: the same questions are answered from it
    cut = FakePort(live.journal().cut(n))    as after a kill -9 inside the n-th call

It keeps the promises of `durable_kernel.ports` in their simplest form: calls match one by one per
lane and are verified by kind and identity, draws match per (lane, kind), soft columns per (lane,
kind). A call in doubt is made again if it may be repeated at all; otherwise `doubt` decides, or
RequestInterrupted is raised. It knows no time: `Repeat.seconds_max` is only compared with zero.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from durable_kernel.codec import KnownSecrets
from durable_kernel.errors import DivergenceError, RequestInterrupted, WorldClosedError
from durable_kernel.ports import (
    AnswerParser,
    Call,
    CountedLock,
    HostRules,
    Lane,
    Outcome,
    Repeat,
    SharedGenerator,
    Source,
    Step,
    entered,
    suspended,
)

__all__ = ["FakeJournal", "FakePort", "FakeStep", "FakeWitness", "RecordedCall"]

_TURNS_OF_REST = 50

Doubt = Callable[[Call, AnswerParser | None], Outcome]

_monotonic, _sleep = time.monotonic, time.sleep  # bound before any hook

T = TypeVar("T")


@dataclass
class RecordedCall:
    """One call as the journal holds it. `outcome` None: the process died before it was settled."""

    lane: str
    call: Call
    head: Any = None
    parts: list[bytes] = field(default_factory=list)
    outcome: Outcome | None = None


@dataclass
class FakeJournal:
    """Everything that one session recorded. Columns and draws are keyed by (lane path, kind)."""

    calls: list[RecordedCall] = field(default_factory=list)
    draws: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    soft: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    after: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """How many calls were begun, in all lanes, before each word of a lane and kind."""

    def cut(self, index: int, *, parts: int | None = None, head: bool = True) -> FakeJournal:
        """Return a copy that ends inside call `index`: without outcome, with `parts` parts.

        Words of tasks that came behind its beginning are not in it either.
        """
        cut = copy.deepcopy(self)
        del cut.calls[index + 1 :]
        for key, places in cut.after.items():
            kept = sum(place <= index for place in places)
            del places[kept:], cut.draws[key][kept:]
        last = cut.calls[index]
        last.outcome = None
        last.head = last.head if head else None
        last.parts = last.parts[:parts]
        return cut


class FakeStep:
    """One begun call of a `FakePort`. What is recorded stands in `entry`."""

    def __init__(self, key: str, entry: RecordedCall, known: RecordedCall | None) -> None:
        self.entry = entry
        self.idempotency_key = key
        self.outcome: Outcome | None = None if known is None else known.outcome
        self.head: Any = None if known is None else known.head
        self.parts: Iterable[bytes] = [] if known is None else list(known.parts)
        is_cut = known is not None and known.outcome is None
        self.repeats = known.call.details if known is not None and is_cut else None
        self.is_unasked = is_cut

    async def turn(self) -> None:
        """Do nothing: a fake delivers at once."""

    def set_head(self, head: Any) -> None:
        assert self.outcome is None, "a replayed step takes no head"
        assert self.entry.head is None, "a head is recorded once; compare with step.head instead"
        self.entry.head = head

    def add_part(self, data: bytes) -> None:
        assert self.outcome is None, "a replayed step takes no parts"
        assert self.entry.outcome is None, "a settled step takes no parts"
        self.entry.parts.append(bytes(data))

    def settle(self, outcome: Outcome) -> None:
        assert self.outcome is None, "a replayed step is settled already"
        if self.entry.outcome is None:
            self.entry.outcome = outcome


class FakePort:
    """Implements `ports.Port`. `calls` lists every call begun, live or replayed, in order.

    `answered` and `made` count steps served from the journal and steps that went to the world.
    """

    run_id = "fake-run"

    def __init__(
        self,
        recorded: FakeJournal | None = None,
        *,
        doubt: Doubt | None = None,
        hosts: HostRules | None = None,
    ) -> None:
        self.hosts = hosts or HostRules()
        self._known = copy.deepcopy(recorded) if recorded is not None else FakeJournal()
        self._written = FakeJournal(
            draws=defaultdict(list, {key: [] for key in self._known.draws}),
            soft=defaultdict(list, copy.deepcopy(self._known.soft)),
        )
        self._doubt = doubt
        self._ordinals: Counter[str] = Counter()
        self.secrets = KnownSecrets(b"fake port, not a secret key here")
        self.lanes: dict[str, Lane] = {}
        self.calls: list[Call] = []
        self.steps: list[FakeStep] = []
        self.notes: list[str] = []
        self.doubted: list[str] = []
        self.flushes = 0
        self.answered = 0
        self.made = 0

    # --- what a test asks ---

    def make_lane(self, path: str = "") -> Lane:
        """Return the lane of that path; made once."""
        if path not in self.lanes:
            self.lanes[path] = Lane(path, self, lambda kind: self._make_source(path, kind))
        return self.lanes[path]

    @contextmanager
    def cell(self, path: str = "") -> Iterator[Lane]:
        """Run the body as a cell would: with the lane current."""
        with entered(self.make_lane(path)) as lane:
            yield lane

    def journal(self) -> FakeJournal:
        """Return a copy of all that is recorded by now, as the next session would find it."""
        self._take_pending()
        found = copy.deepcopy(self._written)
        found.calls.extend(copy.deepcopy(self._known.calls))
        for key, values in self._known.draws.items():
            found.draws[key].extend(values)
        for key, places in self._known.after.items():
            found.after.setdefault(key, []).extend(places)
        return FakeJournal(found.calls, dict(found.draws), dict(found.soft), found.after)

    def column(self, kind: str, path: str = "") -> list[Any]:
        """Return the recorded values of one soft kind."""
        self._take_pending()
        return list(self._written.soft.get((path, kind), []))

    # --- Port ---

    @property
    def is_live(self) -> bool:
        return not self._known.calls and not any(self._known.draws.values())

    def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> FakeStep:
        self.flush()
        self.calls.append(call)
        ordinal = self._ordinals[lane.path]
        self._ordinals[lane.path] += 1
        known = self._take_known(lane, call)
        entry = known if known is not None else RecordedCall(lane.path, call)
        self._written.calls.append(entry)
        step = FakeStep(f"{self.run_id}/{lane.path}/{ordinal}", entry, known)
        self.steps.append(step)
        if known is not None and known.outcome is None:
            self._settle_doubt(step, call, known.call.repeat, answer)
        if step.outcome is None:
            self.made += 1
        else:
            self.answered += 1
        return step

    def recall(self, lane: Lane, call: Call) -> tuple[Any] | None:
        return None

    async def begin_async(
        self, lane: Lane, call: Call, answer: AnswerParser | None = None
    ) -> FakeStep:
        return self.begin(lane, call, answer)

    def put_in_doubt(
        self,
        lane: Lane,
        call: Call,
        step: Step,
        found: str,
        answer: AnswerParser | None = None,
    ) -> FakeStep:
        """Let `doubt` decide, or raise RequestInterrupted; `doubted` keeps what was found."""
        assert isinstance(step, FakeStep)
        assert step.is_unasked, "only what is repeated unasked can be in doubt again"
        self.doubted.append(found)
        if self._doubt is None:
            raise RequestInterrupted(call.label, "cell", "an earlier time")
        step.is_unasked = False
        step.outcome = step.entry.outcome = self._doubt(call, answer)
        return step

    async def put_in_doubt_async(
        self,
        lane: Lane,
        call: Call,
        step: Step,
        found: str,
        answer: AnswerParser | None = None,
    ) -> FakeStep:
        return self.put_in_doubt(lane, call, step, found, answer)

    def next_recorded(self, lane: Lane) -> tuple[str, Mapping[str, Any]] | None:
        for known in self._known.calls:
            if known.lane == lane.path:
                return known.call.kind, known.call.identity
        return None

    def spawn(self, lane: Lane, kind: str) -> Lane:
        """Make a lane as the real port names it. A fake keeps no order between lanes."""
        lane.spawned += 1
        return self.make_lane(f"{lane.path}/{kind}{lane.spawned}")

    def end(self, lane: Lane) -> None:
        lane.has_ended = True

    def decide(
        self, lane: Lane, kind: str, produce: Callable[[], Any], *, is_free: bool = False
    ) -> Any:
        return self.draw(lane, f"word {kind}", produce)

    async def decide_async(
        self, lane: Lane, kind: str, produce: Callable[[], Awaitable[Any]]
    ) -> Any:
        key = (lane.path, f"word {kind}")
        waiting, after = self._known.draws.get(key), self._known.after.get(key)
        if waiting and after:
            await self._reach(after.pop(0))
        value = waiting.pop(0) if waiting else await produce()
        self._written.draws[key].append(value)
        self._written.after.setdefault(key, []).append(len(self.calls))
        return value

    async def _reach(self, calls: int) -> None:
        """Let the other tasks come to where they were: the nearest thing to an order in a fake."""
        turns = 0
        while turns < _TURNS_OF_REST:
            with suspended():
                await asyncio.sleep(0)
            turns = 0 if len(self.calls) < calls else turns + 1

    def obtain(
        self, lane: Lane, kind: str, attempt: Callable[[], bool], timeout_s: float | None = None
    ) -> tuple[bool, float] | None:
        """Wait, and record after how long: less than nothing for a time-out."""
        began_at = _monotonic()

        def produce() -> float:
            while not attempt():
                waited_s = _monotonic() - began_at
                if timeout_s is not None and waited_s >= timeout_s:
                    return -max(waited_s, 1e-6)
                _sleep(1e-4)
            return _monotonic() - began_at

        is_known = bool(self._known.draws.get((lane.path, f"word {kind}")))
        waited_s = float(self.draw(lane, f"word {kind}", produce))
        while is_known and waited_s >= 0 and not attempt():
            _sleep(1e-4)
        return waited_s >= 0, abs(waited_s)

    def take_lock(
        self,
        lane: Lane,
        lock: CountedLock,
        mine: int,
        attempt: Callable[[], bool],
        timeout_s: float | None = None,
    ) -> bool | None:
        """Take a lock, in any order."""
        over_at = None if timeout_s is None else _monotonic() + timeout_s
        while not attempt():
            if over_at is not None and _monotonic() >= over_at:
                return False
            _sleep(1e-4)
        lock.taken += 1
        return True

    def draw_shared(self, lane: Lane, generator: SharedGenerator, make: Callable[[], T]) -> T:
        """Draw, in any order."""
        return make()

    def nudge(self, lane: Lane) -> None:
        """Do nothing: those who wait look by themselves."""

    def has_word(self, lane: Lane, kind: str = "") -> bool:
        return any(
            values and path == lane.path and known.startswith(f"word {kind}")
            for (path, known), values in self._known.draws.items()
        )

    def has_observed(self, lane: Lane, kind: str) -> bool:
        """Say no: who waits in a fake asks when it is live."""
        return False

    def is_at_rest(self, lane: Lane | None = None) -> bool:
        return True

    @property
    def is_crowded(self) -> bool:
        return len(self.lanes) > 1

    def draw(self, lane: Lane, kind: str, produce: Callable[[], Any]) -> Any:
        key = (lane.path, kind)
        waiting = self._known.draws.get(key)
        value = waiting.pop(0) if waiting else produce()
        self._written.draws[key].append(value)
        return value

    def flush(self) -> None:
        self.flushes += 1
        self._take_pending()

    def note(self, lane: Lane, sentence: str) -> None:
        self.notes.append(sentence)

    # --- inside ---

    def _take_known(self, lane: Lane, call: Call) -> RecordedCall | None:
        for index, known in enumerate(self._known.calls):
            if known.lane != lane.path:
                continue
            if (known.call.kind, known.call.identity) != (call.kind, call.identity):
                raise DivergenceError(
                    f"lane {lane.path!r}",
                    f"{known.call.kind} {known.call.identity}",
                    f"{call.kind} {call.identity}",
                )
            return self._known.calls.pop(index)
        return None

    def _settle_doubt(
        self, step: FakeStep, call: Call, known_repeat: Repeat, answer: AnswerParser | None
    ) -> None:
        if known_repeat.seconds_max > 0 or call.repeat.is_listed:
            return
        if self._doubt is None:
            raise RequestInterrupted(call.label, "cell", "an earlier time")
        step.outcome = step.entry.outcome = self._doubt(call, answer)

    def _make_source(self, path: str, kind: str) -> Source | None:
        recorded = self._known.soft.get((path, kind), [])
        if not recorded and self.is_live:
            return None
        lane = self.lanes[path]
        waiting = list(reversed(recorded))
        last: Any = recorded[-1] if recorded else None

        def read(original: Callable[[], Any]) -> Any:
            """Serve a record; used up, repeat the last one until the run is live (H31)."""
            nonlocal last
            if waiting:
                return waiting.pop()
            if self.is_live or last is None:
                if self.is_live:
                    lane.make_live(kind)
                value = original()
                lane.record[kind](value)
                return value
            if _is_monotonic(kind):
                last += 1 if kind.endswith("_ns") else 1e-9
            return last

        return read

    def _take_pending(self) -> None:
        for path, lane in self.lanes.items():
            for kind, values in lane.take_pending():
                self._written.soft[path, kind].extend(values)


class FakeWitness:
    """Implements `ports.Witness`: keeps what it is told. With `denies`, it stops every act."""

    def __init__(self, *, denies: bool = False) -> None:
        self.denies = denies
        self.crossings: list[tuple[str, bool]] = []

    @property
    def acts(self) -> list[str]:
        return [what for what, is_act in self.crossings if is_act]

    @property
    def observations(self) -> list[str]:
        return [what for what, is_act in self.crossings if not is_act]

    def crossing(self, what: str, *, is_act: bool) -> None:
        self.crossings.append((what, is_act))
        if self.denies and is_act:
            raise WorldClosedError("a test", "nothing", what)


def _is_monotonic(kind: str) -> bool:
    return kind.startswith(("time.monotonic", "time.perf", "time.process", "time.thread"))
