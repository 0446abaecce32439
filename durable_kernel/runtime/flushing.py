"""Flushing: a timer writes pending observations each 100 ms.

So a crash loses at most that much of a computation that nobody has seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["FlushTimer"]

_INTERVAL_S = 0.1


class FlushTimer(threading.Thread):
    """A daemon thread that calls `flush` until stopped."""

    def __init__(self, flush: Callable[[], None]) -> None:
        super().__init__(name="durable-flush", daemon=True)
        self._flush = flush
        self._stopped = threading.Event()

    def run(self) -> None:
        """Flush at each interval."""
        while not self._stopped.wait(_INTERVAL_S):
            self._flush()

    def stop(self) -> None:
        """Stop and wait for the last flush to end."""
        self._stopped.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout=5)
