"""Magics: `%durable` among other code. A cell of nothing else never gets here (see `direct`).

Such a line is inert when its cell is replayed: it spoke about the run as it was then (H35). What it
shows is not journaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_kernel.errors import DurableError
from durable_kernel.kernel.commands import answer

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["register_magic"]


def register_magic(kernel: DurableKernel) -> None:
    """Make `%durable` known to the kernel's shell."""

    def durable(line: str) -> None:
        """Show and settle what the journal of this notebook holds: status, log, plan, resolve."""
        execution = kernel.performer.execution
        if execution is not None and execution.history is not None:
            return
        try:
            shown = answer(kernel, line)
        except DurableError as error:
            kernel.publish("stream", {"name": "stderr", "text": f"{error}\n"})
            return
        kernel.drain()  # what was printed above stays above
        kernel.publish("display_data", {"data": shown.bundle(), "metadata": {}, "transient": {}})

    kernel.shell.register_magic_function(durable, "line", "durable")
