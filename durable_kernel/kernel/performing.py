"""Performing: one cell, live or replayed, from its source to its commit. Both take this same path.

    enter the lane -> IPython -> leave the lane -> drain -> commit -> reply (sent by the caller)

The stock `do_execute` is in the middle, untouched: what runs here runs as in the stock kernel.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from ipykernel.jsonutil import json_clean

from durable_kernel.errors import Stop
from durable_kernel.history import COMM
from durable_kernel.kernel.emptying import emptied, take_results
from durable_kernel.kernel.streams import DrainableStream, drain_all
from durable_kernel.runtime import CellExecution, CellRequest, CellResult

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = [
    "Asked",
    "Performance",
    "Performer",
    "error_content",
    "flush_all",
    "refusal",
    "wire_header",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `do_execute`."""

    code: str
    silent: bool = False
    store_history: bool = True
    user_expressions: Mapping[str, Any] = field(default_factory=dict)
    allow_stdin: bool = True
    cell_meta: Mapping[str, Any] | None = None
    cell_id: str | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """How a cell ended. `is_final`: its commit is on disk. `was_stopped`: its replay broke off."""

    reply: dict[str, Any]
    is_final: bool
    was_stopped: bool = False


class Performer:
    """Runs cells, one at a time, on the main thread."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._has_task = False
        self.execution: CellExecution | None = None
        self.parent: Mapping[str, Any] = {}
        self.signals = 0

    def request(self, asked: Asked) -> CellRequest:
        """Describe the execute request that is being handled, as the journal keeps it."""
        kernel = self._kernel
        parent = kernel.get_parent("shell")
        idents: Any = kernel._get_shell_context_var(kernel._shell_parent_ident)
        return CellRequest(
            source=asked.code,
            cell_id=asked.cell_id,
            parent_header=wire_header(parent.get("header") or {}),
            idents=[idents] if isinstance(idents, bytes) else list(idents),
            store_history=asked.store_history,
            execution_count=kernel.shell.execution_count,
            expressions=dict(asked.user_expressions),
            silent=asked.silent,
        )

    async def perform(
        self, execution: CellExecution, asked: Asked, *, is_shown: bool
    ) -> Performance:
        """Run a cell to its commit. The parent header was set before, and outputs go to it."""
        kernel = self._kernel
        self.parent = kernel.get_parent("shell")
        parent_id = str((self.parent.get("header") or {}).get("msg_id") or "")
        signals_before = self.signals
        kernel.capture.begin(execution, parent_id, is_shown=is_shown)
        kernel.shell.compile.enter_cell(execution.owner)
        self.execution, self._has_task = execution, False
        if kernel.run is not None:
            kernel.run.interrupts.noticed = self.count_signal
            kernel.run.keeping.watch(kernel.shell.user_ns, partial(take_results, kernel.shell))
        again = kernel.session.showing_again if execution.history else nullcontext
        try:
            with again(), execution:
                with emptied(kernel.shell, execution):
                    reply = kernel.capture.redacted(await self._run_stock(asked))
                if execution.is_kept:
                    execution.bring_back()
                await execution.drain_async()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the cell is over
            was_interrupted = self.signals != signals_before
            if was_interrupted and not self._is_past_records():
                kernel.capture.leave()
                return Performance(reply, is_final=False, was_stopped=True)
            with again():
                kernel.drain()
            result = _result(reply, was_interrupted=was_interrupted, exits=self._exits(reply))
            is_final = kernel.capture.finish(execution, result)
            await execution.drain_tail_async()
        finally:
            self.execution = None
            kernel.capture.leave()
            kernel.shell.compile.leave_cell()
        if is_shown:
            await kernel.session.shown()
        return Performance(self._checked(reply), is_final)

    def hold(self) -> None:
        """Let an interrupt wait until the code of the request runs, so that it gets a reply."""
        if self._kernel.run is not None:
            self._kernel.run.interrupts.hold()

    def rest(self) -> None:
        """Let interrupts be what they are for any kernel: the request is done."""
        if self._kernel.run is not None:
            self._kernel.run.interrupts.rest()

    def count_signal(self) -> None:
        """Count an interrupt that a handler of the cell takes."""
        self.signals += 1

    def count_cancel(self) -> None:
        """Count an interrupt that cancels the task of a cell."""
        self.signals += 1
        if self._kernel.run is not None:
            self._kernel.run.interrupts.cancel()

    def note_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Count an interrupt that arrives between cells: nothing is there to be interrupted."""
        self.signals += 1

    @property
    def is_live(self) -> bool:
        """True while a cell runs past its records: it may wait for what comes meanwhile."""
        return self.execution is not None and self._is_past_records()

    def _is_past_records(self) -> bool:
        """Tell whether the cell is past its records: only then an interrupt is part of it."""
        run = self._kernel.run
        return run is not None and run.port.is_live

    def enter_task(self) -> None:
        """Name the current task as the cell's. Called inside it, before the cell's first line."""
        if self.execution is not None and not self._has_task:
            self._has_task = True
            self.execution.enter_task()

    async def _run_stock(self, asked: Asked) -> dict[str, Any]:
        """Run as the stock kernel does. What escapes from IPython becomes the cell's error.

        IPython reports what user code raises. A signal or a stop that lands between its own lines
        gets past it; without a reply the front end would wait for ever.
        """
        try:
            assert self._kernel.run is not None, "a cell is performed within a run"
            with self._kernel.run.interrupts.letting_in():
                if self.execution is not None and self.execution.request.kind == COMM:
                    return self._kernel.comms.deliver(self.execution.request)
                return await self._kernel.execute_stock(asked)
        except (KeyboardInterrupt, asyncio.CancelledError, Stop) as error:
            kernel = self._kernel
            reply = refusal(error, kernel.shell.execution_count - 1)
            kernel.send_response(kernel.iopub_socket, "error", error_content(reply))
            return reply

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Let the latch decide a cell's status, not what its code made of the exception (H3)."""
        latch = self._kernel.run.latch if self._kernel.run is not None else None
        if latch is None or reply.get("ename") == type(latch).__name__:
            return reply
        stopped = refusal(latch, self._kernel.shell.execution_count - 1)
        self._kernel.publish("error", error_content(stopped))
        return stopped

    def _exits(self, reply: Mapping[str, Any]) -> bool:
        asked = any(each.get("source") == "ask_exit" for each in reply.get("payload") or ())
        return asked and bool(self._kernel.shell.exit_now)


