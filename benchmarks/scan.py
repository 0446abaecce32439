"""Row 6: reading a journal back, as recovery does, in observations a second.

The journal is written by the port itself: cells that read clocks and draw entropy, flushed every
1,000 observations. Read back are all frames with checksums and tags, folded into the outline, and
then each position's history, which is everything that replay needs. Beside it, the least that any
reader must do: unpack the same payloads.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import msgpack

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.session import Session
from durable_kernel.history import Outline, RecordCodec, position_history
from durable_kernel.runtime import records_of
from durable_kernel.store import RunPlace, Store

__all__ = ["measure"]

_clock = time.perf_counter
_RUN = "scan"
_CELL = """
import datetime, os, time
for _ in range(batches):
    for _ in range(330):
        time.time(); time.perf_counter_ns(); datetime.datetime.now()
    for _ in range(10):
        os.urandom(16)
    flush()
"""
_PER_BATCH = 1000


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Write one journal, read it several times."""
    cells, batches = effort.pick(20, 8, 2), effort.pick(100, 50, 2)
    _write(folder, cells, batches)
    observations = cells * batches * _PER_BATCH
    store = Store(folder)
    place = store.get(_RUN)
    records = records_of(store, _RUN, with_objects=True)
    payloads = [frame.payload for frame in store.frames(place)]
    found = Rounds("M/s")
    for _ in range(effort.pick(9, 5, 2)):
        seconds = _read(store, place, records, observations)
        seconds["unpack alone"] = _unpack(payloads)
        found.add(**{name: observations / each / 1e6 for name, each in seconds.items()})
    size = sum(map(len, payloads)) / observations
    return [
        found.figure(
            "6",
            f"scan of {observations / 1e6:g} M observations: verify, fold, all histories",
            lambda m: m["scan"],
            unit="M/s",
            budget=Budget(0.9, is_upper=False),
            note=f"{size:.1f} B each",
        ),
    ]


def _write(folder: Path, cells: int, batches: int) -> None:
    driver = Session(folder).open(_RUN)
    driver.namespace |= {"batches": batches, "flush": driver.run.port.flush}
    for _ in range(cells):
        assert driver.execute(_CELL)
    driver.run.close()


def _read(
    store: Store, place: RunPlace, records: RecordCodec, observations: int
) -> dict[str, float]:
    """Scan as recovery does: one pass for the outline, one for the positions in turn."""
    began = _clock()
    outline = Outline.of(store.frames(place), records)
    outlined = _clock()
    count = 0
    for position in outline.positions:
        history = position_history(place.folder, position, records)
        columns = (*history.soft.values(), *history.hard.values())
        count += sum(map(len, columns))
    ended = _clock()
    assert count == observations, f"{count} of {observations} were read back"
    return {
        "scan": ended - began,
        "outline": outlined - began,
        "histories": ended - outlined,
    }


def _unpack(payloads: list[bytes]) -> float:
    unpack: Any = msgpack.unpackb
    gc.disable()
    began = _clock()
    for payload in payloads:
        unpack(payload, strict_map_key=False)
    ended = _clock()
    gc.enable()
    return ended - began
