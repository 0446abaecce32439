"""Request bodies of aiohttp: drained before the request is announced, and sent from a spool (H28).

A body of bytes is left alone. Everything else (asynchronous generators, files, multipart forms) is
written once into a spool, in the lane; the connection gets the spool. It stands in the place of the
library's own payload and says of itself whatever that one says: its size, so the framing on the
wire; its headers; whether it may be sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from durable_kernel.effects.http_body import Spool
from durable_kernel.effects.http_wire import body_digest
from durable_kernel.ports import suspended

__all__ = ["Bodies", "DrainedBody"]


class DrainedBody(NamedTuple):
    """What is said of a body before it is sent; `content` returns the whole of it."""

    digest: str
    size_bytes: int
    content: Callable[[], bytes]


class _Sink:
    """The writer that a payload is drained into."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.output_size = 0

    async def write(self, chunk: Any, **_options: Any) -> None:
        piece = bytes(chunk)
        self._spool.add(piece)
        self.output_size += len(piece)

    async def drain(self) -> None:
        """Do nothing: a spool is never full."""


class Bodies:
    """Drains the bodies of one aiohttp."""

    def __init__(self, module: Any) -> None:
        self._payload = module.payload.Payload
        self._bytes_payload = module.payload.BytesPayload
        self._connection_error = module.ClientConnectionError
        self._os_error = module.ClientOSError
        self._spooled: Any = type("SpooledPayload", (_Spooled, self._payload), {})

    async def drain(self, request: Any) -> DrainedBody:
        """Describe the body; the request then sends what was drained.

        Raises what the library raises when a body can't be sent.
        """
        place = "_body" if "_body" in request.__dict__ else "body"  # aiohttp 3.12 renamed it
        body = getattr(request, place, None)
        if isinstance(body, self._bytes_payload):
            body = body._value
        if body is None or isinstance(body, (bytes, bytearray, memoryview)):
            content = bytes(body or b"")
            return DrainedBody(body_digest(content), len(content), lambda: content)
        if isinstance(body, self._spooled) and body.was_sent:
            body = body.original  # sent once more, by a redirect: whatever is left of it
        if not isinstance(body, self._spooled):
            spool = Spool()
            try:
                has_size = getattr(body, "size", None) is not None  # its file may be closed after
                await self._pour(request, body, _Sink(spool))
            except OSError as error:
                if error.errno is None and isinstance(error, TimeoutError):
                    raise
                sentence = f"Can not write request body for {request.url!s}"
                raise self._os_error(error.errno, sentence) from error
            except Exception as error:
                sentence = f"Failed to send bytes into the underlying connection: {error!r}"
                raise self._connection_error(sentence) from error
            body = self._spooled(spool, body, has_size=has_size)
            setattr(request, place, body)
        spool = body.durable_spool
        return DrainedBody(spool.digest, spool.size_bytes, spool.content)

    async def _pour(self, request: Any, body: Any, sink: _Sink) -> None:
        if not isinstance(body, self._payload):
            for chunk in body:
                await sink.write(chunk)
        elif hasattr(body, "write_with_length"):
            await body.write_with_length(sink, request._get_content_length())
        else:
            await body.write(sink)


class _Spooled:
    """A drained body in the place of the one that it was drained from; a payload of the library."""

    def __init__(self, spool: Spool, original: Any, *, has_size: bool) -> None:
        self.durable_spool = spool
        self._value = spool
        self.original = original
        self._size = spool.size_bytes if has_size else None
        self._headers = getattr(original, "headers", {})
        self._filename = getattr(original, "filename", None)
        self._encoding = getattr(original, "encoding", None)
        self._autoclose = getattr(original, "autoclose", True)
        self.was_sent = False

    @property
    def consumed(self) -> bool:
        """Says no before it was sent once, as the original would."""
        return self.was_sent and getattr(self.original, "consumed", False)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self.durable_spool.pieces()).decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"".join(self.durable_spool.pieces())

    async def write(self, writer: Any) -> None:
        self.was_sent = True
        pieces = self.durable_spool.pieces()
        while True:
            with suspended():
                piece = next(pieces, None)
            if piece is None:
                return
            await writer.write(piece)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        await self.write(writer)

    def _close(self) -> None:
        if hasattr(self.original, "_close"):
            self.original._close()

    async def close(self) -> None:
        if hasattr(self.original, "close"):
            await self.original.close()
