"""Magics: `%durable` among other code, and `%%live` on top of a cell.

A cell of nothing but `%durable` never gets here (see `direct`).

Such a line is inert when its cell is replayed: it spoke about the run as it was then (H35). What it
shows is not journaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_kernel.errors import DurableError
from durable_kernel.kernel.commands import answer, completions
from durable_kernel.runtime import is_live_cell

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["register_magic", "without_live_line"]


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

    def complete(_shell: Any, event: Any) -> list[str]:
        return completions(kernel, event.line)

    kernel.shell.register_magic_function(durable, "line", "durable")
    kernel.shell.set_hook("complete_command", complete, str_key="%durable")
    kernel.shell.input_transformers_cleanup.append(without_live_line)


def without_live_line(lines: list[str]) -> list[str]:
    """Take `%%live` off a cell: it speaks to the kernel, and the code is what stands below it.

    Lines keep their numbers, unless another cell magic follows, which has to be on top.
    """
    if not lines or not is_live_cell("".join(lines)):
        return lines
    top = next(index for index, line in enumerate(lines) if line.strip())
    below = lines[top + 1 :]
    is_magic = bool(below) and below[0].startswith("%%")
    return below if is_magic else [*lines[:top], "\n", *below]
