"""Compiler: cells get file names that are the same in every process, so tracebacks are the same.

The stock name is a folder with the process id and a hash of the source. Only the folder is changed,
into one of the run, so that everything that is derived from the name stays as it was: the text of a
SyntaxError, the colours of a traceback, and where a front end sets a breakpoint (`debugging`).
"""

from __future__ import annotations

import os

from ipykernel.compiler import XCachingCompiler

from durable_kernel.kernel.identity import cell_folder

__all__ = ["StableCompiler"]


class StableCompiler(XCachingCompiler):
    """Names code by its run once that is known, as the stock compiler before."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.folder = ""
        """Where the code of the run seems to be; "" while no run is known."""
        self._owner = ""

    def enter_run(self, run_id: str) -> None:
        """Name what is compiled from now on after this run."""
        self.folder = cell_folder(run_id)

    def enter_cell(self, owner: str) -> None:
        """Name a cell after the run whose it is: that of another one, where a run was forked."""
        self._owner = cell_folder(owner)

    def leave_cell(self) -> None:
        """No cell is running."""
        self._owner = ""

    def get_code_name(self, raw_code: str, code: str, number: int) -> str:
        """Name a block of code for tracebacks, `inspect` and warnings."""
        name: str = super().get_code_name(raw_code, code, number)
        folder = self._owner or self.folder
        if not folder or os.environ.get("IPYKERNEL_CELL_NAME"):
            return name
        return f"{folder}/{os.path.basename(name)}"  # noqa: PTH119 - each cell pays for a path
