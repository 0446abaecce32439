"""Answering: what a recorded position would be answered with, without executing it again.

Whether a request is the one that was recorded is decided here from plain values; what is shown is
read from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_kernel.history import PositionOutline, position_history

if TYPE_CHECKING:
    from durable_kernel.runtime.run import Run

__all__ = ["LIVE_LINE", "RecordedOutput", "is_live_cell", "is_same_cell", "outputs_of"]

LIVE_LINE = "%%live"


@dataclass(frozen=True, slots=True)
class RecordedOutput:
    """One message that a cell sent to its front end."""

    kind: str
    content: Mapping[str, Any]
    metadata: Mapping[str, Any]


def is_live_cell(source: str) -> bool:
    """Tell whether a cell asks to be run, whatever is recorded: its first line is `%%live`."""
    first, _, _ = source.lstrip("\n").partition("\n")
    return first.strip() == LIVE_LINE


def is_same_cell(recorded: PositionOutline, source: str, cell_id: str | None) -> bool:
    """Tell whether it is the same source, of the same notebook cell as far as both say which."""
    known = recorded.cell.request.get("cell_id")
    is_other = known is not None and cell_id is not None and known != cell_id
    sealed = recorded.cell.sealed_source
    if is_other or (sealed is not None and not sealed.is_open):
        return False
    return recorded.cell.code == source


def outputs_of(run: Run, recorded: PositionOutline) -> Sequence[RecordedOutput]:
    """Read what a position showed, late text too; consecutive text of one stream is joined."""
    history = position_history(run.place.folder, recorded, run.storing.records)
    found: list[RecordedOutput] = []
    for each in history.outputs:
        content = run.storing.content_of(each)
        last = found[-1] if found else None
        is_text = each.kind == "stream" and last is not None and last.kind == "stream"
        is_there = last is not None and last.metadata == each.metadata
        if is_text and last is not None and is_there and last.content["name"] == content["name"]:
            joined = {**last.content, "text": last.content["text"] + content["text"]}
            found[-1] = RecordedOutput("stream", joined, last.metadata)
        else:
            found.append(RecordedOutput(each.kind, content, dict(each.metadata)))
    return found
