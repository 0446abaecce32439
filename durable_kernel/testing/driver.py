"""A driver without Jupyter: replays a run, executes a list of cells, prints into the journal.

The same path as the kernel's (`Run.recorded`, `replay_cell`, `start_cell`, `finish`), with plain
`exec` in place of IPython, so that a kill campaign can fork thousands of them. What a cell prints
is handed to `show` after it was journaled, as a front end would see it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from durable_kernel.errors import Stop
from durable_kernel.history import INPUT
from durable_kernel.ports import CURRENT_LANE, entered
from durable_kernel.runtime import CellExecution, CellRequest, CellResult, Run

__all__ = ["Driver", "Shown"]

Shown = Callable[[int, str, str], None]
"""Called with (position, kind, text) for everything a front end would see, after it is on disk."""


def _show_nothing(_position: int, _kind: str, _text: str) -> None:
    return


class _Printing(io.TextIOBase):
    """Standard output of a running cell: each write is journaled, then shown."""

    def __init__(self, execution: CellExecution, name: str, show: Shown) -> None:
        self._execution, self._name, self._show = execution, name, show

    def write(self, text: str) -> int:
        text = self._execution.redacted(text)
        if text and self._execution.output("stream", {"name": self._name, "text": text}):
            self._show(self._execution.position, self._name, text)
        return len(text)


class Driver:
    """Runs cells of one run in this process, in one namespace."""

    def __init__(
        self, run: Run, *, show: Shown = _show_nothing, probe: Callable[[str], None] | None = None
    ) -> None:
        self.run = run
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        run.keeping.watch(self.namespace)
        self._show = show
        self._status = "ok"
        self._probe = probe or (lambda _point: None)

    def recover(self) -> int:
        """Replay every recorded position and finish the open one. Returns how many were done."""
        done = 0
        for history in self.run.recorded():
            if not self._execute(self.run.replay_cell(history)):
                break
            done += 1
        return done

    def match(self, *sources: str) -> str:
        """Send all cells from the top, as a runner does; stop where one is not ok.

        Returns the status of the last one, or "stopped".
        """
        status = "ok"
        for source in sources:
            execution = self.run.match_cell(CellRequest(source))
            status = self._status if self._execute(execution) else "stopped"
            if status != "ok":
                break
        return status

    def execute(self, source: str) -> bool:
        """Run one new cell. True when it was committed."""
        self.run.interrupts.hold()
        return self._execute(self.run.start_cell(CellRequest(source)))

    def beside(self, source: str) -> bool:
        """Run a request that is no cell. True when it is kept: it bound a name, or it acted."""
        before = dict(self.namespace)

        def has_changed() -> bool:
            now = self.namespace
            return before.keys() != now.keys() or any(before[name] is not now[name] for name in now)

        execution = self.run.start_input(CellRequest(source, kind=INPUT), has_changed)
        return self._execute(execution) and not execution.is_dropped

    def run_all(self, sources: Sequence[str]) -> bool:
        """Recover, then run the cells that the run does not hold yet.

        True when all are committed.
        """
        self.recover()
        while self.run.latch is None and self.run.next_position < len(sources):
            if not self.execute(sources[self.run.next_position]):
                return False
        return self.run.latch is None

    def _execute(self, execution: CellExecution) -> bool:
        with execution:
            execution.enter_task()
            if execution.is_kept:
                execution.bring_back()
                result = CellResult("ok")
            else:
                result = self._run_source(execution)
            execution.drain()
            self._probe("commit")
            committed = execution.finish(result)
            self._status = result.status
        execution.drain_tail()
        self._probe("reply")
        if committed:
            self._show(execution.position, "reply", result.status)
        return committed

    def _run_source(self, execution: CellExecution) -> CellResult:
        name = f"<cell {execution.position} of {execution.owner}>"
        source = execution.request.source
        before = sys.stdout, sys.stderr
        sys.stdout = _Printing(execution, "stdout", self._show)
        sys.stderr = _Printing(execution, "stderr", self._show)
        try:
            code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            with self.run.interrupts.letting_in():
                value = eval(code, self.namespace)  # noqa: S307 - what a kernel does
                if inspect.iscoroutine(value):
                    _run_coroutine(value, execution)
        except (Stop, Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a cell's end, whatever it is
            return self._failed(execution, error)
        except (asyncio.CancelledError, BaseExceptionGroup) as error:
            return self._failed(execution, self.run.latch or error)
        finally:
            sys.stdout, sys.stderr = before
        return CellResult("ok", {"status": "ok"})

    def _failed(self, execution: CellExecution, error: BaseException) -> CellResult:
        reply: Mapping[str, Any] = execution.redacted(
            {
                "status": "error",
                "ename": type(error).__name__,
                "evalue": str(error),
                "traceback": traceback.format_exception_only(error),
            }
        )
        if not isinstance(error, Stop) and execution.output("error", reply):
            self._show(execution.position, "error", f"{reply['ename']}: {reply['evalue']}")
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
        return CellResult(status, reply)


def _run_coroutine(value: Any, execution: CellExecution) -> None:
    """Await a cell as a kernel does, whose loop and first task belong to no cell."""
    lane = CURRENT_LANE.get()
    assert lane is not None, "a cell runs in its lane"

    async def main() -> None:
        with entered(lane):
            execution.enter_task()
            await value

    CURRENT_LANE.set(None)
    try:
        asyncio.run(main())
    finally:
        CURRENT_LANE.set(lane)
