"""The donor: what earlier attempts at a cell recorded, offered to the attempt that runs now.

Pure: no file, no clock. The new attempt is live; the port asks here before it asks the world.

A lane follows its donors from its first call on. As long as each call is the one that some attempt
recorded at this ordinal (kind and identity), the newest such attempt answers. The first call that
none of them knows is live, and so is all that this lane does later: what was recorded behind a
difference belongs to another story. Draws and clocks are served as long as any lane can still
reuse a call, so that calls made from them stay the same; behind the last one they are fresh.

    asked in a lane that follows        answer
    the recorded call, ended            Reuse
    the recorded act, in doubt          Reuse; the port decides as about any act in doubt
    an observation, none or another     live from here on
    an act, none or another             live, unless acts of this lane were done and not asked for
                                        again, or the very act was done in another lane: Forbidden

An attempt that failed and was changed nowhere would fail again on its records alone. So the last
call that it made is not offered, and is live: unless it is an act that may not be made again.
Not offered either: what an interrupt cut, what a reader left behind unread as the last thing it
did, and a call that a full disk refused before it left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from durable_kernel.history import Announced, CallHistory, Choice, PositionHistory
from durable_kernel.ports import Act, Call, Ending
from durable_kernel.replay.doubt import may_repeat
from durable_kernel.replay.machine import is_same_call

__all__ = ["Donor", "Forbidden", "Reuse"]

_CLOSED = "builtins:GeneratorExit"
_REFUSED = "durable_kernel.errors:JournalFullError"


@dataclass(frozen=True, slots=True)
class Reuse:
    """This call was made before: take what the attempt `back` donors before recorded."""

    call: CallHistory
    back: int


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Going on would act though these acts were done and are not asked for again."""

    acts: tuple[Announced, ...]


