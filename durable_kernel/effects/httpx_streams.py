"""Response bodies below httpx and httpx2: teed while live, served from the journal on replay.

The classes here are the bare behaviour, for both libraries; `httpx_transport` gives them the
library's own base class. A stream is an iterator and no generator: an abandoned generator would be
ended by the garbage collector or by the event loop, at a moment that no replay can repeat.

Every stream ends its exchange on every way out (H17): at its end, by an exception, by `close`, and
when it is dropped unread.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from itertools import chain
from typing import Any, Self

from durable_kernel.effects.http_body import Spool
from durable_kernel.effects.http_exchange import Exchange, await_cancellation
from durable_kernel.effects.http_recall import Recalled
from durable_kernel.effects.http_wire import AnswerChangedError, RecordedPrefix, elapsed_us_of
from durable_kernel.ports import Call, Step, machinery, reach_ending, suspended

__all__ = [
    "AsyncRecordingStream",
    "AsyncReplayingStream",
    "AsyncResumingStream",
    "RecordingStream",
    "ReplayingStream",
    "ResumingStream",
    "SpooledBody",
    "Stamped",
]

Interrupted = Callable[[Call, str], BaseException]
"""Makes the library's read error that is also a RequestInterrupted, from the call and a reason."""


class SpooledBody:
    """A drained request body, as a stream of both kinds."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def __iter__(self) -> Iterator[bytes]:
        return self.spool.pieces()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.spool.pieces():
            yield piece


class Stamped:
    """Sets `response.elapsed` to the recorded duration when the stream is closed.

    The library sets it from its own clock in the same `close`, just before, on both sides of a
    replay; `elapsed` is part of the outcome (H32), so ours wins on both.
    """

    _response: Callable[[], Any] | None = None

    def attach(self, response: Any) -> None:
        """Name the response to stamp. Held weakly: a cycle would keep a large body alive."""
        self._response = weakref.ref(response)

    def _stamp(self, elapsed_us: int | None) -> None:
        response = self._response() if self._response is not None else None
        if response is not None and elapsed_us is not None:
            response.elapsed = timedelta(microseconds=elapsed_us)


# --- live -----------------------------------------------------------------------------------------


class RecordingStream(Stamped):
    """The real stream, each part recorded before the caller sees it. Chunk boundaries are kept."""

    _parts: Iterator[bytes] | None = None
    _is_over = False
    _is_closed = False

    def __init__(self, real: Any, exchange: Exchange, left_bytes: int = -1) -> None:
        self._real = real
        self._exchange = exchange
        self._left_bytes = left_bytes

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._is_over:
            raise StopIteration
        exchange = self._exchange
        try:
            with suspended():
                if self._parts is None:
                    self._parts = self._open()
                part = next(self._parts)
                self._left_bytes -= len(part)
                if not self._left_bytes:
                    self._take_end(self._parts)
        except StopIteration:
            exchange.end()
            raise
        except BaseException as error:
            exchange.fail(error)
            raise
        exchange.step.add_part(part)
        if self._is_over:
            exchange.end()
        return part

    def _take_end(self, parts: Iterator[bytes]) -> None:
        """Take the end along with the last byte: there is nothing to wait for.

        So the connection is free, and the call recorded, before the caller gets that byte. What
        comes instead of an end comes when the caller asks for more.
        """
        try:
            self._parts = chain((next(parts),), parts)
        except StopIteration:
            self._is_over = True
            self._close_real()
        except BaseException as error:  # noqa: BLE001 - raised where it would have been
            self._parts = _raising(error)

    def _open(self) -> Iterator[bytes]:
        return iter(self._real)

    def close(self) -> None:
        """Close the real stream; abandon the exchange if it was not read to its end."""
        exchange = self._exchange
        if exchange.elapsed_us is None:
            exchange.abandon()
        self._stamp(exchange.elapsed_us)
        if not self._is_closed:
            with machinery():
                self._close_real()

    def _close_real(self) -> None:
        self._is_closed = True
        if self._real is not None:
            self._real.close()

    def __del__(self) -> None:
        self._exchange.abandon()


def _raising(error: BaseException) -> Iterator[bytes]:
    """Raise it when the next part is asked for."""
    raise error
    yield b""


class AsyncRecordingStream(Stamped):
    """The same for the asynchronous transport."""

    def __init__(self, real: Any, exchange: Exchange) -> None:
        self._real = real
        self._parts: Any = None
        self._is_reading = False
        self._is_closed = False
        self._exchange = exchange

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        part = await self._pull()
        self._exchange.step.add_part(part)
        return part

    async def _pull(self) -> bytes:
        self._is_reading = True
        try:
            with suspended():
                if self._parts is None:
                    self._parts = self._open()
                part: bytes = await anext(self._parts)
                return part
        except StopAsyncIteration:
            await self._reach_end()
            raise
        except GeneratorExit as error:
            self._exchange.fail(error)
            raise
        except BaseException as error:
            await self._close_real()
            await reach_ending(self._exchange.step, error)
            self._exchange.fail(error)
            raise
        finally:
            self._is_reading = False

    def _open(self) -> AsyncIterator[bytes]:
        return aiter(self._real)

    async def _reach_end(self) -> None:
        """Let go of the connection, which may take a while, and only then go on."""
        try:
            await self._close_real()
            await self._exchange.step.turn()
        except asyncio.CancelledError as error:
            await reach_ending(self._exchange.step, error)
            self._exchange.fail(error)
            raise
        self._exchange.end()

    async def aclose(self) -> None:
        """Close the real stream; abandon the exchange if it was not read to its end."""
        try:
            if not self._is_closed:
                await self._close_real()
                await self._exchange.step.turn()
        finally:
            self._exchange.abandon()
            self._stamp(self._exchange.elapsed_us)

    async def _close_real(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with machinery():
            # Else the event loop closes this generator in a task of its own, some time later.
            if not self._is_reading:
                await _close_parts(self._parts)
            if self._real is not None:
                await self._real.aclose()

    def __del__(self) -> None:
        self._exchange.abandon()


# --- live again, behind a recorded prefix (H23) ---------------------------------------------------


class ResumingStream(RecordingStream):
    """Serves what was recorded of a cut answer, then repeats the request and goes on behind it.

    The request is sent when the reader asks for more than was recorded, not before. An answer that
    begins differently raises a read error there: as if the connection was lost at the cut.
    """

    def __init__(
        self,
        exchange: Exchange,
        reopen: Callable[[RecordedPrefix], Any],
        interrupted: Interrupted,
    ) -> None:
        super().__init__(None, exchange)
        self._recorded = iter(exchange.step.parts)
        self._prefix = RecordedPrefix(exchange.step.head)
        self._reopen = reopen
        self._interrupted = interrupted

    def __next__(self) -> bytes:
        for part in self._recorded:
            self._prefix.serve(part)
            return part
        return super().__next__()

    def _open(self) -> Iterator[bytes]:
        try:
            self._real = self._reopen(self._prefix)
            for part in self._real:
                behind = self._prefix.take(part)
                if behind:
                    yield behind
            self._prefix.check_end()
        except AnswerChangedError as change:
            raise self._interrupted(self._exchange.call, str(change)) from None


class AsyncResumingStream(AsyncRecordingStream):
    """The same for the asynchronous transport."""

    def __init__(
        self,
        exchange: Exchange,
        reopen: Callable[[RecordedPrefix], Awaitable[Any]],
        interrupted: Interrupted,
    ) -> None:
        super().__init__(None, exchange)
        self._recorded = iter(exchange.step.parts)
        self._prefix = RecordedPrefix(exchange.step.head)
        self._reopen = reopen
        self._interrupted = interrupted

    async def __anext__(self) -> bytes:
        for part in self._recorded:
            self._prefix.serve(part)
            return part
        return await super().__anext__()

    async def _open(self) -> AsyncIterator[bytes]:
        parts = None
        try:
            await self._exchange.step.turn()
            self._real = await self._reopen(self._prefix)
            parts = aiter(self._real)
            async for part in parts:
                behind = self._prefix.take(part)
                if behind:
                    yield behind
            self._prefix.check_end()
        except AnswerChangedError as change:
            raise self._interrupted(self._exchange.call, str(change)) from None
        finally:
            await _close_parts(parts)


async def _close_parts(parts: Any) -> None:
    if hasattr(parts, "aclose"):
        await parts.aclose()


# --- replay ---------------------------------------------------------------------------------------


class ReplayingStream(Stamped):
    """Recorded parts, then the recorded ending."""

    def __init__(self, recorded: Recalled) -> None:
        self._parts = iter(recorded.parts)
        self._recorded = recorded

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        for part in self._parts:
            return part
        if self._recorded.error is not None:
            raise self._recorded.error()
        raise StopIteration

    def close(self) -> None:
        """Stamp the response; there is nothing to close."""
        self._stamp(elapsed_us_of(self._recorded.outcome))


class AsyncReplayingStream(Stamped):
    """The same for the asynchronous transport; a cancelled read waits for its cancellation."""

    def __init__(self, recorded: Recalled, step: Step) -> None:
        self._parts = iter(recorded.parts)
        self._recorded = recorded
        self._step = step

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        await self._step.turn()
        if self._recorded.error is not None:
            await await_cancellation(self._recorded.outcome)
            raise self._recorded.error()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stamp the response. There is nothing to close, but it had its turn."""
        await self._step.turn()
        self._stamp(elapsed_us_of(self._recorded.outcome))
