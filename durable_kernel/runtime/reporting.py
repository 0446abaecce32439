"""Reporting: what a run says of itself, as plain values. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_kernel.history.views import outline_view
from durable_kernel.journal import Journal
from durable_kernel.runtime.budget import Budget

if TYPE_CHECKING:
    from durable_kernel.runtime.run import Run

__all__ = ["status_of"]


def status_of(
    run: Run, journal: Journal, budget: Budget, *, replayed_calls: int, is_running: bool
) -> dict[str, Any]:
    """Make what `%durable status` shows."""
    crossings = [each for each in run.world.crossings if each.is_act]
    return {
        **_seen(run, is_running=is_running),
        "run": run.run_id,
        "state": run.state,
        "next_position": run.next_position,
        "replayed_calls": replayed_calls,
        "epoch": journal.epoch,
        "durability": journal.level.value,
        "folder": str(run.place.folder),
        "size_bytes": journal.size_bytes,
        "budget": budget.state(journal.size_bytes),
        "in_doubt": [
            {"effect": each.name, "label": each.call.label, "what": each.sentence()}
            for each in run.port.parked
        ],
        "unrecorded": [f"{each.where}: it {each.what}" for each in crossings],
        "changed_modules": sorted(run.modules.changed()),
        "stopped_by": str(run.port.latch) if run.port.latch is not None else None,
    }


def _seen(run: Run, *, is_running: bool) -> dict[str, Any]:
    """Describe the journal; a cell that runs just now is not interrupted, nor its act lost."""
    seen = outline_view(run.read_outline())
    if is_running and not run.port.parked and run.port.latch is None:
        seen.update(status="running", acts_in_doubt=[])
    return seen