class Donor:
    """Cursors over the earlier attempts at one cell, newest first.

    Args:
        attempts: the attempts, newest first; not empty.
        is_unchanged: neither the cell nor anything before it was edited since the newest failed.
        lsn: name of the newest attempt.
        now_ns: wall time, for acts that may be made again within a time.
        repeats_acts: the user allowed to do again what was done.
    """

    def __init__(
        self,
        attempts: Sequence[PositionHistory],
        *,
        lsn: int = 0,
        is_unchanged: bool,
        now_ns: int,
        repeats_acts: bool,
    ) -> None:
        self.lsn = lsn
        self._attempts = attempts
        self._now_ns = now_ns
        self._repeats_acts = repeats_acts
        self._next: dict[str, int] = {}
        self._matching: dict[str, list[int]] = {}
        self._is_free: set[str] = set()
        self._drawn: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._done = {
            id(each.announced): (lane, each)
            for attempt in attempts
            for lane, each in _calls(attempt)
            if self._is_act(each)
        }
        self.reused = 0
        self.kept: Announced | None = None
        """The act that was the last call before the error: it is not made again."""
        last = attempts[0].last_ended if is_unchanged else None
        if last is not None and self._is_act(last) and not repeats_acts:
            self.kept, last = last.announced, None
        self._offered = [
            {lane: self._prefix(each, lane) for lane in each.calls} for each in attempts
        ]
        if last is not None:
            lane, ordinal = last.announced.lane, last.announced.ordinal
            for offered in self._offered:
                offered[lane] = min(offered.get(lane, 0), ordinal)

    def follow(self, history: PositionHistory) -> None:
        """Go on behind what the new attempt recorded before it was interrupted."""
        for lane, calls in history.calls.items():
            reused = history.reused.get(lane, 0)
            for ordinal, call in enumerate(calls[:reused]):
                self._take(lane, self._still_matching(lane, ordinal, call.announced), call)
            if reused < len(calls):
                self._is_free.add(lane)
        self._drawn = {key: len(values) for key, values in history.hard.items()}
        self._seen = {key: len(values) for key, values in history.soft.items()}

    def ask(self, lane: str, asked: Call) -> Reuse | Forbidden | None:
        """Match the next call of a lane. None: it is live, and the lane from here on."""
        ordinal = self._next.get(lane, 0)
        if lane not in self._is_free:
            matching = self._still_matching(lane, ordinal, asked)
            for index in matching:
                if ordinal < self._offered[index].get(lane, 0):
                    call = self._attempts[index].calls[lane][ordinal]
                    self._take(lane, matching, call)
                    return Reuse(call, index + 1)
        if asked.act is not Act.OBSERVATION and not self._repeats_acts:
            in_the_way = tuple(
                each.announced
                for of, each in self._done.values()
                if of == lane or is_same_call(each.announced, asked)
            )
            if in_the_way:
                return Forbidden(in_the_way)
        self._is_free.add(lane)
        return None

    def draw(self, lane: str, kind: str) -> tuple[Any] | None:
        """Take the next hard observation of a kind; None where there is none to follow."""
        columns = [each.hard.get((lane, kind), ()) for each in self._attempts]
        return self._take_value(lane, kind, columns, self._drawn)

    def see(self, lane: str, kind: str) -> tuple[Any] | None:
        """Take the next soft observation of a kind; None where there is none to follow."""
        columns = [each.soft.get((lane, kind), ()) for each in self._attempts]
        return self._take_value(lane, kind, columns, self._seen)

    @property
    def offered(self) -> int:
        """How many calls can be reused at most, from the start."""
        lanes = {lane for each in self._offered for lane in each}
        return sum(max(each.get(lane, 0) for each in self._offered) for lane in lanes)

    def left_behind(self) -> tuple[Announced, ...]:
        """List the acts that were done and that nobody asked for again."""
        return tuple(each.announced for _, each in self._done.values())

    # --- inside -----------------------------------------------------------------------------------

    def _is_act(self, call: CallHistory) -> bool:
        """Tell whether this was done, or may have been, and must not be done unasked again."""
        return not (may_repeat(call.announced, self._now_ns) or _was_not_made(call))

    def _prefix(self, attempt: PositionHistory, lane: str) -> int:
        """Count the calls of a lane that can be reused, from its first on."""
        calls = attempt.calls[lane]
        has_ended_well = attempt.committed is not None and attempt.committed.status == "ok"
        for ordinal, call in enumerate(calls):
            is_end = ordinal + 1 == len(calls) and not has_ended_well
            if not self._is_offered(call, is_end=is_end):
                return ordinal
        return len(calls)

    def _is_offered(self, call: CallHistory, *, is_end: bool) -> bool:
        """Tell whether a call can be reused. `is_end`: the last before its attempt broke off."""
        if not call.is_complete:
            return self._is_act(call)
        if call.settled is None:
            return True
        error = call.settled.error[0] if call.settled.error else ""
        match Ending(call.settled.ending):
            case Ending.ABANDONED:
                return error == _CLOSED and (self._is_act(call) or not is_end)
            case Ending.INTERRUPTED | Ending.LOST | Ending.CARRIED:
                return False
            case _:
                return error != _REFUSED

    def _still_matching(self, lane: str, ordinal: int, asked: Call | Announced) -> list[int]:
        """List the attempts that recorded all calls of this lane so far, and this one."""
        matching = self._matching.get(lane)
        return [
            index
            for index in (range(len(self._attempts)) if matching is None else matching)
            if (call := self._attempts[index].call(lane, ordinal)) is not None
            and is_same_call(call.announced, asked)
        ]

    def _take(self, lane: str, matching: list[int], call: CallHistory) -> None:
        self._matching[lane] = matching
        self._next[lane] = self._next.get(lane, 0) + 1
        self._done.pop(id(call.announced), None)
        self.reused += 1

    def _follows(self, lane: str) -> bool:
        """Tell whether this lane's draws still matter: some lane can reuse a call."""
        if lane in self._is_free:
            return False
        return any(
            self._next.get(of, 0) < offered
            for index, each in enumerate(self._offered)
            for of, offered in each.items()
            if of not in self._is_free and index in self._matching.get(of, (index,))
        )

    def _take_value(
        self,
        lane: str,
        kind: str,
        columns: Sequence[Sequence[Any]],
        taken: dict[tuple[str, str], int],
    ) -> tuple[Any] | None:
        """Take a value that the newest matching attempt has; the older ones began with the same."""
        index = taken.get((lane, kind), 0)
        matching = self._matching.get(lane) or range(len(self._attempts))
        column = next((columns[each] for each in matching if index < len(columns[each])), None)
        if column is None or not self._follows(lane):
            return None
        taken[lane, kind] = index + 1
        return (column[index],)


def _calls(attempt: PositionHistory) -> Iterator[tuple[str, CallHistory]]:
    for lane, calls in attempt.calls.items():
        for each in calls:
            yield lane, each


def _was_not_made(call: CallHistory) -> bool:
    """Tell whether it is known that nothing happened: a user said so, or it never left."""
    if call.settled is None:
        return call.resolved is not None and call.resolved.choice == Choice.FAIL
    error = call.settled.error[0] if call.settled.error else ""
    return call.settled.ending == Ending.FAILED or error == _REFUSED
