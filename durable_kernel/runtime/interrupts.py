"""Interrupts: SIGINT never lands inside port code (H5), and every one is counted (H16).

A KeyboardInterrupt that arrives while the port works is raised when the port's code is done. The
count of interrupts raised in a cell, less those that a waiting effect recorded as its outcome,
tells whether the cell can be re-executed.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from threading import get_ident
from types import FrameType, TracebackType
from typing import Any, NoReturn

from durable_kernel.errors import Stop
from durable_kernel.ports import Lane

__all__ = ["Interrupts"]


class Interrupts:
    """Deferred SIGINT of the main thread. As a context manager: port code runs inside it.

    `heard` is called for each signal that Python code got to see.
    """

    def __init__(self, heard: Callable[[], None] = lambda: None) -> None:
        self._heard = heard
        self._depth = 0
        self._is_pending = False
        self._main = threading.main_thread().ident
        self._stop: Stop | None = None
        self.raised_count = 0

    def install(self) -> None:
        """Make this the process's SIGINT handler.

        Only the main thread may do that; elsewhere this does nothing.
        """
        if get_ident() == self._main:
            signal.signal(signal.SIGINT, self.handler)

    def handler(self, _number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt now, or when the port's code is done."""
        self._heard()
        if self._depth:
            self._is_pending = True
            return
        self._raise()

    def _raise(self) -> NoReturn:
        stop, self._stop = self._stop, None
        if stop is not None:
            raise stop.with_traceback(None)
        self.raised_count += 1
        raise KeyboardInterrupt

    def wake(self, main: Lane, stop: Stop) -> None:
        """Raise `stop` in the cell's own line of control, wherever it waits (H3).

        Nothing happens when that is where we are, or when it waits at the gate: there it finds
        the stop by itself.
        """
        if main.is_at_gate:
            return
        loop: Any = main.loop
        task: Any = main.root_task
        runs = loop is None or asyncio.current_task(loop) is task
        if runs and main.root_thread == get_ident():
            return
        if not runs and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        elif runs and self._main is not None and main.root_thread == self._main:
            self._stop = stop
            signal.pthread_kill(self._main, signal.SIGINT)

    def rest(self) -> None:
        """Take back a wake-up that nobody needs any more: the cell is over."""
        self._stop = None

    def __enter__(self) -> None:
        if get_ident() == self._main:
            self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if get_ident() != self._main:
            return
        self._depth -= 1
        if self._depth or not self._is_pending:
            return
        self._is_pending = False
        # A stop ends the cell anyway. Another error may be swallowed; the user's wish must not be.
        if error is None or isinstance(error, Exception):
            self._raise()
