"""Bodies of answers in pieces: from the connection, from the journal, or from one after the other.

What a piece is: payload, without the sizes and line ends of chunks, still content-encoded. A live
piece is recorded before anybody sees it. Knows `http.client`, and no library above it.

A body that ends too early raises nothing here: `http.client` and urllib3 find out by themselves,
each in its own words. `BrokenEnd` says what they found, so that they find it again. Every exchange
ends on every way out (H17): at its end, by an exception, by `close`, and when it is dropped unread.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_heads import head_of
from durable_kernel.effects.http_wire import AnswerChangedError, RecordedPrefix
from durable_kernel.ports import Outcome, machinery, suspended

__all__ = [
    "PIECE_BYTES",
    "BrokenEnd",
    "LivePayload",
    "Payload",
    "RecordedPayload",
    "ResumedPayload",
]

PIECE_BYTES = 65_536
"""How much is read at once where the reader leaves it open."""


class BrokenEnd(NamedTuple):
    """How a body ended before its end.

    `missing_bytes` of the body, or of a chunk that was begun; `is_begun`: its beginning is the last
    recorded part. `line`: what stood where the size of a chunk was expected.
    """

    missing_bytes: int = 0
    is_begun: bool = False
    line: bytes = b""

    def fail(self, exchange: Exchange) -> None:
        """Settle a live exchange."""
        error = http.client.IncompleteRead(b"", self.missing_bytes or None)
        exchange.fail(error, broken_end=list(self))

    @classmethod
    def of(cls, outcome: Outcome) -> BrokenEnd | None:
        """Find it in a recorded outcome."""
        found = outcome.error.extra.get("broken_end") if outcome.error is not None else None
        return cls(*found) if found else None


class Payload(Protocol):
    """A body in pieces."""

    def pull(self, wanted: int) -> bytes:
        """Return the next piece, b"" at the end; a live one stops at `wanted` bytes if many."""

    def close(self) -> None:
        """Say that no more is wanted."""

    @property
    def real(self) -> Any:
        """The file of the connection; None if there is none."""


class LivePayload:
    """The real body, not chunked, each piece recorded before the reader sees it."""

    def __init__(self, real: Any, exchange: Exchange, size_bytes: int | None) -> None:
        self.real = real
        self._exchange = exchange
        self._left = size_bytes

    def pull(self, wanted: int) -> bytes:
        left = self._left
        if left == 0:
            return b""
        is_whole = wanted < 0 or wanted >= PIECE_BYTES
        if not is_whole:
            wanted = PIECE_BYTES
        if left is not None and not 0 <= wanted <= left:
            wanted = left
        try:
            piece: bytes = (self.real.read if is_whole else self.real.read1)(wanted)
        except BaseException as error:
            self._exchange.fail(error)
            raise
        if piece:
            self._exchange.step.add_part(piece)
        if left is not None:
            self._left = left = left - len(piece)
        is_at_end = len(piece) != wanted if is_whole else not piece
        if left == 0 or (is_at_end and left is None):
            self._exchange.end()
        elif is_at_end:
            BrokenEnd(left or 0).fail(self._exchange)
        return piece

    def close(self) -> None:
        self._exchange.abandon()
        self.real.close()

    def __del__(self) -> None:
        self._exchange.abandon()


class RecordedPayload:
    """Recorded parts, then the recorded ending: `error` makes what is raised, None ends it."""

    real = None

    def __init__(
        self, parts: Iterable[bytes], error: Callable[[], BaseException] | None = None
    ) -> None:
        self._parts = iter(parts)
        self._error = error

    def pull(self, wanted: int) -> bytes:
        for part in self._parts:
            return part
        if self._error is not None:
            raise self._error()
        return b""

    def close(self) -> None:
        """Do nothing: there is no connection."""


class ResumedPayload:
    """What was recorded of a cut answer; behind it, the request is made again (H23).

    It is sent when the reader asks for more than was recorded, not before. `reopen` returns the
    repeated answer; `interrupted` makes the exception for one that begins differently, which is
    also what `pull` raises then. `leave` is told when no more is read, and whether all was.
    """

    def __init__(
        self,
        exchange: Exchange,
        reopen: Callable[[], http.client.HTTPResponse],
        leave: Callable[[bool], None],
        interrupted: Callable[[str], BaseException],
    ) -> None:
        self.real: Any = None
        self._exchange = exchange
        self._recorded = iter(exchange.step.parts)
        self._prefix = RecordedPrefix(exchange.step.head)
        self._reopen = reopen
        self._leave = leave
        self._interrupted = interrupted
        self._pieces: Iterator[bytes] | None = None
        self._is_at_end = False

    def pull(self, wanted: int) -> bytes:
        for part in self._recorded:
            self._prefix.serve(part)
            return part
        if self._pieces is None:
            self._pieces = self._repeat()
        try:
            with machinery():
                piece = next(self._pieces, b"")
        except BaseException as error:
            self._exchange.fail(error)
            raise
        if piece:
            self._exchange.step.add_part(piece)
        if self._is_at_end:
            self._exchange.end()
        return piece

    def _repeat(self) -> Iterator[bytes]:
        try:
            self.real = repeated = self._reopen()
            self._prefix.check_head(head_of(repeated))
            while piece := repeated.read1(PIECE_BYTES):
                behind = self._prefix.take(piece)
                # The reader counts, and does not ask again behind the last byte.
                self._is_at_end = repeated.length == 0
                if behind:
                    yield behind
            self._prefix.check_end()
        except AnswerChangedError as change:
            raise self._interrupted(str(change)) from None
        except http.client.HTTPException as error:
            raise ConnectionResetError(f"the repeated answer broke off: {error!r}") from error
        if repeated.length:
            raise ConnectionResetError(
                f"the repeated answer broke off, {repeated.length} bytes before its end"
            )
        self._is_at_end = True

    def close(self) -> None:
        self._exchange.abandon()
        if self._pieces is None:
            return
        with suspended():
            if self._is_at_end:
                self.real.close()
            self._leave(self._is_at_end)

    def __del__(self) -> None:
        self._exchange.abandon()
