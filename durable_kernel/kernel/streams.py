"""Streams: stdout and stderr that can be emptied, so a commit comes after the last output (H20).

Text takes two ways to the front end. What Python prints waits in a buffer until the IOPub thread
sends it; what C code and child processes write to descriptors 1 and 2 waits in a pipe until a
thread reads it. `drain` returns when both are empty and everything was handed to the session.
ipykernel's own `flush` knows the first way only, and makes a round trip even if nothing waits.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import struct
import termios
import threading
from collections.abc import Sequence
from typing import Any

from ipykernel.iostream import OutStream

__all__ = ["DrainableStream", "drain_all"]

_PIPE_READ_BYTES = 64 * 1024


class DrainableStream(OutStream):
    """An ipykernel stream whose two ways can be waited for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.Lock()
        self._pipe_lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        super().__init__(*args, **kwargs)

    def write(self, string: str) -> int:
        """Write as ipykernel does; wait where too much of what is shown again waits."""
        self.session.wait_for_room()
        written: int | None = super().write(string)
        return len(string) if written is None else written

    def drain(self) -> None:
        """Hand everything that was written so far to the session. Call from the main thread."""
        if self._should_watch and self._fid is not None:
            with self._pipe_lock:  # what the thread has read it must have written, too
                left = _readable_bytes(self._fid)
            while left > 0:
                left -= self._forward() or left
        self.flush()

    def flush(self) -> None:
        """Flush as ipykernel does, unless nothing waits and nothing is on its way."""
        if not self._is_master_process():
            super().flush()  # a child must not wait for a lock that a thread held at the fork
        elif not self._is_empty():
            super().flush()

    def _is_empty(self) -> bool:
        with self._sending, self._buffer_lock:
            return not self._buffers

    def _flush(self) -> None:
        if not self._is_master_process():
            super()._flush()
            return
        with self._sending:
            super()._flush()

    def _watch_pipe_fd(self) -> None:
        if self._fid is None:
            return
        poll = select.poll()
        poll.register(self._fid, select.POLLIN)
        while self._should_watch:
            events = poll.poll()
            if not self._forward() and not events[0][1] & select.POLLIN:
                return  # every writer closed its end

    def _forward(self) -> int:
        """Move what the pipe holds to the buffer and to the original descriptor. Returns the bytes.

        Reading and writing happen under one lock: an empty pipe means that all was written.
        """
        with self._pipe_lock:
            if not self._should_watch or not _readable_bytes(self._fid):
                return 0
            descriptor: Any = self._fid
            found = os.read(descriptor, _PIPE_READ_BYTES)
            text = self._decoder.decode(found)
            if text:
                self.session.capture.note_text_from_below()
                self.write(text)
            os.write(self._original_stdstream_copy, found)
            return len(found)


def drain_all(streams: Sequence[DrainableStream]) -> None:
    """Drain all of them. As a rule nothing came through a pipe: one call of the system tells."""
    waiting = select.poll()
    for each in streams:
        if each._should_watch and each._fid is not None:
            waiting.register(each._fid, select.POLLIN)
    are_empty = not waiting.poll(0)
    for each in streams:
        if not are_empty:
            each.drain()
            continue
        with each._pipe_lock:  # what the thread read before it lets go of this is written, too
            pass
        each.flush()


def _readable_bytes(descriptor: Any) -> int:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count
