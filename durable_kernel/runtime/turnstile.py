"""The turnstile: lets the lanes of a run go on one at a time.

Knows threads, event loops and the marks that a lane carries; no record, no effect.

A lane that got something (an outcome, a lock, the end of a sleep) runs until it rests: until it is
in the world again, waits for another lane, waits for its turn, or is over. Only then the next lane
gets something. What lanes do to each other in between (append to one list, fill one queue) then
happens in the order in which they were let go on, and that order is recorded (H6, H24).

Nobody waits for ever: a lane that computes keeps the others for a bounded time (`Patience`), a
loop that never rests not longer than `TURNS_MAX` turns. The *pace* tells on replay which it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from durable_kernel.errors import Stop
from durable_kernel.ports import CURRENT_LANE, Lane
from durable_kernel.runtime.patience import Patience
from durable_kernel.runtime.stalling import StallWatch

__all__ = ["CUT", "FREE", "HURRIED", "STILL", "TURNS_MAX", "Turnstile"]

STILL = 0
"""A pace: every other lane rested."""
HURRIED = 1
"""Another lane did not come to rest in time. Plus 4 times `Turnstile.taken`: how far it had got."""
FREE = 2
"""Nobody looked: the order alone counts."""
CUT = 3
"""The lane was cancelled while it waited, and went on with that once the others rested."""

TURNS_MAX = 100
"""Turns of a loop without rest, since somebody was let go on."""

# Who waits is woken. It looks by itself, too: for the end of patience, and for what nobody tells.
_POLL_S_MIN, _READY_POLL_S_MAX, _POLL_S_MAX = 50e-6, 2e-3, 10e-3
_IDLE_POLL_S = 1e-3
_monotonic = time.monotonic

T = TypeVar("T")
Attempt = Callable[[], T | None]
"""Tries to go on; called under the lock. None: not yet."""


class Turnstile:
    """The lanes that are there, and whose turn it is. `lock` is the port's."""

    def __init__(
        self,
        lock: Any,
        *,
        latch: Callable[[], Stop | None],
        on_stall: Callable[[str], Stop],
    ) -> None:
        self.lanes: list[Lane] = []
        self.is_crowded = False
        self.passes = 0
        self.taken = 0
        self.last_pass_at = 0.0
        self.lock: Any = lock
        self._latch = latch
        self._on_stall = on_stall
        self._patience = Patience()
        self.granted: dict[Lane, int] = {}
        self._wakers: dict[str, Any] = {}
        self._ready: dict[Lane, None] = {}
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopGate] = WeakKeyDictionary()
        self._left: WeakSet[asyncio.AbstractEventLoop] = WeakSet()

    def hurried(self) -> int:
        """Return the pace of who does not wait for the others: it says how many locks they took."""
        return HURRIED + 4 * self.taken

    def note_pass(self) -> None:
        """Take note that a lane was let go on."""
        self.passes += 1
        self.last_pass_at = _monotonic()

    # --- who rests --------------------------------------------------------------------------------

    def is_at_rest(self, me: Lane | None, *, but_for: object | None = None) -> bool:
        """Tell whether every lane but this one waits; lanes of the loop `but_for` do not count."""
        loops: set[asyncio.AbstractEventLoop] = set(self._left)
        blocked: set[object] = set()  # by a task that waits inside: what is ready there can't run
        for lane in self.lanes:
            if lane.loop is not None:
                loops.add(cast("asyncio.AbstractEventLoop", lane.loop))
                if lane is not me and is_resting(lane) and _runs_now(lane):
                    blocked.add(lane.loop)
            if lane is me or is_resting(lane) or (lane.loop is but_for is not None):
                continue
            if lane.at_work or lane.loop is None or _runs_now(lane):
                return False
        return not any(self._is_busy(loop) for loop in loops - blocked if loop is not but_for)

    def note_left(self, loop: object) -> None:
        """Take note that a lane of a loop is over: who waits for it has yet to be told there."""
        self._left.add(cast("asyncio.AbstractEventLoop", loop))

    def _is_busy(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether a loop runs code of a lane, or is about to.

        Seen from another thread it does unless it waits for the world: what it has taken from its
        list and not begun yet is seen nowhere.
        """
        if not loop.is_running():
            return False
        ident: int | None = getattr(loop, "_thread_id", None)
        if ident is not None and ident != threading.get_ident():
            gate = self._loops.get(loop)
            if not (gate is not None and gate.is_looking) and not _is_in_select(loop, ident):
                return True
        return _has_ready(loop)

    def is_patience_over(self, me: Lane | None) -> bool:
        """Tell whether the lanes that run have kept the others long enough."""
        running = [
            lane
            for lane in self.lanes
            if lane is not me
            and not is_resting(lane)
            and (lane.at_work or lane.loop is None or _runs_now(lane))
        ]
        if not running:  # a loop is about to run one: its thread has the time of that
            own = None if me is None else me.loop
            known = [lane for lane in self.lanes if lane.root_thread is not None]
            of_loops = {lane.loop: lane for lane in known if lane.loop not in (None, own)}
            running = [
                lane
                for loop, lane in of_loops.items()
                if self._is_busy(cast("asyncio.AbstractEventLoop", loop))
            ]
        # Where nobody runs any more, whoever asks finds them at rest when it looks again.
        return bool(running) and self._patience.is_over(self.passes, running)

    # --- threads ----------------------------------------------------------------------------------

    def enter(self, me: Lane) -> int:
        """Wait until a live lane may go on, and take the lock. Returns the pace."""
        me.is_at_gate = True
        self.lock.acquire()
        pace = self._pace_of(me)
        if pace is None:
            self.lock.release()
            pace = self._await_pace(me)
        me.is_at_gate = False
        self.note_pass()
        return pace

    def _pace_of(self, me: Lane) -> int | None:
        if self.is_at_rest(me, but_for=me.loop):  # its loop can't run meanwhile
            return STILL if me.loop is None or self.is_at_rest(me) else self.hurried()
        return self.hurried() if self.is_patience_over(me) else None

    def _await_pace(self, me: Lane) -> int:
        """Wait until a live lane may go on, and keep the lock."""
        waker = self._wakers[me.path] = _Waker(me)
        self.note_ready(me)
        try:
            while True:
                waker.wait(_READY_POLL_S_MAX)
                self.lock.acquire()
                pace = self._pace_of(me)
                if pace is not None:
                    return pace
                self.lock.release()
        finally:
            me.is_at_gate = False
            self._forget(me)

    def wait(
        self,
        me: Lane,
        attempt: Attempt[T],
        *,
        is_patient: Callable[[], bool] = lambda: False,
        over_at: float | None = None,
    ) -> T:
        """Try until the attempt gives something. Raises the latch; a stall sets it.

        `is_patient`: a live lane may wait for another one as long as it likes; no stall then.
        `over_at`: when the attempt gives up by itself, by the monotonic clock.
        """
        waker = self._wakers[me.path] = _Waker(me)
        watch = StallWatch(self, me)
        has_told = False
        try:
            while True:
                with self.lock:
                    got = self._try(me, attempt)
                    if got is not None:
                        return got
                    me.is_at_gate = True
                if not has_told:
                    has_told = True
                    self.tell_rest()
                if (sentence := watch.look()) is not None and not is_patient():
                    raise self._on_stall(sentence)
                waker.wait(_READY_POLL_S_MAX if me in self._ready else _POLL_S_MAX, over_at)
        finally:
            me.is_at_gate = False
            self._forget(me)

    def _forget(self, me: Lane) -> None:
        self._wakers.pop(me.path, None)
        self._ready.pop(me, None)

    def move(self) -> None:
        """Take note that the lanes have other paths now: those that wait are found by them."""
        self._wakers = {each.lane.path: each for each in tuple(self._wakers.values())}

    def nudge(self, path: str) -> None:
        """Let a waiting lane try at once."""
        waker = self._wakers.get(path)
        if waker is not None:
            waker.wake()

    def nudge_all(self) -> None:
        """Let all lanes that wait in threads try at once."""
        for waker in tuple(self._wakers.values()):
            waker.wake()

    def note_ready(self, me: Lane) -> None:
        """Take note that a waiting lane has what it wants, and goes on when the others rest."""
        self._ready[me] = None

    def tell_rest(self) -> None:
        """Tell that a lane has come to rest: who is ready and came first may be able to go on.

        Called without the lock, and often: it only wakes, and who is woken looks for itself.
        """
        if not self._ready:
            return
        if all(is_resting(lane) or lane.loop is not None for lane in tuple(self.lanes)):
            for lane in tuple(self._ready):
                self.nudge(lane.path)
                return

    def _try(self, me: Lane, attempt: Attempt[T]) -> T | None:
        latch = self._latch()
        if latch is not None:
            raise latch.with_traceback(None)
        got = attempt()
        if got is not None:
            me.is_at_gate = False
            self.note_pass()
        return got

    # --- event loops ------------------------------------------------------------------------------

    async def wait_async(self, me: Lane, attempt: Attempt[T]) -> T:
        """Do the same as `wait` without blocking the loop; one that is not asyncio's is blocked."""
        if not _is_asyncio():
            return self.wait(me, attempt)
        with self.lock:
            got = self._try(me, attempt)
        if got is not None:
            return got
        return cast("T", await self._gate().wait(me, attempt))

    async def enter_async(self, me: Lane) -> None:
        """Wait until a live lane of the running loop may go on.

        Its next delivery is recorded with the pace that was found here.
        """
        self.granted.pop(me, None)
        if not _is_asyncio():
            self.granted[me] = self.enter(me)
            self.lock.release()
            return
        gate = self._gate()

        def attempt() -> int | None:
            if self.is_at_rest(me):
                return STILL
            if not self._is_loop_at_rest(gate.loop, me):
                return HURRIED if gate.turns > TURNS_MAX else None
            return HURRIED if self.is_patience_over(me) else None

        self.granted[me] = await self.wait_async(me, attempt)

    def _is_loop_at_rest(self, loop: asyncio.AbstractEventLoop, me: Lane) -> bool:
        runs = any(
            _runs_now(lane)
            for lane in self.lanes
            if lane.loop is loop and lane is not me and not is_resting(lane)
        )
        return not runs and not _has_ready(loop)

    def _gate(self) -> _LoopGate:
        loop = asyncio.get_running_loop()
        gate = self._loops.get(loop)
        if gate is None:
            gate = self._loops[loop] = _LoopGate(self, loop)
        return gate

    def turns_waited(self, loop: object) -> int:
        """Count the turns of a loop since somebody went on, while others waited at its gate."""
        gate = self._loops.get(cast("asyncio.AbstractEventLoop", loop))
        return 0 if gate is None else gate.turns

    def try_for(self, me: Lane, attempt: Attempt[T]) -> T | None:
        """Try once for a lane that waits in a loop."""
        with self.lock:
            return self._try(me, attempt)

    def stalled(self, sentence: str) -> Stop:
        return self._on_stall(sentence)


class _Waker:
    """What one lane waits for between two attempts: somebody who wakes it, or a growing delay."""

    __slots__ = ("_delay_s", "_lock", "lane")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._lock = allocate_lock()
        self._lock.acquire()
        self._delay_s = _POLL_S_MIN

    def wait(self, delay_s_max: float, over_at: float | None = None) -> None:
        delay_s = min(self._delay_s, delay_s_max)
        if over_at is not None:
            delay_s = min(delay_s, max(over_at - _monotonic(), _POLL_S_MIN))
        is_woken = self._lock.acquire(timeout=delay_s)
        self._delay_s = _POLL_S_MIN if is_woken else delay_s * 1.5

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # somebody else has
            self._lock.release()


class _LoopGate:
    """Those who wait in one event loop. One handle of machinery tries for all of them.

    A waiting task is woken only when it may go on: a task that is ready would keep the loop from
    coming to rest.
    """

    def __init__(self, turnstile: Turnstile, loop: asyncio.AbstractEventLoop) -> None:
        self.turns = 0
        self.is_looking = False
        self.loop = loop
        self._passes = -1
        self._turnstile = turnstile
        self._context = contextvars.Context()
        self._waiters: dict[Lane, tuple[Attempt[Any], asyncio.Future[Any]]] = {}
        self._is_scheduled = False
        self._watch: StallWatch | None = None

    async def wait(self, me: Lane, attempt: Attempt[Any]) -> Any:
        future: asyncio.Future[Any] = self.loop.create_future()
        me.is_at_gate = True
        self._waiters[me] = attempt, future
        self._schedule()
        try:
            return await future
        finally:
            me.is_at_gate = False
            self._waiters.pop(me, None)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._check, context=self._context)

    def _schedule_again(self) -> None:
        """Try again in the next turn, or a little later when the loop has nothing else to do."""
        self._is_scheduled = True
        if getattr(self.loop, "_ready", ()):
            self.loop.call_soon(self._check, context=self._context)
        else:
            self.loop.call_later(_IDLE_POLL_S, self._check, context=self._context)

    def _check(self) -> None:
        self._is_scheduled = False
        self._count_turn()
        self.is_looking = True
        try:
            for lane, (attempt, future) in list(self._waiters.items()):
                if not future.done() and self._let_go(lane, attempt, future):
                    self._watch = None
                    break
        finally:
            self.is_looking = False
        if not self._waiters:
            self.turns = 0
            return
        self._watch = self._watch or StallWatch(self._turnstile, None)
        if (sentence := self._watch.look()) is not None:
            self._turnstile.stalled(sentence)
        self._schedule_again()

    def _count_turn(self) -> None:
        """Count from whoever went on last, or a crowd that arrives at once would grow tired."""
        passes = self._turnstile.passes
        self.turns = self.turns + 1 if passes == self._passes else 0
        self._passes = passes

    def _let_go(self, lane: Lane, attempt: Attempt[Any], future: asyncio.Future[Any]) -> bool:
        try:
            got = self._turnstile.try_for(lane, attempt)
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits
            future.set_exception(error)
            return True
        if got is None:
            return False
        future.set_result(got)
        return True


