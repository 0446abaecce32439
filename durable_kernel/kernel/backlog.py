"""Backlog: requests that reached the kernel and that the main thread has not begun to handle.

Noted on the shell-channel thread as they come, taken away on the main thread as they are begun.
What waits tells a single gesture from Run All, and is what a process that replaces itself hands
over.
"""

from __future__ import annotations

from asyncio import Future, ensure_future
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from durable_kernel.kernel.replacing import Handover

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Backlog", "Frames", "Waiting", "as_received"]

Frames = list[bytes]

_DELIMITER = b"<IDS|MSG>"
_RUN_CODE = frozenset({"comm_close", "comm_msg", "comm_open", "execute_request"})
_HEADER_AFTER = 2
"""Behind the delimiter: signature, header."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A cell that was sent and waits for its turn."""

    code: str
    cell_id: str | None


class Backlog:
    """Messages by their header, in the order in which they came. Safe from two threads."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._waiting: dict[bytes, Sequence[Any]] = {}
        self._current: Sequence[Any] = ()
        self.count = 0
        """How many came so far: whoever waits for quiet compares it."""

    @property
    def is_empty(self) -> bool:
        """True when nothing that runs code is handled or waits."""
        kinds = (self._kind(frames) for frames in (self._current, *self._waiting.values()))
        return not any(kind in _RUN_CODE for kind in kinds)

    @property
    def is_in_cell(self) -> bool:
        """True while a request is handled that runs code."""
        return bool(self._current)

    def note(self, frames: Sequence[Any]) -> None:
        """Keep a message that goes to the main thread's queue. On the shell-channel thread."""
        header = _header(frames)
        if header:
            self.count += 1
            self._waiting[header] = frames

    def forward(self, frames: Sequence[Any], forwarding: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Keep a message at once that is forwarded with the next turn of this thread's loop.

        That turn is taken before it is known to wait: who knows it may refuse the cell before it,
        and what aborts the queue then has to come behind it.
        """
        forwarded = ensure_future(forwarding)
        self.note(frames)
        return forwarded

    def begin(self, frames: Sequence[Any], *, is_beside: bool = False) -> None:
        """Forget a message: it is handled now. `is_beside`: another one is being handled, too."""
        header = _header(frames)
        self._waiting.pop(header, None)
        if header and not is_beside:
            self._current = frames if self._kind(frames) == "execute_request" else ()

    def end(self) -> None:
        """Forget the message that was begun last: it is handled."""
        self._current = ()

    def unfinished(self) -> list[Frames]:
        """Return all that is not handled to its end, the message that is being handled first."""
        kept = [self._current, *self._waiting.values()]
        return [[bytes(frame) for frame in frames] for frames in kept if frames]

    def drain_socket(self) -> list[Frames]:
        """Take what the socket still holds: who takes it has to see to it. Shell-channel thread."""
        found: list[Frames] = []
        socket: Any = self._kernel.shell_stream.socket  # type: ignore[union-attr]
        with suppress(zmq.Again):
            while True:
                found.append(socket.recv_multipart(zmq.NOBLOCK))
        return found

    def cells(self) -> list[Waiting]:
        """Return the cells that wait, in order."""
        found = (self._cell(frames) for frames in list(self._waiting.values()))
        return [each for each in found if each is not None]

    def _kind(self, frames: Sequence[Any]) -> str:
        try:
            return str(self._kernel.session.unpack(_header(frames))["msg_type"])
        except (KeyError, TypeError, ValueError):
            return ""

    def _cell(self, frames: Sequence[Any]) -> Waiting | None:
        session = self._kernel.session
        raw = [bytes(frame) for frame in frames]
        _, parts = session.feed_identities(raw)
        try:
            header, metadata = session.unpack(parts[1]), session.unpack(parts[3])
            content = session.unpack(parts[4])
            is_cell = (
                header["msg_type"] == "execute_request"
                and not content.get("silent", False)
                and content.get("store_history", True)
                and bool(content["code"].strip())
            )
        except (IndexError, KeyError, TypeError, ValueError):
            return None
        return Waiting(content["code"], metadata.get("cellId")) if is_cell else None


def as_received(handover: Handover | None) -> list[list[zmq.Frame]]:
    """Make messages of another process what a socket would have brought."""
    messages = handover.messages if handover is not None else []
    return [[zmq.Frame(each) for each in frames] for frames in messages]


def _header(frames: Sequence[Any]) -> bytes:
    """Find the header, which names a message; empty for what is no message of a client."""
    for index, frame in enumerate(frames):
        if bytes(frame) == _DELIMITER and index + _HEADER_AFTER < len(frames):
            return bytes(frames[index + _HEADER_AFTER])
    return b""
