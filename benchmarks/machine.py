"""The machine: what has to be known to read a figure, and its disk's own cost of a sync."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Self

__all__ = ["SyncProbe", "facts", "load"]

_clock = time.perf_counter
_RECORD = b"x" * 200


class SyncProbe:
    """Appends 200 bytes to a file and syncs it: the least that a synced frame can cost."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sync-probe"
        self._fd = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._path.unlink()

    def seconds(self) -> float:
        """Append and sync once."""
        began = _clock()
        os.write(self._fd, _RECORD)
        if sys.platform == "darwin":
            os.fsync(self._fd)
        else:
            os.fdatasync(self._fd)
        return _clock() - began

    def mean_seconds(self, count: int) -> float:
        """Append and sync so often in a row; return what one took."""
        return sum(self.seconds() for _ in range(count)) / count


def load() -> list[float]:
    """Return the load over the last 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def facts(folder: Path) -> dict[str, Any]:
    """Describe this machine now. `folder` is where the journals of the benchmarks lie."""
    with SyncProbe(folder) as probe:
        probe.seconds()
        syncs = [probe.seconds() for _ in range(50)]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": load(),
        "disk_sync_us": round(median(syncs) * 1e6),
    }
