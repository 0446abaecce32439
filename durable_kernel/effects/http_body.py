"""Request bodies that user code produces: drained once, hashed, and sent from a spool (H28).

A generator or a file given as body is user code. It runs in the lane before the call is begun, live
and on replay, because the announcement needs the body's hash before the first byte leaves. Up to
64 KB stay in memory, in the pieces in which they came; more goes to an unnamed temporary file.
Knows no library.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any

from durable_kernel.effects.whose_secrets import current_secrets
from durable_kernel.ports import machinery

__all__ = ["Bodies", "Spool", "drain"]

_MEMORY_BYTES = 65_536
_PIECE_BYTES = 65_536


class Spool:
    """A drained body. Can be read any number of times: a redirect or a retry sends it again."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.was_read = False
        self.position: int | None = None
        secrets = current_secrets()
        assert secrets is not None, "bodies are drained in a lane"
        self._hash = secrets.body_hash()
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, or "" of an empty body; equals `http_wire.body_digest`."""
        return self._hash.hexdigest()

    def add(self, piece: bytes) -> None:
        """Append the next piece."""
        self._hash.update(piece)
        self.size_bytes += len(piece)
        if self._file is None and self.size_bytes <= _MEMORY_BYTES:
            self._pieces.append(piece)
            return
        with machinery():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
                weakref.finalize(self, self._file.close)
                self._file.writelines(self._pieces)
                self._pieces.clear()
            self._file.write(piece)

    def content(self) -> bytes:
        """Return the whole body, to look into it: that is not reading it to send it."""
        return b"".join(self._pieces_of())

    def pieces(self) -> Iterator[bytes]:
        """Yield the body from its beginning."""
        self.was_read = True
        yield from self._pieces_of()

    def _pieces_of(self) -> Iterator[bytes]:
        if self._file is None:
            yield from self._pieces
            return
        offset = 0
        while offset < self.size_bytes:
            self._file.seek(offset)
            piece = self._file.read(_PIECE_BYTES)
            offset += len(piece)
            yield piece


class _Refused(Spool):
    """What is no body: the library gets it as it is, and refuses it in its own words."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = given

    def pieces(self) -> Any:
        """Return what was given."""
        return self._given


def _is_body(given: Any) -> bool:
    """Tell whether something can be drained. Nothing of the user's is called to find out."""
    return any(hasattr(given, name) for name in ("read", "__iter__", "__getitem__"))


def drain(body: Any, encoding: str, block_bytes: int) -> Spool:
    """Read a body that user code produces: a file, in blocks of that size, else an iterable.

    Text becomes bytes. Runs in the lane, and raises whatever the body raises.
    """
    spool = Spool()
    for piece in _pieces_of(body, block_bytes):
        if isinstance(piece, str):
            spool.add(piece.encode(encoding))
        else:
            spool.add(piece if type(piece) is bytes else bytes(memoryview(piece)))
    return spool


def _pieces_of(body: Any, block_bytes: int) -> Iterator[Any]:
    if not hasattr(body, "read"):
        yield from body
        return
    while piece := body.read(block_bytes):
        yield piece


class Bodies:
    """Drains the bodies of one library's requests.

    A library that can't connect leaves a body as it was, and people (and Retry) then send the same
    one again. It is drained by then; so one that never left is given back: a file at its old
    position, anything else from its spool.
    """

    def __init__(self) -> None:
        self._unsent: tuple[Any, Spool] | None = None

    def drain(self, body: Any, encoding: str, block_bytes: int) -> Spool:
        """Drain a body, or find the one that was given back."""
        unsent, self._unsent = self._unsent, None
        if unsent is not None and unsent[0] is body:
            return unsent[1]
        if not _is_body(body):
            return _Refused(body)
        position = _position_of(body)
        spool = drain(body, encoding, block_bytes)
        spool.position = position
        return spool

    def give_back(self, body: Any, spool: Spool) -> None:
        """Leave a body as it was before it was drained: nothing of it was sent."""
        if spool.position is None:
            self._unsent = body, spool
        else:
            body.seek(spool.position)


def _position_of(body: Any) -> int | None:
    if not hasattr(body, "seek") or not hasattr(body, "tell"):
        return None
    try:
        position: int = body.tell()
        body.seek(position)
    except (OSError, ValueError):  # a pipe, or a file that reads ahead
        return None
    return position
