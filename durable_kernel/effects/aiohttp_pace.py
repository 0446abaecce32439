"""When the bytes of an answer reached their reader, told in steps of the reader itself.

aiohttp pushes: whatever has arrived by the time of a read is what `readany` or `iter_chunked` see.
So an arrival is placed by counting what the reader did before it: a *tick* for each operation that
begins, each wait that begins, and each wait that is over. On replay the same bytes are handed over
at the same tick, so each read returns what it returned, whatever clocks and networks do.

    -1           together with the head
    n            as soon as the reader has come to tick n

The counting is done by a subclass of the library's StreamReader, which is given to a body once the
parser made it. Live and on replay it is the same class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

__all__ = ["PACE", "WITH_HEAD", "Pace", "make_paced_reader"]

WITH_HEAD = -1
PACE = "durable_pace"
"""The attribute of a protocol that holds the pace of its present exchange."""


class Pace:
    """The ticks of one body. `payload` is its reader, None while there is no head."""

    def __init__(self) -> None:
        self.tick = 0
        self.payload: Any = None

    def begin_operation(self) -> None:
        """Take note that the reader asks for something; it looks at its buffer next."""
        self.tick += 1

    def begin_wait(self) -> Awaitable[None] | None:
        """Take note that the buffer does not suffice.

        What is returned is awaited in the place of an arrival; None: wait for the next one.
        """
        self.tick += 1
        return None

    async def reach_end(self) -> None:
        """Wait for the turn of the end of the body, if the wait that is over has brought it."""

    def cancel_wait(self) -> None:
        """Take note that the wait was cancelled, whatever may have arrived by then."""

    def end_wait(self) -> None:
        """Take note that the reader goes on, or was cancelled."""
        self.tick += 1


def _pace_of(reader: Any) -> Pace | None:
    pace: Pace | None = reader._protocol.__dict__.get(PACE)
    return pace if pace is not None and pace.payload is reader else None


def make_paced_reader(reader: Any) -> Any:
    """Derive the counting class. Its instances are ordinary readers whose class was exchanged."""

    class StreamReader(reader):
        __slots__ = ()  # the layout of its base, or the class of an instance can't be exchanged
        __doc__ = reader.__doc__
        __module__ = reader.__module__
        __qualname__ = reader.__qualname__

        async def read(self, *args: Any, **options: Any) -> bytes:
            _begin_operation(self)
            return await super().read(*args, **options)

        async def readany(self) -> bytes:
            _begin_operation(self)
            return await super().readany()

        async def readuntil(self, *args: Any, **options: Any) -> bytes:
            _begin_operation(self)
            return await super().readuntil(*args, **options)

        async def readchunk(self) -> tuple[bytes, bool]:
            _begin_operation(self)
            return await super().readchunk()

        def read_nowait(self, *args: Any, **options: Any) -> bytes:
            _begin_operation(self)
            return super().read_nowait(*args, **options)

        def at_eof(self) -> bool:
            _begin_operation(self)
            return super().at_eof()

        async def _wait(self, func_name: str) -> None:
            pace = _pace_of(self)
            # Waiting beside another reader, or on a closed connection: the library complains.
            if pace is None or self._waiter is not None or self._protocol.transport is None:
                return await super()._wait(func_name)
            try:
                instead = pace.begin_wait()
                if instead is None:
                    await super()._wait(func_name)
                else:
                    await instead
                await pace.reach_end()
            except (asyncio.CancelledError, TimeoutError) as error:
                # A read time-out arrives like a byte; that of the whole request cancels the reader.
                if not isinstance(error, Exception) or getattr(self._timer, "_cancelled", False):
                    pace.cancel_wait()
                raise
            finally:
                pace.end_wait()

    return StreamReader


def _begin_operation(reader: Any) -> None:
    pace = _pace_of(reader)
    if pace is not None:
        pace.begin_operation()
