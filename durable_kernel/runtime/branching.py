"""Branching: an open run leaves positions behind, and what has to be true for that (H14).

The half of `Run` that makes branches. What is left stays in the journal.
"""

from __future__ import annotations

from durable_kernel.errors import UsageError
from durable_kernel.history import Branched, Outline, PositionHistory, PositionOutline
from durable_kernel.runtime.modules import ProjectModules
from durable_kernel.runtime.port import RunPort
from durable_kernel.runtime.retrying import (
    Allowed,
    failed_cell,
    require_leavable,
    require_untainted,
)
from durable_kernel.runtime.settings import Settings
from durable_kernel.runtime.starting import Beginning
from durable_kernel.runtime.world import World

__all__ = ["Branching"]


class Branching:
    """Makes branches of one run. Its attributes are the run's."""

    outline: Outline
    settings: Settings
    beginning: Beginning
    port: RunPort
    world: World
    modules: ProjectModules

    def branch(
        self, position: int, reason: str, *, reuses: bool = False, allowed: Allowed = Allowed.NONE
    ) -> None:
        """Leave the positions >= `position` behind. `reuses`: the next ones may reuse outcomes.

        Raises BranchRefusedError for acts done there that are not `allowed` again (H14).
        """
        granted = Allowed.ALL if self.settings.repeat_acts else allowed
        # Read again: the outline of this session holds no acts of the cells that it ran itself.
        require_leavable(self.read_outline(), position, granted, self.world.wall_ns())
        self._leave(position, reason, reuses=reuses, repeats_acts=allowed is Allowed.ALL)

    def leave_edited(self) -> int:
        """Leave behind what ran since a cell loaded code that was edited since; return that cell.

        Raises UsageError if nothing was, or while a cell runs; BranchRefusedError as `branch`.
        """
        changed = self.modules.changed()
        if self.is_running:
            raise UsageError("a cell is running; interrupt it first.")
        if not changed:
            raise UsageError("no module or script that a cell loaded has changed since.")
        first = min(changed.values())
        self.branch(first, f"{', '.join(changed)} was edited", reuses=True)
        return first

    def leave_failed(self, *, repeats_acts: bool) -> PositionOutline:
        """Leave the last cell behind, which failed or stopped: the next opener begins it anew.

        Raises UsageError if it did not fail, TaintedPositionError unless acts may be repeated.
        """
        if self.is_running:
            raise UsageError("a cell is running; interrupt it first.")
        last = failed_cell(self.read_outline())
        if not repeats_acts:
            require_untainted(self._load(last), self.settings)
        self._leave(last.position, "retry", reuses=True, repeats_acts=repeats_acts)
        return last

    def leave_offered(self) -> bool:
        """Leave the interrupted cell to the user if so begun. Raises TaintedPositionError."""
        left = self.outline.open_position
        if left is None or not self.beginning.leaves_cell or self.settings.redo:
            return False
        require_untainted(self._load(left), self.settings)
        self._leave(left.position, self.beginning.start, reuses=True)
        self.tell(self.beginning.sentence())
        return True

    def _leave(
        self, position: int, reason: str, *, reuses: bool, repeats_acts: bool = False
    ) -> None:
        record = Branched(
            position=position,
            wall_ns=self.world.wall_ns(),
            reason=reason,
            reuses=reuses,
            repeats_acts=repeats_acts,
        )
        self.port.write(record, sync=True)
        # Read again: the outline of this session does not know where its own cells lie.
        known = self.read_outline()
        self.outline.waiting, self.outline.lineage = known.waiting, known.lineage
        self.outline.positions = [
            each for each in self.outline.positions if each.position < position
        ]

    # --- what the run adds ------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while a cell runs."""
        raise NotImplementedError

    def tell(self, sentence: str) -> None:
        """Keep a sentence that the user is told once."""
        raise NotImplementedError

    def read_outline(self) -> Outline:
        """Fold the journal as it is now."""
        raise NotImplementedError

    def _load(self, outline: PositionOutline) -> PositionHistory:
        raise NotImplementedError
