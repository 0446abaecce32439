"""Launch: the order in which a kernel process comes up. Hooks first, then IPython and ipykernel.

What IPython and its dependencies capture at import ("from time import time") must be the hooked
function already, so nothing of Jupyter may be imported above `runtime.prepare()`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from durable_kernel import runtime
from durable_kernel.kernel.replacing import Origin

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Start the kernel that a connection file describes, or install the kernelspec."""
    _leave_working_folder()
    if argv and argv[0] in {"install", "uninstall"}:
        from durable_kernel.kernel.install import main as install  # noqa: PLC0415 - no hooks here

        return install(argv[0], argv[1:])
    origin = Origin.of_process()
    surroundings = runtime.prepare()
    from durable_kernel.kernel.app import launch  # noqa: PLC0415 - after the hooks

    launch(list(argv), surroundings, origin)
    return 0


def _leave_working_folder() -> None:
    """Import our own modules from the installation, not from the notebook's folder.

    IPython puts the folder back for user code. A notebook's `socket.py` must not become ours.
    """
    if sys.path and (sys.path[0] == "" or Path(sys.path[0]) == Path.cwd()):
        del sys.path[0]
