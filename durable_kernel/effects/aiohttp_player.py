"""A recorded exchange of aiohttp, played into the library's own parser.

The player feeds a real protocol: the head once the library has said how it wants to parse, the
parts at the tick at which they arrived (`aiohttp_pace`), then what happened on the wire. Nothing
else of the library is replaced but the transport below, which goes nowhere.

Parts of a cut exchange, and answers that a user gave, have no ticks: one part for each wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any

from durable_kernel.effects.aiohttp_pace import PACE, WITH_HEAD, Pace
from durable_kernel.effects.http_heads import head_bytes
from durable_kernel.effects.http_recall import failed_sentence, left_by_reader
from durable_kernel.ports import (
    Call,
    Ending,
    ErrorFacts,
    Lane,
    Outcome,
    Secret,
    Step,
    await_cancellation,
    recorded_error,
    suspended,
)

__all__ = ["Player", "StandInTransport", "make_playing_handler"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class StandInTransport(asyncio.Transport):
    """Stands where the protocol keeps its connection while the journal answers. Sends nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._is_closing = False

    def write(self, data: Any) -> None:
        """Forget it: it was sent when it was recorded."""

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Forget them."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_closing

    def pause_reading(self) -> None:
        """Do nothing: the ticks say when bytes come."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._protocol.durable_player.close()
            if not self._loop.is_closed():
                with suspended():
                    self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


def make_playing_handler(handler: Any) -> Any:
    """Derive the protocol that a player feeds."""

    class ResponseHandler(handler):
        __doc__ = handler.__doc__
        __module__ = handler.__module__
        __qualname__ = handler.__qualname__
        durable_player: Any

        def set_response_params(self, **options: Any) -> None:
            self.durable_player.parsing = options
            super().set_response_params(**{**options, "read_timeout": None})  # recorded ones count
            with suspended():
                self._loop.call_soon(self.durable_player.begin)

        def feed_data(self, pair: Any, *size: Any) -> None:
            super().feed_data(pair, *size)
            self.durable_player.open(*pair)

        async def read(self) -> Any:
            player = self.durable_player
            await player.await_head()
            message, payload = await super().read()
            await player.reach_head(message)
            return message, payload

    return ResponseHandler


class Player(Pace):
    """Plays one exchange. `parts` are what stood on the wire behind `head`."""

    def __init__(
        self,
        lane: Lane,
        call: Call,
        outcome: Outcome,
        head: Mapping[str, Any] | None,
        parts: Iterable[bytes],
        request: Any,
        library: Any,
        step: Step,
    ) -> None:
        super().__init__()
        self._recorded = step
        self._lane = lane
        self._call = call
        self._outcome = outcome
        self._head = head
        self._parts = iter(parts)
        self._next: bytes | None = next(self._parts, None)
        self._request = request
        self._library = library
        facts = outcome.error
        marks = facts.extra if facts is not None else outcome.value
        self._marks: Mapping[str, Any] = marks if isinstance(marks, Mapping) else {}
        arrivals = self._marks.get("arrivals")
        self._arrivals: Iterator[int] | None = None if arrivals is None else iter(arrivals)
        self._next_tick = self._take_tick()
        self._event: str | None = self._marks.get("event")
        self._cancelled = frozenset(self._marks.get("cancelled", ()))
        self.handler: Any = None
        self.parsing: dict[str, Any] = {}  # how the library wants to parse

    def attach(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Make the protocol and its transport; return the protocol."""
        self.handler = self._library.playing_handler(loop)
        self.handler.durable_player = self
        self.handler.__dict__[PACE] = self
        self.handler.connection_made(StandInTransport(loop, self.handler))
        self.handler.force_close()  # never to be found in the pool
        return self.handler

    # --- what protocol and reader ask ---

    def begin(self) -> None:
        """Feed the head, and what came with it."""
        if self._is_closed():
            return
        if self._head is None:
            self._begin_without_head()
            return
        opening = [_CONTINUE] if getattr(self._request, "_continue", None) is not None else []
        opening.append(head_bytes(self._head))
        while self._next is not None and self._next_tick == WITH_HEAD:
            opening.append(self._take_part())
        self.handler.data_received(b"".join(opening))

    def open(self, message: Any, payload: Any) -> None:
        """Take the reader that the parser made for the body."""
        if self.payload is None and (message.code >= 200 or message.code == 101):  # noqa: PLR2004 - final heads
            self.payload = self._library.pace(payload)

    async def await_head(self) -> None:
        """Return if a head or an event comes; else wait for what ended the call, or raise it."""
        if self._head is None and self._event is None and self.payload is None:
            await self._end_in_reader(self._request._timer)

    async def reach_head(self, message: Any) -> None:
        """Wait for the turn of the head; the end may have come with it."""
        if message.code >= 200 or message.code == 101:  # noqa: PLR2004 - final heads
            await self._recorded.turn()
            await self.reach_end()

    async def reach_end(self) -> None:
        if self.payload is not None and self.payload.is_eof():
            await self._recorded.turn()

    def begin_operation(self) -> None:
        if self._arrivals is not None:
            self._feed_due()
        super().begin_operation()

    def begin_wait(self) -> Awaitable[None] | None:
        super().begin_wait()
        return self._provide()

    def close(self) -> None:
        """Take note that the protocol's transport was closed."""

    # --- feeding ---

    def _begin_without_head(self) -> None:
        opening = self._marks.get("opening")
        if opening is not None:
            self.handler.data_received(opening.value if isinstance(opening, Secret) else opening)
        self._perform_event()

    def _take_tick(self) -> int | None:
        return None if self._arrivals is None else next(self._arrivals, None)

    def _take_part(self) -> bytes:
        assert self._next is not None
        part, self._next = self._next, next(self._parts, None)
        self._next_tick = self._take_tick()
        return part

    def _feed_part(self) -> None:
        self.handler.data_received(self._take_part())

    def _is_due(self) -> bool:
        """Tell whether something comes by the present tick."""
        if self._is_closed():
            return False
        if self._next is not None:
            if self._arrivals is None:
                return True
            return self._next_tick is not None and self._next_tick <= self.tick
        if self._event is None:
            return self._outcome.ending is Ending.VALUE
        at: int = self._marks.get("event_tick", 0)
        return at <= self.tick

    def _feed_due(self) -> None:
        while self._is_due() and (self._next is not None or self._event is not None):
            if self._next is not None:
                self._feed_part()
            else:
                self._perform_event()

    async def _provide(self) -> None:
        """Stand in for a wait: feed what arrived during the recorded one, until the reader goes on.

        Without ticks that is one part, or as many as it takes.
        """
        loop = self.handler._loop
        waiter = self.payload._waiter = loop.create_future()
        turn = loop.create_future()
        with suspended():
            loop.call_soon(_finish, turn)
        try:
            with self.payload._timer:
                await turn  # a wait lets others run
            while self._is_due() and (self._arrivals is not None or not waiter.done()):
                if self._next is not None:
                    self._feed_part()
                elif not self._perform_event():
                    break
            if self.tick in self._cancelled:
                await self._await_canceller()
            if not waiter.done():
                await self._wait_in_vain(waiter)
            if waiter.done():
                waiter.result()
        finally:
            self.payload._waiter = None
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # retrieved, or the loop complains of it

    def _is_closed(self) -> bool:
        return self.handler.transport is None or self.handler.transport.is_closing()

    def _perform_event(self) -> bool:
        """Do to the protocol what was done on the wire. Returns whether there was anything left."""
        event, self._event = self._event, None
        if event == "read_timeout":
            self.handler._on_read_timeout()
        elif event == "raised":
            error = self._recorded_error()
            self.handler.set_exception(error)
            if self.payload is not None:
                self.payload.set_exception(error)
        elif event == "lost":
            self.handler.connection_lost(self._library.rebuild_cause(self._marks.get("cause")))
        elif event is None and self._outcome.ending is Ending.VALUE and not self._is_closed():
            self.handler.connection_lost(None)  # the body ended where the connection did
        return event is not None

    # --- where nothing comes ---

    async def _await_canceller(self) -> None:
        """Let the wait be cancelled, as it was when it was recorded."""
        await self._recorded.turn()
        if self._marks.get("is_timed_out") and self.tick == max(self._cancelled):
            await self._end_in_reader(self.payload._timer)
        elapsed_us = self._marks.get("elapsed_us", 0)
        facts = ErrorFacts("asyncio.exceptions:CancelledError", "", (), {"elapsed_us": elapsed_us})
        await await_cancellation(Outcome(Ending.ABANDONED, None, facts))
        raise asyncio.CancelledError

    async def _wait_in_vain(self, waiter: asyncio.Future[None]) -> None:
        """Do as the recorded reader did, who got nothing here, or did not ask for more."""
        last_tick = self._marks.get("tick")
        is_past = last_tick is None or self.tick > last_tick
        is_over = self._event is None and (self._next is None or self._next_tick is None)
        if is_over and (is_past or not self._marks.get("is_closed")):
            await self._end_in_reader(self.payload._timer)
        await self._await_canceller()

    async def _end_in_reader(self, timer: Any) -> None:
        """Raise what the recorded caller was told where he waited."""
        await self._recorded.turn()
        if self._marks.get("is_timed_out") and hasattr(timer, "timeout"):
            with timer:
                timer.timeout()  # cancels this task, and makes a TimeoutError of it
                await asyncio.get_running_loop().create_future()
        await await_cancellation(self._outcome)
        error = self._recorded_error()
        if self.payload is not None and isinstance(error, Exception):
            self.payload.set_exception(error)
        raise error

    def _recorded_error(self) -> BaseException:
        facts = self._outcome.error
        if self._marks.get("is_closed"):
            return left_by_reader(self._lane, self._call)
        if facts is not None and self._outcome.ending in (Ending.ERROR, Ending.ABANDONED):
            rebuilt: BaseException = self._library.rebuild(facts, self._request)
            return rebuilt
        sentence = failed_sentence(self._call)
        return recorded_error(self._outcome, lambda: self._library.lost(sentence, self._head))


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
