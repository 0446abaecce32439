"""Obtaining: a lane that waits for what another lane has to give, and goes on when it is its turn.

A notification, a lock, the end of a thread, the beginning of one. The rule of the crowd rests on
it: *a lane that rested runs again only through here*, one at a time. What was obtained is a word of
the lane; on replay it is waited for again, and taken at its turn.

Each taking of a lock that lanes share is a word, also where everybody else rested: a kill leaves a
prefix of that order, and a replay that knew only some of it could not keep the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from durable_kernel.history import Turned, TurnKind
from durable_kernel.ports import CountedLock, Lane
from durable_kernel.replay import Diverges
from durable_kernel.runtime.turnstile import FREE, STILL

if TYPE_CHECKING:
    from durable_kernel.runtime.crowd import Crowd

__all__ = ["obtain", "take_lock"]

_monotonic = time.monotonic
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Turn(Protocol[T_co]):
    """What is waited for. `over_at`: the end of a time-out by the monotonic clock."""

    over_at: float | None

    def attempt(self) -> T_co | None: ...


class _Obtaining:
    """One wait of one lane. `attempt` takes what is wanted, if it is there."""

    def __init__(
        self,
        crowd: Crowd,
        lane: Lane,
        kind: str,
        attempt: Callable[[], bool],
        timeout_s: float | None,
    ) -> None:
        self._crowd = crowd
        self._lane = lane
        self._kind = kind
        self._attempt = attempt
        self._began_at = _monotonic()
        self.over_at = None if timeout_s is None else self._began_at + timeout_s
        self._has_got = False
        self._ready_at: float | None = None

    def attempt(self) -> tuple[bool, float] | None:
        """Return whether it was obtained, and after how many seconds. None: not yet."""
        crowd, lane = self._crowd, self._lane
        following = crowd.port.replay.next_word(lane.path)
        if following is None:
            return self._live() if crowd.is_live_for(lane) else None
        number, word = following
        if word.kind != self._kind:
            verdict = Diverges(f"{word.kind} of lane {lane.path or 'main'}", self._kind)
            raise crowd.port.set_latch(crowd.port.divergence(verdict))
        if not crowd.is_turn(lane, TurnKind.WORD, number, blocks=True):
            return None
        waited_s = float(word.value)
        if waited_s >= 0 and not self._attempt():
            return None
        _take(crowd, lane, number)
        return (True, waited_s) if waited_s >= 0 else (False, -waited_s)

    def _live(self) -> tuple[bool, float] | None:
        if not self._has_got:
            self._has_got = self._attempt()
        now = _monotonic()
        if not self._has_got and (self.over_at is None or now < self.over_at):
            return None
        if self._ready_at is None:
            self._ready_at = now
        pace = _live_pace(self._crowd, self._lane)
        if pace is None:
            return None
        waited_s = max(self._ready_at - self._began_at, 1e-6) if self.over_at is not None else 0.0
        value = waited_s if self._has_got else -max(waited_s, 1e-6)
        self._crowd.add_word(Turned(lane=self._lane.path, kind=self._kind, value=value, pace=pace))
        return self._has_got, waited_s


class _LockTurn:
    """One attempt of one lane to take a lock that lanes share. `mine`: it is its n-th of this lock.

    Returns tuples of one truth value.
    """

    def __init__(
        self,
        crowd: Crowd,
        lane: Lane,
        lock: CountedLock,
        mine: int,
        attempt: Callable[[], bool],
        timeout_s: float | None,
    ) -> None:
        self._crowd = crowd
        self._lane = lane
        self._lock = lock
        self._mine = mine
        self._attempt = attempt
        self._began_at = _monotonic()
        self.over_at = None if timeout_s is None else self._began_at + timeout_s
        self._has_got = False

    @property
    def _kind(self) -> str:
        return f"lock {self._lock.name}"

    def at_once(self) -> bool:
        """Take a free lock in a live run. False: it is not free, or the run replays.

        In one that has stopped, too: code that unwinds gives back what it has.
        """
        crowd = self._crowd
        with crowd.port.lock:
            if crowd.port.latch is not None:
                return self._attempt()
            if not crowd.port.replay.is_live:
                return False
            if not self._attempt():
                return False
            self._record(FREE, is_got=True)
            self._count()
            return True

    def attempt(self) -> tuple[bool] | None:
        crowd, lane = self._crowd, self._lane
        replay = crowd.port.replay
        following = replay.next_word(lane.path)
        if following is not None and following[1].kind == self._kind:
            own, _, total = str(following[1].value).partition("/")
            if int(own) == self._mine:
                return self._recorded(following[0], total)
        # A lane with records left is not live, though they may be all that is left.
        if replay.has_more(lane.path) or not crowd.is_live_for(lane):
            return None
        return self._live()

    def _recorded(self, number: int, total: str) -> tuple[bool] | None:
        """Take it when the lock was taken as often as it was then."""
        if not self._crowd.is_turn(self._lane, TurnKind.WORD, number, blocks=True):
            return None
        is_got = total != "-"
        if is_got and (self._lock.taken != int(total) or not self._attempt()):
            return None
        _take(self._crowd, self._lane, number)
        if is_got:
            self._count()
        return (is_got,)

    def _live(self) -> tuple[bool] | None:
        if not self._has_got:
            self._has_got = self._attempt()
            if self._has_got:
                self._count()
        if not self._has_got and (self.over_at is None or _monotonic() < self.over_at):
            return None
        pace = _live_pace(self._crowd, self._lane)
        if pace is None:
            return None
        self._record(pace, is_got=self._has_got, before=1)
        return (self._has_got,)

    def _count(self) -> None:
        self._lock.taken += 1
        self._crowd.turnstile.taken += 1

    def _record(self, pace: int, *, is_got: bool, before: int = 0) -> None:
        value = f"{self._mine}/{self._lock.taken - before if is_got else '-'}"
        self._crowd.add_word(Turned(lane=self._lane.path, kind=self._kind, value=value, pace=pace))

    def undo(self) -> None:
        """Give back what was taken before the wait was broken off."""
        if self._has_got:
            self._lock.give_back()


def obtain(
    crowd: Crowd,
    lane: Lane,
    kind: str,
    attempt: Callable[[], bool],
    timeout_s: float | None,
) -> tuple[bool, float]:
    """Wait until `attempt` succeeds, or the time is over, and it is the lane's turn."""
    turn = _Obtaining(crowd, lane, kind, attempt, timeout_s)
    lane.is_at_gate, lane.is_waiting = True, False
    return _waited(crowd, lane, turn)


