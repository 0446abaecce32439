"""A cut answer of aiohttp, played as far as it was recorded and then continued (H23).

The request is sent again when the reader asks for more than was recorded, not before. Its answer is
read by a second, real exchange that nobody else sees; what lies behind the recorded beginning is
framed as the first head announced it, and fed to the parser that the reader waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from durable_kernel.effects.aiohttp_player import Player
from durable_kernel.effects.aiohttp_tap import MarkedStep, head_of, is_chunked
from durable_kernel.effects.http_chunks import ChunkScanner
from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_wire import AnswerChangedError, RecordedPrefix
from durable_kernel.ports import Call, Ending, Lane, Outcome, Step, suspended

__all__ = ["RepeatedStep", "Resumer", "Started", "continue_answer"]


@dataclass(frozen=True, slots=True)
class _Frame:
    """How content stands on the wire behind a head."""

    scanner: ChunkScanner | None

    @classmethod
    def of(cls, head: Mapping[str, Any]) -> _Frame:
        return cls(ChunkScanner() if is_chunked(head) else None)

    def content_of(self, part: bytes) -> bytes:
        return part if self.scanner is None else b"".join(self.scanner.scan(part))

    def frame(self, content: bytes) -> bytes:
        return content if self.scanner is None else self.scanner.frame(content)

    def finish(self) -> bytes:
        return b"" if self.scanner is None else self.scanner.finish()


def continue_answer(
    head: Mapping[str, Any], parts: list[bytes], answer: tuple[Mapping[str, Any], bytes]
) -> tuple[Mapping[str, Any], list[bytes]]:
    """Put the answer that a user gave behind what was seen of one.

    Raises AnswerChangedError if it does not begin with that.
    """
    given, body = answer
    frame = _Frame.of(head)
    seen = b"".join(map(frame.content_of, parts))
    if given["status"] != head["status"] or not body.startswith(seen):
        raise AnswerChangedError("the answer that was given begins differently")
    length = str(len(body)).encode()
    headers = [
        (name, length if name.lower() == b"content-length" else value)
        for name, value in head["headers"]
    ]
    rest = frame.frame(body[len(seen) :]) + frame.finish()
    return {**head, "headers": headers}, [*parts, rest] if rest else parts


class Resumer(Player):
    """A player that goes on behind its last part. `reopen` sends the request again."""

    def __init__(
        self,
        lane: Lane,
        call: Call,
        step: Step,
        request: Any,
        library: Any,
        reopen: Callable[[], Awaitable[Any]],
    ) -> None:
        nothing = Outcome(Ending.ABANDONED)
        super().__init__(lane, call, nothing, step.head, step.parts, request, library, step)
        self._step = MarkedStep(step)
        self._step.is_connected = True
        self._exchange = Exchange(call, self._step)
        self._prefix = RecordedPrefix(step.head)
        self._frame = _Frame.of(step.head)
        self._reopen = reopen
        self._real: Any = None

    def begin(self) -> None:
        super().begin()
        if self.payload is not None and self.payload.is_eof():
            self._settle(self._exchange.end)  # an answer without a body

    def close(self) -> None:
        if self.payload is not None and self.payload.is_eof() and not self.payload.exception():
            self._settle(self._exchange.end)  # the library closes what it has read to its end
        self._settle(self._exchange.abandon)
        self._close_real()

    def __del__(self) -> None:
        self._settle(self._exchange.abandon)

    def cancel_wait(self) -> None:
        self._step.cancelled.append(self.tick)

    def _take_part(self) -> bytes:
        part = super()._take_part()
        self._step.arrivals.append(self.tick)
        self._prefix.serve(self._frame.content_of(part))
        return part

    def _feed_part(self) -> None:
        super()._feed_part()
        self._end_if_complete()

    async def _wait_in_vain(self, waiter: asyncio.Future[None]) -> None:
        try:
            with suspended(), self.payload._timer:
                while not waiter.done():
                    await self._pull()
        except AnswerChangedError as change:
            error = self._library.interrupted(self._call.label, str(change))
            self._break(error)
            raise error from None
        except BaseException as error:
            self._break(error)
            raise

    async def _pull(self) -> None:
        """Feed what comes next of the repeated answer, and lies behind the prefix."""
        if self._real is None:
            await self._recorded.turn()
            self._real = await self._reopen()
            self._prefix.check_head(head_of(Started(self._real)))
        content = await self._real.content.readany()
        if content:
            wire = self._frame.frame(self._prefix.take(content))
        else:
            self._prefix.check_end()
            wire = self._frame.finish()
        if wire:
            self._step.add_part(wire, self.tick)
            self.handler.data_received(wire)
        if not content and not self.payload.is_eof():
            self._step.tick = self.tick
            self._step.set_event("lost")
            self.handler.connection_lost(None)
        self._end_if_complete()

    def _end_if_complete(self) -> None:
        error = self.payload.exception()
        if error is not None:
            self._break(error)
        elif self.payload.is_eof():
            self._settle(self._exchange.end)
            self._close_real()

    def _break(self, error: BaseException) -> None:
        self._settle(lambda: self._exchange.fail(error, **self._library.extra_of(error)))
        self._close_real()
        if self.payload.exception() is None:
            is_error = isinstance(error, Exception)
            self.payload.set_exception(error if is_error else self._library.connection_closed())

    def _settle(self, settle: Callable[[], None]) -> None:
        self._step.tick = self.tick
        settle()

    def _close_real(self) -> None:
        real, self._real = self._real, None
        if real is not None:
            real.close()


class Started:
    """A started response, as `head_of` reads a message."""

    def __init__(self, response: Any) -> None:
        self.status = response.status
        self.raw_headers = response.raw_headers
        self.version = response.version
        self.reason = response.reason


class RepeatedStep:
    """A step that was made again and settled just now, as a recorded one is served."""

    repeats: Mapping[str, Any] | None = None
    is_unasked = False

    def __init__(self, step: Step, head: Mapping[str, Any], parts: list[bytes]) -> None:
        self.outcome: Outcome | None = Outcome.of_value({})
        self.head = head
        self.parts: Iterable[bytes] = parts
        self.idempotency_key = step.idempotency_key

    async def turn(self) -> None:
        """Do nothing: it was delivered live."""

    def _ignore(self, *_: Any) -> None:
        """Do nothing: it is settled."""

    set_head = add_part = settle = _ignore