def refusal(error: BaseException, execution_count: int) -> dict[str, Any]:
    """Make the reply to a cell that was not run, or that was stopped: one clear sentence."""
    name, sentence = type(error).__name__, str(error)
    return {
        "status": "error",
        "ename": name,
        "evalue": sentence,
        "traceback": [f"{name}: {sentence}"],
        "execution_count": execution_count,
        "user_expressions": {},
        "payload": [],
    }


def wire_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a received header back into what was on the wire: its date as text."""
    cleaned = dict(header)
    date = cleaned.get("date")
    if date is not None and not isinstance(date, str):
        cleaned["date"] = date.isoformat().replace("+00:00", "Z")
    return cleaned


def flush_all(*streams: Any) -> None:
    """Empty the streams on both of their ways; those of another class on the way they offer."""
    drain_all([each for each in streams if isinstance(each, DrainableStream)])
    for stream in streams:
        if stream is not None and not isinstance(stream, DrainableStream):
            stream.flush()
    for current in (sys.stdout, sys.stderr):
        if current is not None and current not in streams:
            current.flush()


def error_content(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Make the content of an error message from an error reply."""
    return {name: reply[name] for name in ("ename", "evalue", "traceback")}


def _result(reply: Mapping[str, Any], *, was_interrupted: bool, exits: bool) -> CellResult:
    status = "ok" if reply.get("status") == "ok" else "error"
    if status == "error" and was_interrupted:
        status = "interrupted"
    return CellResult(
        status=status,
        reply=json_clean(dict(reply)),
        asked_exit=exits,
        execution_count=reply.get("execution_count"),
    )
