"""Compiler: cells get file names that are the same in every process, so tracebacks are the same.

The stock name holds the process id. While the debugger is attached, its own names are used: the
front end computes them by itself, to set breakpoints.
"""

from __future__ import annotations

from ipykernel.compiler import XCachingCompiler

from durable_kernel.kernel.identity import cell_file_name

__all__ = ["StableCompiler"]


class StableCompiler(XCachingCompiler):
    """Names code by run and position while a cell runs, as the stock compiler otherwise."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._cell: tuple[str, int] | None = None
        self._blocks = 0
        self.is_debugging = False

    def enter_cell(self, run_id: str, position: int) -> None:
        """Name the next code block after this cell; further ones are handed over from within."""
        self._cell, self._blocks = (run_id, position), 0

    def leave_cell(self) -> None:
        """No cell is running."""
        self._cell = None

    def get_code_name(self, raw_code: str, code: str, number: int) -> str:
        """Name a block of code for tracebacks, `inspect` and warnings."""
        if self._cell is None or self.is_debugging:
            name: str = super().get_code_name(raw_code, code, number)
            return name
        nested, self._blocks = self._blocks, self._blocks + 1
        return cell_file_name(*self._cell, nested)
