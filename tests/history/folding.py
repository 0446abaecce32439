"""Records as frames, and the histories that they fold into. No file is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from durable_kernel.history import (
    Announced,
    Cell,
    Committed,
    Outline,
    PositionHistory,
    Record,
    RecordCodec,
)
from durable_kernel.journal import Frame

__all__ = ["act", "cell", "committed", "frames", "history_of", "look", "outline_of"]


def frames(*records: Record) -> Iterator[Frame]:
    """Yield the records as frames of one segment, one byte apart."""
    for lsn, record in enumerate(records, 1):
        code, payload = RecordCodec().pack(record)
        yield Frame(lsn, code, 1, payload, 1, lsn, 1, promised=False)


def outline_of(*records: Record) -> Outline:
    return Outline.of(frames(*records), RecordCodec())


def history_of(*records: Record) -> PositionHistory:
    """Fold the records of one position, its `Cell` among them."""
    return PositionHistory.of(frames(*records), RecordCodec())


def cell(position: int = 0, source: str = "pass") -> Cell:
    return Cell(position=position, source=source, wall_ns=0)


def committed(position: int = 0, status: str = "ok") -> Committed:
    return Committed(position=position, status=status, wall_ns=0)


def act(ordinal: int = 0, label: str = "POST /x", **facts: Any) -> Announced:
    """An announced act that may not be repeated."""
    asked = {"lane": "", "kind": "http", "wall_ns": 0, "act": 1, "repeat_s": 0.0, **facts}
    return Announced(ordinal=ordinal, label=label, **asked)


def look(ordinal: int = 0, label: str = "GET /x", **facts: Any) -> Announced:
    """An announced call that changes nothing."""
    return Announced(ordinal=ordinal, lane="", kind="http", label=label, wall_ns=0, **facts)
