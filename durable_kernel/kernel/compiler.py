"""Compiler: cells get file names that are the same in every process, so tracebacks are the same.

The stock name is a folder with the process id and a hash of the source. Only the folder is changed,
into run and position, so that everything that is derived from the name stays as it was: the text of
a SyntaxError, the colours of a traceback. While the debugger is attached, the stock names are used:
the front end computes them by itself, to set breakpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from ipykernel.compiler import XCachingCompiler

from durable_kernel.kernel.identity import cell_folder

__all__ = ["StableCompiler"]


class StableCompiler(XCachingCompiler):
    """Names code by run and position while a cell runs, as the stock compiler otherwise."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._folder: str | None = None
        self.is_debugging: Callable[[], bool] = bool

    def enter_cell(self, run_id: str, position: int) -> None:
        """Name what is compiled from now on after this cell."""
        self._folder = cell_folder(run_id, position)

    def leave_cell(self) -> None:
        """No cell is running."""
        self._folder = None

    def get_code_name(self, raw_code: str, code: str, number: int) -> str:
        """Name a block of code for tracebacks, `inspect` and warnings."""
        name: str = super().get_code_name(raw_code, code, number)
        if self._folder is None or self.is_debugging():
            return name
        return f"{self._folder}/{PurePath(name).name}"
