"""What several tests of this room need: a store with a clock that moves, and a run with records."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

from durable_kernel.history import (
    Announced,
    Cell,
    Committed,
    Finished,
    Opened,
    Record,
    RecordCodec,
    Settled,
)
from durable_kernel.journal import Disk, Journal
from durable_kernel.journal.disk import REAL_DISK
from durable_kernel.ports import Act
from durable_kernel.store import RunPlace, Store

START_NS = 1_795_356_000_000_000_000  # 2026-11-22 14:00 UTC
SECOND_NS = 1_000_000_000


def store_at(home: Path, *, machine: str = "m1", disk: Disk = REAL_DISK, start: int = 0) -> Store:
    """A store whose clock moves on by a second at each look."""
    moments = count(START_NS + start * SECOND_NS, SECOND_NS)
    return Store(
        home, environ={}, wall_ns=lambda: next(moments), machine_id=lambda: machine, disk=disk
    )


def write(store: Store, place: RunPlace, records: Iterable[Record]) -> None:
    """Open the run's journal as its next writer, and append."""
    codec = RecordCodec()
    with Journal.open(
        place.folder,
        run_id=place.run_id,
        key=store.run_key(place.run_id),
        anchor=store.anchor(place.run_id),
    ) as journal:
        journal.append([codec.pack(each) for each in records], sync=True)


def opened(wall_ns: int = START_NS, pid: int = 4711) -> Opened:
    return Opened(wall_ns=wall_ns, pid=pid, boot_id="boot", host="here")


def cell(position: int = 0, source: str = "post()", wall_ns: int = START_NS) -> Cell:
    return Cell(position=position, source=source, wall_ns=wall_ns)


def post(ordinal: int = 0, wall_ns: int = START_NS, label: str = "POST /report") -> Announced:
    return Announced(
        ordinal=ordinal, lane="", kind="http", label=label, wall_ns=wall_ns, act=int(Act.REMOTE)
    )


def settled(ordinal: int = 0) -> Settled:
    return Settled(ordinal=ordinal, lane="", value=200)


def committed(position: int = 0, wall_ns: int = START_NS, status: str = "ok") -> Committed:
    return Committed(position=position, status=status, wall_ns=wall_ns)


def finished(wall_ns: int = START_NS) -> Finished:
    return Finished(wall_ns=wall_ns)
