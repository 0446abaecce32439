"""Interrupts: signals never land inside port code (H5), and each that does harm is counted (H16).

A KeyboardInterrupt that arrives while the port works is raised when the port's code is done, and so
does a handler that a cell set wait for that. The count of those that broke into a cell, less those
that a waiting effect recorded as its outcome, tells whether the cell can be re-executed.
"""

from __future__ import annotations

import asyncio
import builtins
import dis
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType, FunctionType, TracebackType
from typing import Any, NoReturn

from durable_kernel.effects import signals
from durable_kernel.errors import Stop
from durable_kernel.ports import CURRENT_LANE, INSIDE_EFFECT, Lane

__all__ = ["Interrupts"]

Handler = Callable[[int, FrameType | None], Any]


class Interrupts:
    """Deferred signals of the main thread. As a context manager: port code runs inside it.

    `heard` is called for each SIGINT that Python code got to see. `is_live` tells whether a cell
    runs past its records: a replay gets its interrupts from the journal, so handlers of cells are
    not run there.
    """

    def __init__(
        self,
        heard: Callable[[], None] = lambda: None,
        is_live: Callable[[], bool] = lambda: True,
    ) -> None:
        self._heard = heard
        self._is_live = is_live
        self._depth = 0
        self._is_pending = False
        self._lets_in = True
        self._waiting: list[tuple[Handler, int]] = []
        self._late: list[tuple[Handler, int]] = []
        self.noticed: Callable[[], None] = lambda: None
        """Called for each SIGINT that a handler of a cell takes."""
        self._main = threading.main_thread().ident
        self._stop: Stop | None = None
        self.raised_count = 0
        self.last = ""
        """Name of the signal that broke in last."""
        self.handlers: list[Handler] = []
        """Handlers of cells that broke into this position."""
        self.is_cancelling = False
        """SIGINT cancelled the cell's task, and no call has recorded that."""
        self._count_before = 0

    def begin(self) -> None:
        """Count from here: a position begins."""
        self._count_before, self.handlers = self.raised_count, []
        self.is_cancelling = False

    @contextmanager
    def letting_in(self) -> Iterator[None]:
        """Let signals reach the code of a cell. What came since it began reaches it now.

        What comes behind it reaches nobody: the cell is over, and its commit is not torn.
        """
        self._lets_in = True
        try:
            self._run_late()
            if self._is_pending and not self._depth:
                self._is_pending = False
                self._raise()
            yield
        finally:
            self._lets_in = False

    def _run_late(self) -> None:
        """Run handlers that were due while no cell ran: their work is this cell's.

        What they raise would have ended in the log of the kernel, and does.
        """
        late, self._late = self._late, []
        for handler, number in late:
            try:
                self._run(handler, number, None)
            except Exception:  # noqa: BLE001 - a handler is foreign code
                traceback.print_exc()

    def hold(self) -> None:
        """Let what comes wait until the code of a cell runs."""
        if self._lets_in:
            self._lets_in = self._is_pending = False

    def has_broken_in(self, recorded: int) -> bool:
        """Tell whether more broke into this position than the `recorded` outcomes of calls."""
        return self.raised_count - self._count_before > recorded

    def install(self) -> None:
        """Make this the process's SIGINT handler, and who runs the handlers of cells.

        Only the main thread may do that; elsewhere this does nothing.
        """
        if get_ident() == self._main:
            signal.signal(signal.SIGINT, self.handler)
            signals.deliver_by(self.deliver)

    def uninstall(self) -> None:
        """Let handlers of cells run as they come."""
        signals.deliver_by(None)

    def handler(self, _number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt now, or when the port's code is done."""
        self._heard()
        if self._depth or not self._lets_in:
            self._is_pending = True
            return
        self._raise()

    def cancel(self) -> None:
        """Take note that SIGINT cancels the task of a cell; a call that this ends records it."""
        self._heard()
        self._count(signal.SIGINT)
        self.is_cancelling = True

    def deliver(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        """Run a handler of a cell now, or when the port's code is done, or in the next cell."""
        if number == signal.SIGINT:
            self._heard()
            self.noticed()
        if not self._lets_in:
            self._late.append((handler, number))
        elif self._depth:
            self._waiting.append((handler, number))
        else:
            self._run(handler, number, frame)

    def _run(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        """Count it, unless all it does is to raise, in a call that records that as its outcome.

        A replay gets its interrupts from the journal, so there it is not run; but who presses Stop
        means the replay. What it raises outside of a cell's code would only do harm to the kernel.
        """
        is_in_cell = CURRENT_LANE.get() is not None or INSIDE_EFFECT.get()
        if not self._is_live():
            if number == signal.SIGINT and is_in_cell:
                self._raise()
            return
        if not (INSIDE_EFFECT.get() and _only_raises(handler)):
            self._count(number)
            self.handlers.append(handler)
        try:
            handler(number, frame)
        except (Exception, KeyboardInterrupt):
            if is_in_cell:
                raise
            traceback.print_exc()

    def _raise(self) -> NoReturn:
        stop, self._stop = self._stop, None
        if stop is not None:
            raise stop.with_traceback(None)
        self._count(signal.SIGINT)
        raise KeyboardInterrupt

    def _count(self, number: int) -> None:
        self.raised_count += 1
        self.last = signal.Signals(number).name

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
        self._is_pending, self._lets_in = False, True

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
        if self._depth or not (self._is_pending or self._waiting):
            return
        # A stop ends the cell anyway. Another error may be swallowed; the user's wish must not be.
        may_raise = error is None or isinstance(error, Exception)
        if not may_raise:
            self._is_pending, self._waiting = False, []
        while self._waiting:
            handler, number = self._waiting.pop(0)
            self._run(handler, number, None)
        if self._is_pending and self._lets_in:
            self._is_pending = False
            self._raise()


_CHANGES = frozenset({"DELETE_ATTR", "DELETE_GLOBAL", "DELETE_SUBSCR", "STORE_ATTR", "STORE_DEREF"})
_CHANGES |= {"STORE_GLOBAL", "STORE_SUBSCR", "YIELD_VALUE", "IMPORT_NAME"}


def _only_raises(handler: Handler) -> bool:
    """Tell whether a handler does nothing that a replay, which does not run it, would miss.

    KeyboardInterrupt is counted by who records it.
    """
    if type(handler) is not FunctionType:
        return False
    names = {**vars(builtins), **handler.__globals__}
    steps = list(dis.get_instructions(handler))
    raises = any(step.opname == "RAISE_VARARGS" for step in steps)
    known = all(
        isinstance(names.get(name), type) and issubclass(names[name], Exception)
        for name in handler.__code__.co_names
    )
    return raises and known and not _CHANGES.intersection(step.opname for step in steps)
