"""VS Code's way with a kernel, as its sources have it: nobody tells the process its notebook.

Each launch has a connection file of a new random name, and no session name. What names the notebook
is a request after the start that is neither silent nor part of the history. A restart kills the
process and launches another one.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.kernel.live import LiveKernel, Shown

__all__ = ["VsCode"]


class VsCode:
    """One window with one notebook. `notebook` may be renamed between two launches."""

    def __init__(self, folder: Path, notebook: Path) -> None:
        self.notebook = notebook
        self._folder = folder
        self._launched: list[LiveKernel] = []

    @property
    def kernel(self) -> LiveKernel:
        return self._launched[-1]

    def launch(self) -> None:
        """Start a process and set it up."""
        number = len(self._launched)
        folder = self._folder / f"launch-{number}"
        folder.mkdir()
        kernel = LiveKernel(
            folder,
            connection_name=f"kernel-v3{uuid.uuid4().hex}.json",
            DURABLE_RUN="",
            DURABLE_HOME=str(self._folder / "home"),
        )
        self._launched.append(kernel)
        kernel.start()
        for code in (
            "import sys as _vscode_sys; del _vscode_sys",
            f"__vsc_ipynb_file__ = {str(self.notebook)!r}",
        ):
            self._set_up(code)

    def _set_up(self, code: str) -> None:
        shown = self.kernel.run(code, silent=False, store_history=False)
        assert shown.status == "ok", shown

    def run(self, code: str) -> Shown:
        return self.kernel.run(code)

    def restart(self) -> None:
        self.kernel.kill()
        self.launch()

    def close(self) -> None:
        for kernel in self._launched:
            kernel.close()
