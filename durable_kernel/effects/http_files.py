"""Files that `http.client` reads answers from: teed while live, made from the journal on replay.

`http.client.HTTPResponse` reads its `fp`, and so does urllib3 when it takes chunks apart. All that
is above that file stays the library's own, on both sides of a replay. Once the head was read, one
of these files takes its place:

    ChunkedTee    live, chunked: the reader asks, the real file answers, what is payload is recorded
    ChunkedBody   recorded, chunked: each recorded part is presented as one chunk
    PlainBody     not chunked, live or recorded: whatever pieces came

What a reader sees depends on the pieces alone, and those are recorded: a replay sees the same,
piece by piece.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from typing import Any

from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_payloads import (
    PIECE_BYTES,
    BrokenEnd,
    LivePayload,
    Payload,
)

__all__ = ["attach_live", "attach_recorded"]

_BLANK_LINES = frozenset({b"\r\n", b"\n", b""})


def _tell_nobody() -> None:
    """Nobody listens."""


class _File:
    """What all files here have in common: the piece that is being read, and an end."""

    closed = False
    tell_taken: Callable[[], None] = staticmethod(_tell_nobody)
    _piece = b""
    _at = 0

    @property
    def _waiting(self) -> int:
        return len(self._piece) - self._at

    def _take(self, size: int) -> bytes:
        """Take up to `size` bytes of the present piece; all of them if it is negative."""
        at, piece = self._at, self._piece
        if at == 0 and (size < 0 or size >= len(piece)):
            self._piece = b""
            return piece
        self._at = len(piece) if size < 0 else min(len(piece), at + size)
        return piece[at : self._at]

    def _put(self, piece: bytes) -> None:
        self._piece, self._at = piece, 0

    def read(self, size: int = -1) -> bytes:
        raise NotImplementedError

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            found = self.read(len(view))
            view[: len(found)] = found
        return len(found)

    def flush(self) -> None:
        """Do nothing: nothing is written here."""

    def close(self) -> None:
        self.closed = True

    @property
    def _real(self) -> Any:
        return None

    def fileno(self) -> int:
        """Return the descriptor of the connection; a recorded body has none."""
        if self._real is None:
            raise io.UnsupportedOperation("fileno")
        found: int = self._real.fileno()
        return found

    @property
    def raw(self) -> Any:
        """The connection below, for those who take it over. What they do with it is not seen."""
        if self._real is None:
            raise AttributeError("raw")
        self.tell_taken()
        return self._real.raw


class PlainBody(_File):
    """A body that is not chunked."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    @property
    def _real(self) -> Any:
        return self._payload.real

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, fewer only at the end. Blocks until they are there."""
        if size is None or size < 0:
            found = [self._take(-1)]
            while piece := self._payload.pull(-1):
                found.append(piece)
            return b"".join(found)
        first = self._take(size)
        missing = size - len(first)
        if not missing:
            return first
        found = [first]
        while missing and (piece := self._payload.pull(missing)):
            if len(piece) > missing:
                self._put(piece)
                piece = self._take(missing)
            found.append(piece)
            missing -= len(piece)
        return b"".join(found)

    def read1(self, size: int = -1) -> bytes:
        """Return what is there, at most so many bytes; waits only if nothing is."""
        if size:
            self.peek()
        return self._take(size)

    def peek(self, _size: int = 0) -> bytes:
        """Return what is there without taking it."""
        if not self._waiting:
            self._put(self._payload.pull(1))
        return self._piece[self._at :] if self._at else self._piece

    def readline(self, limit: int = -1) -> bytes:
        """Return bytes up to and with the next line end, at most `limit`."""
        found: list[bytes] = []
        while limit:
            self.peek()
            if not self._waiting:
                break
            end = self._piece.find(b"\n", self._at) + 1
            size = end - self._at if end else self._waiting
            line = self._take(size if limit < 0 else min(size, limit))
            found.append(line)
            limit -= len(line) if limit > 0 else 0
            if line.endswith(b"\n"):
                break
        return b"".join(found)

    def close(self) -> None:
        super().close()
        self._payload.close()


class ChunkedBody(_File):
    """A recorded body that came in chunks: each part is one chunk again."""

    def __init__(self, payload: Payload, broken: BrokenEnd | None) -> None:
        self._payload = payload
        self._broken = broken
        self._held: bytes | None = None
        self._line_end = b""

    @property
    def _real(self) -> Any:
        return self._payload.real

    def readline(self, _limit: int = -1) -> bytes:
        """Return the next size, or what stood there; behind the last one the end of the trailer."""
        if self._line_end:
            line, self._line_end = self._line_end, b""
            return line
        piece = self._next_piece()
        if piece:
            self._put(piece)
            is_last = self._held == b""
            self._line_end = b"" if is_last else b"\r\n"
            missing = self._broken.missing_bytes if self._broken and is_last else 0
            return b"%x\r\n" % (len(piece) + missing)
        if self._broken is None:
            self._line_end = b"\r\n"
            return b"0\r\n"
        is_unbegun = self._broken.missing_bytes and not self._broken.is_begun
        return b"%x\r\n" % self._broken.missing_bytes if is_unbegun else self._broken.line

    def _next_piece(self) -> bytes:
        """Return the next piece; a body that broke inside a chunk is read one piece ahead."""
        piece = self._payload.pull(-1) if self._held is None else self._held
        if piece and self._broken is not None and self._broken.is_begun:
            self._held = self._payload.pull(-1)
        return piece

    def read(self, size: int = -1) -> bytes:
        """Return payload of the present chunk, or what stands behind it."""
        if self._waiting:
            return self._take(size)
        line_end, self._line_end = self._line_end, b""
        return line_end

    read1 = read

    def peek(self, _size: int = 0) -> bytes:
        """Return the rest of the present chunk without taking it."""
        return self._piece[self._at :]

    def close(self) -> None:
        super().close()
        self._payload.close()


class ChunkedTee(_File):
    """The real file of a chunked body. Follows the reader through the chunks, records payload."""

    def __init__(self, real: Any, exchange: Exchange) -> None:
        self._file = real
        self._exchange = exchange
        self._left = 0  # of the present chunk, not yet taken from the real file
        self._is_behind_last = False

    @property
    def _real(self) -> Any:
        return self._file

    def readline(self, limit: int = -1) -> bytes:
        """Return the next size, or a line of the trailer."""
        line = self._ask(self._file.readline, limit)
        if self._is_behind_last:
            if line in _BLANK_LINES:
                self._exchange.end()
            return line
        try:
            self._left = max(int(line.partition(b";")[0], 16), 0)
        except ValueError:
            BrokenEnd(line=line).fail(self._exchange)
            return line
        self._is_behind_last = not self._left
        return line

    def read(self, size: int = -1) -> bytes:
        """Return payload of the present chunk, all that was asked for; or what stands behind it."""
        found = self._take(size) if self._waiting else b""
        if found and (len(found) == size or not self._left):
            return found
        if not self._left:
            line_end = self._ask(self._file.read, size)
            if len(line_end) < size:
                BrokenEnd(is_begun=True).fail(self._exchange)
            return line_end
        wanted = self._left if size < 0 else min(size - len(found), self._left)
        piece = self._record(self._ask(self._file.read, wanted))
        found = found + piece if found else piece
        if len(piece) < wanted:
            BrokenEnd(self._left, is_begun=bool(found)).fail(self._exchange)
        return found

    def read1(self, size: int = -1) -> bytes:
        """Return what is there of the present chunk; waits only if nothing is."""
        if self._waiting:
            return self._take(size)
        wanted = size if 0 <= size <= self._left else self._left
        piece = self._record(self._ask(self._file.read1, wanted))
        if wanted and not piece:
            BrokenEnd(self._left).fail(self._exchange)
        return piece

    def peek(self, _size: int = 0) -> bytes:
        """Return what is there of the present chunk without taking it. It is recorded now."""
        if not self._waiting and self._left:
            self._put(self.read1(PIECE_BYTES))
        return self._piece[self._at :]

    def _ask(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except BaseException as error:
            self._exchange.fail(error)
            raise

    def _record(self, piece: bytes) -> bytes:
        if piece:
            self._left -= len(piece)
            self._exchange.step.add_part(piece)
        return piece

    def close(self) -> None:
        super().close()
        self._exchange.abandon()
        self._file.close()

    def __del__(self) -> None:
        self._exchange.abandon()


# --- into a response ------------------------------------------------------------------------------


def attach_live(
    response: http.client.HTTPResponse, exchange: Exchange, tell_taken: Callable[[], None]
) -> None:
    """Put the tee below a response whose head was read. Without a body the exchange ends here.

    `tell_taken` is called when somebody takes the connection over, past the tee.
    """
    opened: Any = response
    if _has_no_body(response):
        exchange.end()
        return
    if opened.chunked:
        opened.fp = ChunkedTee(opened.fp, exchange)
    else:
        opened.fp = PlainBody(LivePayload(opened.fp, exchange, opened.length))
    opened.fp.tell_taken = tell_taken


def attach_recorded(
    response: http.client.HTTPResponse, payload: Payload, broken: BrokenEnd | None = None
) -> None:
    """Put a recorded body below a response that was read from a recorded head."""
    opened: Any = response
    if _has_no_body(response):
        payload.close()
    elif opened.chunked:
        opened.fp = ChunkedBody(payload, broken)
    else:
        opened.fp = PlainBody(payload)


def _has_no_body(response: http.client.HTTPResponse) -> bool:
    opened: Any = response
    if opened.fp is None or opened._method == "HEAD":
        return True
    return not opened.chunked and opened.length == 0