def is_resting(lane: Lane) -> bool:
    """Tell whether a lane is marked as waiting or over."""
    if lane.has_ended or lane.outside or lane.is_waiting or lane.is_at_gate or lane.is_blocked:
        return True
    loop: Any = lane.loop
    return loop is not None and loop.is_closed()


def _is_asyncio() -> bool:
    """Tell whether a loop of asyncio runs here: Trio's knows no gate, and its tasks no lanes."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _runs_now(lane: Lane) -> bool:
    """Tell whether the task of a lane is the one that its loop executes."""
    task = lane.root_task
    if task is None:
        return False
    try:
        return asyncio.current_task(cast("Any", lane.loop)) is task
    except RuntimeError:
        return True


def _is_in_select(loop: asyncio.AbstractEventLoop, ident: int) -> bool:
    """Tell whether the thread of a loop waits for the world there. Of foreign selectors: yes."""
    selector = type(getattr(loop, "_selector", None))
    if selector.__module__ != "selectors":
        return True
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - the documented way to other stacks
    if frame is None or frame.f_code.co_name != "select":
        return False
    return frame.f_globals.get("__name__") == "selectors"


def _has_ready(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop is about to run code of a lane. Machinery does not count (H24)."""
    if not loop.is_running():
        return False
    ready: Any = getattr(loop, "_ready", ())
    try:
        handles = tuple(ready)
    except RuntimeError:  # it changed meanwhile, so it is at work
        return True
    for handle in handles:
        if handle.cancelled():
            continue
        lane = handle._context.get(CURRENT_LANE)  # noqa: SLF001 - there is no other way to it
        if lane is not None:  # one that has ended has yet to tell its waiter
            return True
    return False
