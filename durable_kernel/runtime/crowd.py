"""The crowd: the lanes of a run, spawned, let go on in recorded order, and ended.

The port's half for positions with two lanes or more. Where one lane is alone nothing of this is
asked. Everything here runs under the port's lock, but for the waiting.

A lane that has used up its records waits until the run is live: until every other lane took what is
recorded, or waits for a call of its own that was cut. In a position that was committed it waits for
the next one; only the cell's own lane diverges there at once (H6, H8).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

from durable_kernel.errors import DivergenceError, Stop
from durable_kernel.history import CallHistory, Turned, TurnKind
from durable_kernel.ports import Ending, Lane, through_cancellation, waiting
from durable_kernel.replay import Diverges, PositionReplay, Serve, Unfinished
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.parking import Parked
from durable_kernel.runtime.pending import Pending
from durable_kernel.runtime.turnstile import (
    CUT,
    FREE,
    HURRIED,
    STILL,
    TURNS_MAX,
    Turnstile,
    _monotonic as monotonic,
)

__all__ = ["Crowd"]

_LIVE = object()
_ASTIR_S_MAX = 3.0
"""A lane that spins until the cancelled call has ended keeps that end from coming no longer."""
_SKIP_AFTER_S = 0.05
"""An end that nobody reads is passed over when everybody has waited this long."""
_STALL_CAUSE = (
    "no lane can go on: each waits for another one or for its turn. The order of locks and threads "
    "is not the recorded one; they wait here:"
)


class Crowded(Protocol):
    """What the crowd needs of the port."""

    lock: Any
    interrupts: Interrupts
    latch: Stop | None
    closed: Stop | None
    position: int

    @property
    def replay(self) -> PositionReplay: ...

    @property
    def parked(self) -> list[Parked]: ...

    def where(self) -> str: ...

    def set_latch(self, stop: Stop) -> Stop: ...

    def divergence(self, verdict: Diverges) -> DivergenceError: ...

    def announce_cut(self, lane: Lane, ordinal: int, call: CallHistory) -> CallHistory: ...


class Crowd:
    """The lanes of one run. `pending` is where their words wait."""

    def __init__(self, port: Crowded, pending: Pending) -> None:
        self.turnstile = Turnstile(
            port.lock, latch=lambda: port.latch or port.closed, on_stall=self._stall
        )
        self.port = port
        self._pending = pending
        self._cut: set[str] = set()
        self.unsettled: set[Lane] = set()
        """Lanes that stand before a call that was cut, and have no answer yet."""
        self._alone = _Alone(port.lock)
        self._waited_for_since: tuple[int, float] = (-1, 0.0)

    def enter(self, main: Lane, position: int, *, is_crowded: bool) -> None:
        """Begin a position: its own lane, and those that are left of earlier ones."""
        main.home = position
        self._cut.clear()
        for lane in self.turnstile.lanes:
            lane.move_to(position)
        self.turnstile.move()
        self.turnstile.lanes.insert(0, main)
        self.turnstile.taken = 0
        self.turnstile.is_crowded = is_crowded
        main.on_rest = self.turnstile.tell_rest if is_crowded else None

    def leave(self, main: Lane) -> None:
        """End the cell's own lane."""
        main.has_ended = True
        if main in self.turnstile.lanes:
            self.turnstile.lanes.remove(main)

    @property
    def has_others(self) -> bool:
        """Tell whether lanes of earlier positions are left."""
        return any(not each.has_ended for each in self.turnstile.lanes)

    def has_others_than(self, main: Lane) -> bool:
        """Tell whether other lanes than the cell's own go on."""
        return any(not each.has_ended for each in self.turnstile.lanes if each is not main)

    def spawn(self, parent: Lane, kind: str, make: Callable[[], Lane]) -> Lane:
        with self.port.lock:
            parent.spawned += 1
            branch = f"{parent.branch}/{kind}{parent.spawned}"
            child = make()
            child.branch, child.home = branch, parent.home
            child.move_to(self.port.position)
            self.turnstile.lanes.append(child)
            if not self.turnstile.is_crowded:  # what came before had no order to keep
                self.turnstile.is_crowded = True
                self.port.replay.give_up_taken(parent.path)
            parent.on_rest = child.on_rest = self.turnstile.tell_rest
            return child

    def end(self, lane: Lane) -> None:
        """End a lane. Records that it left behind are a divergence."""
        port = self.port
        with port.lock:
            if lane.has_ended:
                return
            self._pending.take(lane)
            lane.has_ended = True
            lane.on_rest = None
            self.turnstile.granted.pop(lane, None)
            if lane.loop is not None:
                self.turnstile.note_left(lane.loop)
            if lane in self.turnstile.lanes:
                self.turnstile.lanes.remove(lane)
            left = port.replay.unmet_by(lane.path)
            if left is not None and port.latch is None:
                port.set_latch(port.divergence(left))
            port.replay.order.give_up(lane.path)
            self._nudge()
            self.turnstile.tell_rest()

    # --- calls ------------------------------------------------------------------------------------

    def passing(self, lane: Lane | None, ending: Ending = Ending.VALUE) -> _Alone | _Passing:
        """Hold the lock while something is delivered to a live lane; gives the pace."""
        if not self.turnstile.is_crowded:
            return self._alone
        return _Passing(self.turnstile, lane, is_free=ending is Ending.ABANDONED)

    # --- words ------------------------------------------------------------------------------------

    def decide(
        self, lane: Lane, kind: str, produce: Callable[[], Any], *, is_free: bool = False
    ) -> Any:
        found = self.turnstile.wait(lane, lambda: self._word(lane, kind, blocks=True))
        if found is not _LIVE:
            return found[0]
        with waiting(lane):
            value = produce()
        with _Passing(self.turnstile, lane, is_free=is_free) as pace:
            self._pending.add_word(Turned(lane=lane.path, kind=kind, value=value, pace=pace))
        return value

    async def decide_async(
        self, lane: Lane, kind: str, produce: Callable[[], Awaitable[Any]]
    ) -> Any:
        found, cancellation = await self._recorded_word(lane, kind)
        if found is not _LIVE:
            if cancellation is not None:
                raise cancellation
            if found[1] == CUT:  # by somebody outside: a lane would have come first
                raise asyncio.CancelledError
            return found[0]
        value = None
        try:
            value = await produce()
            await self.turnstile.enter_async(lane)
        except asyncio.CancelledError as error:
            if self.port.latch is not None:
                raise  # by the stop, not by the cell
            cancellation = error
            await through_cancellation(lambda: self.turnstile.enter_async(lane))
        with _Passing(self.turnstile, lane) as found_pace:
            pace = found_pace if cancellation is None else CUT
            self._pending.add_word(Turned(lane=lane.path, kind=kind, value=value, pace=pace))
        if cancellation is not None:
            raise cancellation
        return value

    async def _recorded_word(
        self, lane: Lane, kind: str
    ) -> tuple[Any, asyncio.CancelledError | None]:
        """Wait for a word. A cancellation that is recorded has its turn, too."""

        def wait() -> Awaitable[Any]:
            return self.turnstile.wait_async(lane, lambda: self._word(lane, kind, blocks=False))

        try:
            return await wait(), None
        except asyncio.CancelledError as error:
            with self.port.lock:
                following = self.port.replay.next_word(lane.path)
            if following is None or following[1].pace != CUT:
                raise
            return (await through_cancellation(wait))[0], error

    async def reach(self, lane: Lane) -> None:
        """Wait until something may be delivered to a live lane of the running loop.

        Where the run has stopped nobody waits: what has happened is recorded all the same.
        """
        if self.turnstile.is_crowded and lane.loop is not None and not lane.has_ended:
            with contextlib.suppress(Stop):
                await self.turnstile.enter_async(lane)

    def add_word(self, word: Turned) -> None:
        self._pending.add_word(word)

    def _word(self, lane: Lane, kind: str, *, blocks: bool) -> Any:
        """Return the recorded word in a tuple, _LIVE, or None: not yet."""
        replay = self.port.replay
        following = replay.next_word(lane.path)
        if following is None:
            return _LIVE if self.is_live_for(lane) else None
        number, word = following
        if word.kind != kind:
            verdict = Diverges(f"{word.kind} of lane {lane.path or 'main'}", kind)
            raise self.port.set_latch(self.port.divergence(verdict))
        if not self.may_take(lane, TurnKind.WORD, number, blocks=blocks):
            return None
        replay.take_word(lane.path)
        return word.value, word.pace

    def await_next_position(self, lane: Lane, kind: str) -> None:
        """Wait with a draw that was made in a later position than the one that is replayed.

        A task of an event loop can't: its draw is answered as one too many.
        """
        if lane.loop is not None:
            return
        lock = self.port.lock
        lock.release()  # a draw holds it once; who waits must not
        try:
            self.turnstile.wait(lane, lambda: self.port.replay.may_draw(lane.path, kind) or None)
        finally:
            lock.acquire()

    # --- whose turn it is -------------------------------------------------------------------------

    def is_live_for(self, lane: Lane) -> bool:
        """Tell whether a lane without records may ask the world."""
        replay = self.port.replay
        return replay.is_live or replay.is_live_but_for(self._cut | {lane.path})

    def must_wait(self, lane: Lane) -> bool:
        """Tell whether a lane has to wait before it asks: it has no records, and others have."""
        replay = self.port.replay
        if replay.next_call(lane.path) is not None or self.is_live_for(lane):
            return False
        return bool(lane.branch) or replay.is_open

    def note_cut(self, lane: Lane) -> None:
        self._cut.add(lane.path)
        self.unsettled.add(lane)

    def may_take(self, lane: Lane, kind: TurnKind, index: int, *, blocks: bool) -> bool:
        """Take a turn if it is this lane's. What is not in the order may be had at once.

        `blocks`: the lane waits in a way that keeps its event loop from running.
        """
        if not self.is_turn(lane, kind, index, blocks=blocks):
            return False
        self.take_turn(lane, kind, index)
        return True

    def is_turn(self, lane: Lane, kind: TurnKind, index: int, *, blocks: bool) -> bool:
        """Tell whether a turn may be taken. The lane gives up its earlier ones."""
        order = self.port.replay.order
        place = order.place_of(lane.path, kind, index)
        if place is None:
            return True
        if not order.is_first(place, but=self._cut):  # who was cut goes on when all is replayed
            self._skip_unread()
            self._nudge()
            return False
        return self._is_rested_for(lane, order.turn_at(place).pace, blocks=blocks)

    def is_astir(self, lane: Lane, kind: TurnKind, index: int) -> bool:
        """Tell whether somebody before this turn may still do something; not for ever."""
        order = self.port.replay.order
        place = order.place_of(lane.path, kind, index)
        if place is None or not order.is_first(place, but=self._cut):
            return False  # then it is not its turn either, which is for others to find
        is_over = monotonic() - self.turnstile.last_pass_at > _ASTIR_S_MAX
        return not is_over and not self.turnstile.is_at_rest(lane)

    def take_turn(self, lane: Lane, kind: TurnKind, index: int) -> None:
        order = self.port.replay.order
        place = order.place_of(lane.path, kind, index)
        if place is not None:
            order.take(place)
            self._nudge()
            if order.first() is None:
                self.turnstile.nudge_all()  # who waits for the end of what is recorded

    def _is_rested_for(self, lane: Lane, pace: int, *, blocks: bool) -> bool:
        own_loop = lane.loop if blocks else None
        is_at_rest = pace == FREE or self.turnstile.is_at_rest(lane, but_for=own_loop)
        if self.turnstile.taken < pace >> 2:
            return is_at_rest and monotonic() - self.turnstile.last_pass_at > _SKIP_AFTER_S
        is_tired = lane.loop is not None and self.turnstile.turns_waited(lane.loop) > TURNS_MAX
        if is_at_rest or (pace != STILL and (is_tired or self.turnstile.is_patience_over(lane))):
            return True
        if blocks:
            self.turnstile.note_ready(lane)
        return False

    def reuse(self, lane: Lane, found: Serve | Unfinished, kind: str, *, blocks: bool) -> bool:
        """Deliver, once the others rest, what an earlier attempt recorded; False: not yet."""
        pace = STILL
        if not self._is_rested_for(lane, STILL, blocks=blocks):
            pace = HURRIED
            if not self.turnstile.is_patience_over(lane):
                return False
        self._pending.add_reused(lane, found, kind, pace)
        return True

    def _skip_unread(self) -> None:
        """Pass over an end that nobody reads, once everybody has waited for a while."""
        passes, since = self._waited_for_since
        now = monotonic()
        if passes != self.turnstile.passes:
            self._waited_for_since = self.turnstile.passes, now
        elif now - since > _SKIP_AFTER_S and self.turnstile.is_at_rest(None):
            self.port.replay.order.skip_optional()

    def _nudge(self) -> None:
        first = self.port.replay.order.first()
        if first is not None:
            self.turnstile.nudge(first.lane)

    @property
    def has_doubts(self) -> bool:
        """Tell whether a lane may have to wait for somebody's decision about a cut call.

        The next position does not begin before that: a decision names the one it belongs to.
        """
        return bool(self.port.parked) or any(not lane.has_ended for lane in self.unsettled)

    def drained(self, *, before_commit: bool) -> Callable[[], bool | None]:
        """Make an attempt that succeeds when every lane took what is recorded for this position."""

        def attempt() -> bool | None:
            is_done = self.port.replay.is_done(before_commit=before_commit)
            if is_done and (before_commit or not self.has_doubts):
                return True
            self._skip_unread()
            self._nudge()
            return None

        return attempt

    def _stall(self, stacks: str) -> Stop:
        if self.port.latch is not None:
            return self.port.latch
        first = self.port.replay.order.first()
        recorded = (
            "nothing more"
            if first is None
            else f"{first.kind.value} of lane {first.lane or 'main'}"
        )
        verdict = Diverges(recorded, "a different order", (), f"{_STALL_CAUSE}\n{stacks}")
        return self.port.set_latch(self.port.divergence(verdict))


class _Alone:
    """The lock, and the pace of a lane that has no company."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> int:
        self._lock.acquire()
        return STILL

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class _Passing:
    """The lock, taken when a live lane may go on."""

    def __init__(self, turnstile: Turnstile, lane: Lane | None, *, is_free: bool = False) -> None:
        self._turnstile = turnstile
        self._lane = lane
        self._is_free = is_free

    def __enter__(self) -> int:
        lane, turnstile = self._lane, self._turnstile
        is_own = lane is not None and lane.root_thread == threading.get_ident()
        granted = turnstile.granted.pop(lane, None) if lane is not None else None
        if granted is not None:
            turnstile.lock.acquire()
            return granted
        if lane is not None and is_own and not self._is_free and not lane.has_ended:
            return turnstile.enter(lane)
        turnstile.lock.acquire()
        turnstile.note_pass()
        return FREE

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._turnstile.lock.release()
