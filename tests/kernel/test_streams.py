"""Streams: what a thread has read of the pipe is handed on before a drain returns (H20)."""

from __future__ import annotations

import codecs
import os
import threading
from types import TracebackType

from durable_kernel.kernel.outputs import CapturingSession
from durable_kernel.kernel.streams import DrainableStream


class MeetingLock:
    """A lock; who comes while it is held lets its holder go on."""

    def __init__(self, holder_may_go_on: threading.Event) -> None:
        self._lock = threading.Lock()
        self._holder_may_go_on = holder_may_go_on

    def __enter__(self) -> None:
        if self._lock.locked():
            self._holder_may_go_on.set()
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class HeldStream(DrainableStream):
    """A stream without a kernel, whose thread is held between reading the pipe and writing."""

    def __init__(self, pipe: int) -> None:
        self.has_read, self.may_write = threading.Event(), threading.Event()
        self.written: list[str] = []
        self.flushed: list[str] = []
        self.session = CapturingSession()
        self._pipe_lock = MeetingLock(self.may_write)  # type: ignore[assignment]
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._should_watch = True
        self._fid = pipe
        self._original_stdstream_copy = os.open(os.devnull, os.O_WRONLY)

    def write(self, string: str) -> int:
        self.has_read.set()
        self.may_write.wait()
        self.written.append(string)
        return len(string)

    def flush(self) -> None:
        self.flushed = list(self.written)

    def close(self) -> None:
        """Close nothing: no thread of a kernel is behind it."""


def test_a_drain_waits_for_what_is_read_and_not_yet_written() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"last\n")
    stream = HeldStream(reading)
    thread = threading.Thread(target=stream._forward)
    thread.start()
    stream.has_read.wait()

    stream.drain()

    stream.may_write.set()
    thread.join()
    assert stream.flushed == ["last\n"]
    for each in (reading, writing, stream._original_stdstream_copy):
        os.close(each)
