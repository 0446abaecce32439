"""Inputs: what changes the notebook's state and is no cell (H38).

A tool's silent request, or a widget's message, runs in a position of its own: what it asks is
recorded, its commit stands in its place among those of the cells, and replay runs it there again.
It has no number and shows nothing on replay.

Most such requests only look. So the position is held back: it is written with its first effect, or
at its end if a name was rebound. Where neither came, nothing was recorded; then it may leave
nothing behind either, so the generators go back to where the last position left them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from durable_kernel.history import COMM, Cell, PositionHistory
from durable_kernel.runtime.cell import CellExecution, CellRequest, CellResult

if TYPE_CHECKING:
    from durable_kernel.runtime.run import Run

__all__ = ["InputExecution"]


class InputExecution(CellExecution):
    """The execution of an input, live or replayed.

    `has_changed` is asked once, at the end: whether what ran left something different behind.
    """

    def __init__(
        self,
        run: Run,
        position: int,
        request: CellRequest,
        history: PositionHistory | None,
        has_changed: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(run, position, request, history)
        self.has_shown = False
        self.is_dropped = False
        self._has_changed = has_changed

    def __enter__(self) -> Self:
        super().__enter__()
        self._generators_before = self._run.generators.save()
        return self

    def output(
        self,
        kind: str,  # noqa: ARG002 - as in the base class
        content: Mapping[str, Any],  # noqa: ARG002 - as in the base class
        metadata: Mapping[str, Any] | None = None,  # noqa: ARG002 - as in the base class
    ) -> bool:
        """Let it pass: outputs of inputs are not recorded. What they may rest on is (rule 3)."""
        self.has_shown = True
        if self.is_replay:
            return False
        return self._write_what_waits()

    def finish(self, result: CellResult) -> bool:
        """Make the input final, or forget it: then nothing of it is in the journal."""
        if not self.is_replay and self._run.port.latch is None and not self._has_changed():
            self.is_dropped = self._run.port.discard_position()
        if self.is_dropped:
            self._run.generators.restore(self._generators_before)
            self._run.keep_generators()
            return True
        return super().finish(result)

    def _begin(self, record: Cell, *, is_alone: bool) -> None:
        """Hold the beginning back, unless other lanes may write at any time."""
        if is_alone and record.kind != COMM:
            self._run.port.hold_position(record)
        else:
            super()._begin(record, is_alone=is_alone)

    def _differs(self) -> bool:
        return False  # what it showed is nobody's record
