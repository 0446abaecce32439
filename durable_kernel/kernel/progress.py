"""Progress: one display under the first request that waits to be served, and one line at its end.

Called from two threads: the shell-channel thread knows of waiting requests, the main one of cells.
Sending to IOPub is safe from any thread; the lock keeps begin and end of the display in order.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from durable_kernel.runtime import Run

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Progress", "bundle"]


class Progress:
    """Says what a waiting user waits for."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._parent: Mapping[str, Any] | None = None
        self._plan = ""
        self._doubt = ""
        self._is_over = False
        self._is_shown = False
        self._is_due = False
        self.total = 0
        self.count = 0

    def begin(self, run: Run) -> None:
        """Announce what is to be replayed, now that the journal is open."""
        with self._lock:
            self._plan = str(run.plan)
            self.total = run.plan.cells + run.plan.has_open_cell
            self._show()

    def wait(self, parent: Mapping[str, Any]) -> None:
        """Show progress under this request, if it is the first and waits until the next tick."""
        with self._lock:
            if self._parent is None and not self._is_over:
                self._parent = parent

    def tick(self) -> None:
        """Let a moment pass. A wait that is over before is not worth a display."""
        with self._lock:
            if self._parent is not None and not self._is_due:
                self._is_due = True
                self._show()

    def advance(self) -> None:
        """One more position is done."""
        with self._lock:
            self.count += 1
            self._show()

    def doubt(self, sentence: str) -> None:
        """Say that an act waits for a decision of the user (empty: no more)."""
        with self._lock:
            if sentence != self._doubt:
                self._doubt = sentence
                self._show()

    def end(self) -> None:
        """Leave one line where the progress was, or say the refusal."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            refusal = self._kernel.refusal_now()
            if self._is_shown and refusal is not None:
                self._send(str(refusal))
            elif self._is_shown and self._kernel.run is not None:
                self._send("\n".join(self._kernel.run.take_notices()))

    def summary(self, run: Run) -> str:
        """One line: what was restored, and that nothing was repeated."""
        status = run.status()
        calls = int(status.get("replayed_calls", 0))
        cells = "1 cell" if self.count == 1 else f"{self.count:,} cells"
        answered = "1 recorded call was" if calls == 1 else f"{calls:,} recorded calls were"
        cause = run.beginning.cause if self._kernel.origin.handover is None else ""
        why = f" The kernel before this one: {cause}." if cause else ""
        return f"restored {cells}; {answered} answered from the journal and not repeated.{why}"

    def _show(self) -> None:
        if not self._is_due or self._is_over or not self.total:
            return
        position = min(self.count + 1, self.total)
        lines = [f"restoring: cell {position} of {self.total}", self._plan, self._doubt]
        self._send("\n".join(filter(None, lines)))

    def _send(self, text: str) -> None:
        assert self._parent is not None
        kind = "update_display_data" if self._is_shown else "display_data"
        self._is_shown = True
        content = {"data": bundle(text), "metadata": {}, "transient": {"display_id": self._id()}}
        self._kernel.session.send_past_journal(
            self._kernel.iopub_socket, kind, content, self._parent
        )

    def _id(self) -> str:
        return f"durable-restoring-{self._kernel.ident}"


def bundle(text: str) -> dict[str, str]:
    """Make a MIME bundle of a few lines for people."""
    lines = "<br>".join(html.escape(line) for line in text.splitlines())
    return {
        "text/plain": text,
        "text/html": f'<div style="opacity: 0.75">{lines}</div>' if lines else "",
    }
