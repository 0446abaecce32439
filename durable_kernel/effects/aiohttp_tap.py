"""A live exchange of aiohttp, recorded where its bytes enter the parser.

The tap listens at the protocol of one connection for the time of one exchange. What enters the
parser is recorded behind the head as it stood on the wire, still chunked and encoded; only the
line that announces a chunk waits until it is complete, so that a cut answer can be continued.
Among several lanes a head is recorded when it is read, and an end when the reader goes on behind
it: there, and not where bytes arrive, the others notice. How the exchange ended is recorded as what
happened on the wire, so that on replay the library makes its own exception of it:

    natural        the bytes themselves: they could not be parsed or decoded
    lost           the connection was lost, with or without an error
    read_timeout   no byte came for too long
    raised         something else put an exception into the protocol
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from durable_kernel.effects.aiohttp_pace import PACE, WITH_HEAD, Pace
from durable_kernel.effects.http_chunks import ChunkScanner
from durable_kernel.effects.http_crossings import SWITCHING_PROTOCOLS
from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_wire import make_head
from durable_kernel.errors import WorldClosedError
from durable_kernel.ports import Outcome, Secret, Step, reach_ending

__all__ = ["TAP", "MarkedStep", "Tap", "head_of", "is_chunked", "listen"]

TAP = "durable_tap"
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FINAL = 200


class MarkedStep:
    """A step whose outcome also says when things happened, in ticks of the reader.

    arrivals     of each part
    cancelled    waits of the reader that were cancelled
    event        what ended the exchange beside its bytes; its event_tick
    tick         the last one

    It says nothing of that while there is no connection: `is_connected`.
    """

    outcome: Outcome | None = None
    head: Any = None
    parts: Iterable[bytes] = ()

    def __init__(self, step: Step, *, is_in_company: bool = False) -> None:
        self.is_in_company = is_in_company
        self._step = step
        self.idempotency_key = step.idempotency_key
        self.repeats = step.repeats
        self.is_unasked = step.is_unasked
        self.arrivals: list[int] = []
        self.cancelled: list[int] = []
        self.tick = 0
        self.is_connected = False
        self._event: dict[str, Any] = {}

    async def turn(self) -> None:
        await self._step.turn()

    def set_head(self, head: Any) -> None:
        self._step.set_head(head)

    def add_part(self, data: bytes, tick: int = 0) -> None:
        self.arrivals.append(tick)
        self._step.add_part(data)

    def set_event(self, event: str, **details: Any) -> None:
        """Say what happened on the wire at the present tick."""
        self._event = {"event": event, "event_tick": self.tick, **details}

    def settle(self, outcome: Outcome) -> None:
        if not self.is_connected:
            self._step.settle(outcome)
            return
        marks: dict[str, Any] = {"arrivals": self.arrivals, "tick": self.tick, **self._event}
        if self.cancelled:
            marks["cancelled"] = self.cancelled
        if outcome.error is not None:
            extra = {**outcome.error.extra, **marks}
            self._step.settle(replace(outcome, error=replace(outcome.error, extra=extra)))
        else:
            self._step.settle(replace(outcome, value={**outcome.value, **marks}))


def head_of(message: Any) -> dict[str, Any]:
    """Take the head of a parsed message, or of a started response."""
    status = message.code if hasattr(message, "code") else message.status
    return make_head(
        status,
        message.raw_headers,
        b"HTTP/%d.%d" % tuple(message.version),
        (message.reason or "").encode("utf-8", "surrogateescape"),
    )


def is_chunked(head: Mapping[str, Any]) -> bool:
    """Tell how the body behind a head is framed."""
    return any(
        name.lower() == b"transfer-encoding" and b"chunked" in value.lower()
        for name, value in head["headers"]
    )


class Tap(Pace):
    """Records one exchange. Settles on every way out (H17)."""

    def __init__(
        self,
        exchange: Exchange,
        step: MarkedStep,
        request: Any,
        protocol: Any,
        library: Any,
        tell_upgraded: Callable[[], None],
    ) -> None:
        super().__init__()
        self.step = step
        self.exchange = exchange
        self._request = request
        self._protocol = protocol
        self._library = library
        self._tell_upgraded = tell_upgraded
        self._opening: bytes | None = b""  # until the head is complete
        self._interim_heads = 0
        self._scanner: ChunkScanner | None = None
        self._held = b""
        self._is_over = False
        self._is_waited_for = False
        self._settle: Callable[[], None] | None = None  # as soon as the reader goes on
        self._is_inside = False  # the protocol acts by itself: what it raises was caused by bytes
        self._unread: list[Callable[[], None]] | None = None  # recorded when the head is read

    def attach(self) -> None:
        """Begin to listen."""
        self.step.is_connected = True
        previous = self._protocol.__dict__.get(TAP)
        if previous is not None:
            previous.deliver_head()
            previous.settle()
        self._protocol.__dict__[TAP] = self._protocol.__dict__[PACE] = self

    # --- what the protocol tells ---

    def take(self, original: Any, data: bytes) -> None:
        """Let bytes enter the parser. Nested calls, and empty ones, bring nothing new."""
        if self._is_inside:
            original(self._protocol, data)
            return
        if self._opening is not None:
            self._opening += data
        elif data:
            self._record(data, self.tick)
        self._is_inside = True
        try:
            original(self._protocol, data)
        finally:
            self._is_inside = False
        error = self._error()
        if error is not None:
            self._note_event("natural")
            self._fail(error)
        else:
            self._end_if_complete()

    def open(self, message: Any, payload: Any) -> bool:
        """Take a head that the parser completed. Returns whether the caller gets it."""
        if message.code < _FINAL and message.code != SWITCHING_PROTOCOLS:
            self._interim_heads += 1
            return True
        if self.payload is not None:
            return True  # a second answer that nobody asked for
        self.payload = self._library.pace(payload)
        head = head_of(message)
        self._unread = [] if self.step.is_in_company else None
        self._record_now_or_later(lambda: self.exchange.set_head(head))
        behind = self._take_opening()
        if message.code == SWITCHING_PROTOCOLS:
            self._end()
            return self._tell_of_upgrade()
        if is_chunked(head):
            self._scanner = ChunkScanner()
        if behind:
            self._record(behind, WITH_HEAD)
        self._end_if_complete()
        return True

    def lose(self, original: Any, error: BaseException | None) -> None:
        """Let the protocol know that its connection is lost. It may end the exchange by itself."""
        cause = self._library.describe_cause(error) if error is not None else None
        self._note_event("lost", cause=cause)
        self._is_inside = True
        try:
            original(self._protocol, error)
        finally:
            self._is_inside = False
        if self.payload is not None and self.payload.is_eof() and self._error() is None:
            self._end()  # the end of the connection was the end of the body
            return
        self._fail(self._error() or self._library.disconnected())

    def note_raised(self, error: BaseException) -> None:
        """Take note of an exception that was put into the protocol."""
        if not self._is_inside:
            is_timeout = isinstance(error, self._library.read_timeout)
            self._note_event("read_timeout" if is_timeout else "raised")
            self._fail(error)

    def note_closing(self) -> None:
        """Take note that the caller closes the connection, or lets go of it too early."""
        self.deliver_head()
        self._end_if_complete()
        if self._is_over:
            return
        error = sys.exception()
        if getattr(self._request._timer, "_cancelled", False):
            self._fail(error or TimeoutError(), is_timed_out=True)
        elif error is None or isinstance(error, GeneratorExit):
            self._abandon()
        elif not isinstance(error, Exception) or self.payload is None:
            self._fail(error)
        else:
            self._abandon()

    def begin_wait(self) -> None:
        super().begin_wait()
        self._is_waited_for = True

    def cancel_wait(self) -> None:
        self.step.cancelled.append(self.tick)

    def end_wait(self) -> None:
        self._is_waited_for = False
        self.settle()
        super().end_wait()

    async def reach_head(self) -> None:
        """Let the caller have the head when the other lanes rest: it is recorded at that moment."""
        if self._unread is not None:
            await self.step.turn()
            self.deliver_head()

    async def reach_end(self) -> None:
        if self._settle is not None and self.step.is_in_company:
            await self.step.turn()

    def deliver_head(self) -> None:
        """Record the head that was held back, and all that came since."""
        unread, self._unread = self._unread, None
        for record in unread or ():
            record()
        if not self._is_waited_for:
            self.settle()

    def settle(self) -> None:
        """Settle what waits for the reader to go on: he may have been cancelled in that moment."""
        if self._unread is not None:
            return
        settle, self._settle = self._settle, None
        if settle is not None:
            self._stop_listening()
            settle()

    def __del__(self) -> None:
        self.deliver_head()
        self.settle()
        self._abandon()

    # --- inside ---

    def _note_event(self, event: str, **details: Any) -> None:
        if not self._is_over:
            self.step.tick = self.tick
            self.step.set_event(event, **details)

    def _take_opening(self) -> bytes:
        """Return what follows the head in the bytes that came so far."""
        assert self._opening is not None
        opening, self._opening = self._opening.lstrip(b"\r\n"), None
        at = 0
        for _ in range(self._interim_heads + 1):
            found = _BLANK_LINE.search(opening, at)
            if found is None:
                return b""
            at = found.end()
        return opening[at:]

    def _record(self, data: bytes, tick: int) -> None:
        if self._is_over:
            return
        if self._scanner is not None:
            self._scanner.scan(data)
            data = self._held + data
            settled_bytes = len(data) - self._scanner.unsettled_bytes
            data, self._held = data[:settled_bytes], data[settled_bytes:]
        if data:
            self._record_now_or_later(lambda: self.step.add_part(data, tick))

    def _record_now_or_later(self, record: Callable[[], None]) -> None:
        if self._unread is None:
            record()
        else:
            self._unread.append(record)

    def _error(self) -> BaseException | None:
        """Return what the reader would be told, else what the protocol was."""
        found: BaseException | None = self.payload and self.payload.exception()
        return found or self._protocol.exception()

    def _end_if_complete(self) -> None:
        if self.payload is not None and self.payload.is_eof() and self._error() is None:
            self._end()

    def _end(self) -> None:
        self._finish(self.exchange.end)

    def _abandon(self) -> None:
        self._finish(self.exchange.abandon)

    def _fail(self, error: BaseException, **extra: Any) -> None:
        extra.update(self._library.extra_of(error))
        if self._opening:
            extra["opening"] = Secret(self._opening)
        self._finish(lambda: self.exchange.fail(error, **extra))

    def _finish(self, settle: Callable[[], None]) -> None:
        """Record what was held back, and settle. The first ending counts."""
        if self._is_over:
            return
        if self._held:
            held, tick = self._held, self.tick
            self._record_now_or_later(lambda: self.step.add_part(held, tick))
            self._held = b""
        self._is_over = True
        self.step.tick = self.tick
        self._settle = settle
        if not self._is_waited_for:
            self.settle()

    def _stop_listening(self) -> None:
        attributes = self._protocol.__dict__
        if attributes.get(TAP) is self:
            del attributes[TAP]
            del attributes[PACE]

    def _tell_of_upgrade(self) -> bool:
        try:
            self._tell_upgraded()
        except WorldClosedError as closed:
            self._protocol.set_exception(closed)  # the caller waits there
            return False
        return True


def listen(handler: Any) -> None:
    """Put hooks into the class of the protocols. Without a tap they pass everything on."""
    for name, make_hook in _HOOKS.items():
        original = getattr(handler, name, None)  # there was no `abort` before 3.12
        if original is not None:
            setattr(handler, name, functools.wraps(original)(make_hook(original)))


def _hook_bytes(original: Any) -> Any:
    def data_received(self: Any, data: bytes) -> None:
        tap = self.__dict__.get(TAP)
        if tap is None:
            original(self, data)
        else:
            tap.take(original, data)

    return data_received


def _hook_heads(original: Any) -> Any:
    def feed_data(self: Any, pair: Any, *size: Any) -> None:
        tap = self.__dict__.get(TAP)
        if tap is None or tap.open(*pair):
            original(self, pair, *size)

    return feed_data


def _hook_reading(original: Any) -> Any:
    async def read(self: Any) -> Any:
        tap = self.__dict__.get(TAP)
        if tap is None:
            return await original(self)
        try:
            message = await original(self)
        except BaseException as error:
            await reach_ending(tap.step, error)
            raise
        await tap.reach_head()
        return message

    return read


def _hook_loss(original: Any) -> Any:
    def connection_lost(self: Any, error: BaseException | None) -> None:
        tap = self.__dict__.get(TAP)
        if tap is None:
            original(self, error)
        else:
            tap.lose(original, error)

    return connection_lost


def _hook_exceptions(original: Any) -> Any:
    def set_exception(self: Any, error: BaseException, *cause: Any) -> None:
        original(self, error, *cause)
        tap = self.__dict__.get(TAP)
        if tap is not None:
            tap.note_raised(error)

    return set_exception


def _hook_closing(original: Any) -> Any:
    def close(self: Any) -> None:
        tap = self.__dict__.get(TAP)
        if tap is not None:
            tap.note_closing()
        original(self)

    return close


_HOOKS = {
    "data_received": _hook_bytes,
    "feed_data": _hook_heads,
    "read": _hook_reading,
    "connection_lost": _hook_loss,
    "set_exception": _hook_exceptions,
    "close": _hook_closing,
    "abort": _hook_closing,
}
