"""Debugging: ipykernel's debugger, on code whose names outlive a process.

A breakpoint belongs to a file. Front ends work its name out of a cell's source and a prefix that
the debugger tells them; here the prefix is the one that the run's cells are compiled under, so a
breakpoint also stops in a function of a cell that ran, or was restored, before the debugger came.

What the debugger needs for itself (it listens, starts its adapter) is no input of the run, and
`control` lets it pass. What a person changes in a stopped cell is told on that cell, because replay
stops nowhere: such a cell is not executed again by itself. Breakpoints change nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipykernel.compiler import get_file_name
from ipykernel.debugger import Debugger
from IPython.core.getipython import get_ipython

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["DurableDebugger"]

_CHANGING = frozenset({"copyToGlobals", "setExpression", "setVariable"})
_LOOKS = frozenset({"clipboard", "hover", "variables", "watch"})
_TOLD = (
    "the debugger changed something while no cell was running, which is not journaled: cells that "
    "use it cannot be restored."
)


class DurableDebugger(Debugger):
    """Debugs the cells of a run."""

    @property
    def kernel(self) -> DurableKernel:
        """The kernel whose shell this process has. There is none yet when a debugger is made."""
        shell: Any = get_ipython()
        kernel: DurableKernel = shell.kernel
        return kernel

    def start(self) -> bool:
        """Start debugpy, and keep the sources of cells where their names say."""
        is_started = bool(super().start())
        self._folder()
        return is_started

    async def dumpCell(self, message: Any) -> Any:  # noqa: N802 - the command's name
        """Write a cell's source to the file that its code is named after."""
        source: str = message["arguments"]["code"]
        path = f"{self._folder()}{os.sep}{Path(get_file_name(source)).name}"
        Path(path).write_text(source, encoding="utf-8")  # noqa: ASYNC240 - as the stock one does
        return {
            "type": "response",
            "request_seq": message["seq"],
            "success": True,
            "command": message["command"],
            "body": {"sourcePath": path},
        }

    async def debugInfo(self, message: Any) -> Any:  # noqa: N802 - the command's name
        """Tell the front end how files of cells are named."""
        reply = await super().debugInfo(message)
        reply["body"]["tmpFilePrefix"] = f"{self._folder()}{os.sep}"
        return reply

    async def process_request(self, message: Any) -> Any:
        """Answer a request; what it changes is told on the cell that is stopped."""
        if self.is_started and _changes_something(message):
            kernel = self.kernel
            if kernel.run is not None and kernel.performer.execution is None:
                kernel.run.tell(_TOLD)
            elif kernel.run is not None:
                kernel.run.world.change_by_hand("was changed in the debugger")
        return await super().process_request(message)

    def _folder(self) -> str:
        """Return the folder of cells, made if it is missing. Another user's is never used."""
        folder = self.kernel.shell.compile.folder
        if folder and _is_made(Path(folder)):
            return str(folder)
        stock = Path(get_file_name("")).parent
        stock.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(stock)


def _changes_something(message: Mapping[str, Any]) -> bool:
    command, given = message.get("command"), message.get("arguments") or {}
    if command == "evaluate":
        return given.get("context") not in _LOOKS
    return command in _CHANGING


def _is_made(folder: Path) -> bool:
    """Make a private folder. False where something else has its name."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
