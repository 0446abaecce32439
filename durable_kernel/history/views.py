"""Views: the timeline as plain values for people and machines.

show, log, magics and REST render these; nothing is executed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from durable_kernel.codec import plain
from durable_kernel.history.outline import Outline, PositionOutline
from durable_kernel.history.records import Choice, Kept
from durable_kernel.history.timeline import CallHistory, PositionHistory
from durable_kernel.ports import REPEAT_NEVER, Act, Ending

__all__ = [
    "call_view",
    "call_views",
    "outline_view",
    "position_view",
    "recent_calls",
    "when",
]


def when(wall_ns: int) -> str:
    """Write a moment in UTC, ISO 8601, milliseconds."""
    return (
        datetime.fromtimestamp(wall_ns / 1e9, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def outline_view(outline: Outline) -> dict[str, Any]:
    """Describe the run as a whole: counts, status, acts in doubt."""
    unfinished = outline.open_position or outline.doubtful
    return {
        "status": outline.status,
        "positions": len(outline.positions),
        "calls": sum(each.calls for each in outline.positions),
        "reused": sum(each.reused for each in outline.positions),
        "waiting_calls": sum(each.calls for each in outline.waiting),
        "openers": len(outline.openers),
        "kernel_pid": outline.openers[-1].pid if outline.openers else None,
        "started_at": when(outline.openers[0].wall_ns) if outline.openers else None,
        "branches": len(outline.branches),
        "acts_in_doubt": [] if unfinished is None else _doubts(unfinished),
    }


def _doubts(outline: PositionOutline) -> list[dict[str, Any]]:
    return [
        {
            "effect": f"{outline.position}{each.lane}.{each.ordinal}",
            "label": each.label,
            "announced_at": when(each.wall_ns),
            "why_not_repeated": each.repeat_why or REPEAT_NEVER.why,
        }
        for each in outline.pending.values()
        if each.act
    ]


def position_view(outline: PositionOutline) -> dict[str, Any]:
    """Describe one cell of a run, for `durable show`."""
    committed = outline.committed
    return {
        "position": outline.position,
        "kind": outline.cell.kind or "cell",
        "source": outline.cell.source,
        "loaded": [name for name, _, _ in outline.loads],
        "status": committed.status if committed else "interrupted",
        "execution_count": committed.execution_count if committed else None,
        "started_at": when(outline.cell.wall_ns) if outline.cell.wall_ns else None,
        "attempts": outline.attempts,
        "calls": outline.calls,
        "reused": outline.reused,
        "counts": dict(committed.counts) if committed else {},
        "costs": dict(committed.costs) if committed else {},
        "is_inexact": bool(committed and committed.inexact),
        "kept": _kept(outline.kept) if outline.kept is not None else None,
        "unrecorded": [
            {"what": each.what, "where": each.where, "is_act": each.is_act}
            for each in outline.crossings
        ],
    }


def _kept(kept: Kept) -> dict[str, Any]:
    """Describe what is kept of an interrupted cell: names that it bound, and that it took away."""
    return {
        "names": list(kept.names),
        "gone": list(kept.gone),
        "refused": [{"name": name, "why": why} for name, why in kept.refused],
    }


def call_views(position: int, history: PositionHistory) -> list[dict[str, Any]]:
    """Describe the calls of a position, lane by lane, and which of them were reused."""
    return [
        {**call_view(position, call), "is_reused": ordinal < history.reused.get(lane, 0)}
        for lane, calls in history.calls.items()
        for ordinal, call in enumerate(calls)
    ]


def recent_calls(
    outline: Outline,
    load: Callable[[PositionOutline], PositionHistory],
    limit: int,
    position: int | None,
) -> list[dict[str, Any]]:
    """Describe the last calls of a run, or of one position of it; newest last."""
    wanted = [each for each in outline.positions if position is None or each.position == position]
    rows: list[dict[str, Any]] = []
    for each in reversed(wanted):
        rows = call_views(each.position, load(each)) + rows
        if len(rows) >= limit:
            break
    return rows[-limit:]


def call_view(position: int, call: CallHistory) -> dict[str, Any]:
    """Describe one call, for `durable log`: what was asked, how it ended; sealed stays sealed."""
    announced = call.announced
    return {
        "effect": f"{position}{announced.lane}.{announced.ordinal}",
        "position": position,
        "kind": announced.kind,
        "label": announced.label,
        "act": Act(announced.act).name.lower(),
        "announced_at": when(announced.wall_ns),
        "ending": _ending(call),
        "identity": plain(dict(announced.identity)),
        "details": plain(dict(announced.details)),
        "error": call.settled.error[1] if call.settled is not None and call.settled.error else None,
        "received_bytes": sum(sum(part.sizes) for part in call.parts),
    }


def _ending(call: CallHistory) -> str:
    if call.settled is not None:
        return Ending(call.settled.ending).name.lower()
    if call.resolved is not None and call.resolved.choice != Choice.RETRY:
        return f"resolved: {call.resolved.choice}"
    return "in doubt" if call.announced.act else "cut"


def outputs_view(history: PositionHistory) -> list[dict[str, Any]]:
    """List the outputs of a position's last attempt; large ones without their content."""
    return [
        {
            "kind": each.kind,
            "content": plain(each.content) if each.content is not None else None,
        }
        for each in history.outputs
    ]
