"""The chunked transfer coding (RFC 9112 §7.1): where its content is, and how to go on behind a cut.

For a hook that records an answer as it stood on the wire. Bytes in, bytes out; knows no library.
"""

from __future__ import annotations

from durable_kernel.effects.http_wire import AnswerChangedError

__all__ = ["ChunkScanner"]


class ChunkScanner:
    """Follows one chunked body, piece by piece.

    `unsettled_bytes` is how many of the last bytes belong to a line that is not complete, or to the
    trailers of a body that is not: one that is cut before them can be continued by `frame`.
    A body that is not chunked as it should be is scanned no further, and all of it is settled.
    """

    def __init__(self) -> None:
        self.unsettled_bytes = 0
        self._line = b""
        self._missing_bytes = 0
        self._is_behind_chunk = False
        self._is_in_trailers = False
        self._is_over = False

    def scan(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the content in them."""
        content: list[bytes] = []
        at = 0
        while at < len(data) and not self._is_over:
            if self._missing_bytes:
                piece = data[at : at + self._missing_bytes]
                content.append(piece)
                at += len(piece)
                self._missing_bytes -= len(piece)
                self._is_behind_chunk = not self._missing_bytes
                continue
            newline = data.find(b"\n", at)
            stop = len(data) if newline < 0 else newline + 1
            self._line += data[at:stop]
            self.unsettled_bytes += stop - at
            at = stop
            if newline >= 0:
                line, self._line = self._line.strip(), b""
                self._take_line(line)
        return content

    def _take_line(self, line: bytes) -> None:
        if self._is_in_trailers:
            self._is_over = not line
        elif self._is_behind_chunk:
            self._is_behind_chunk = False
        else:
            try:
                self._missing_bytes = int(line.partition(b";")[0], 16)
            except ValueError:
                self._is_over = True
            self._is_in_trailers = not self._missing_bytes
        if self._is_over or not self._is_in_trailers:
            self.unsettled_bytes = 0

    def frame(self, content: bytes) -> bytes:
        """Write more content behind what was scanned, up to its last settled byte."""
        inside = content[: self._missing_bytes]
        self._missing_bytes -= len(inside)
        ends_chunk = (inside and not self._missing_bytes) or self._is_behind_chunk
        self._is_behind_chunk = False
        rest = content[len(inside) :]
        return b"".join(
            (
                inside,
                b"\r\n" if ends_chunk else b"",
                b"%x\r\n%s\r\n" % (len(rest), rest) if rest else b"",
            )
        )

    def finish(self) -> bytes:
        """Write the end. Raises AnswerChangedError in the middle of a chunk."""
        if self._missing_bytes:
            raise AnswerChangedError(f"it ended {self._missing_bytes} bytes short of a chunk")
        return self.frame(b"") + b"0\r\n\r\n"