def take_lock(
    crowd: Crowd,
    lane: Lane,
    lock: CountedLock,
    mine: int,
    attempt: Callable[[], bool],
    timeout_s: float | None,
) -> bool:
    """Take a lock in the recorded order. `timeout_s`: 0 tries once, None waits."""
    turn = _LockTurn(crowd, lane, lock, mine, attempt, timeout_s)
    if turn.at_once():
        return True
    try:
        return _waited(crowd, lane, turn)[0]
    except BaseException:
        turn.undo()
        raise


def _waited(crowd: Crowd, lane: Lane, turn: _Turn[T]) -> T:
    return crowd.turnstile.wait(
        lane, turn.attempt, is_patient=lambda: crowd.is_live_for(lane), over_at=turn.over_at
    )


def _take(crowd: Crowd, lane: Lane, number: int) -> None:
    crowd.take_turn(lane, TurnKind.WORD, number)
    crowd.port.replay.take_word(lane.path)


def _live_pace(crowd: Crowd, lane: Lane) -> int | None:
    """Return the pace with which a live lane may go on now. None: it has to wait for the others."""
    turnstile = crowd.turnstile
    if turnstile.is_at_rest(lane, but_for=lane.loop):  # its loop can't run meanwhile
        return STILL
    if turnstile.is_patience_over(lane):
        return turnstile.hurried()
    turnstile.note_ready(lane)
    return None
