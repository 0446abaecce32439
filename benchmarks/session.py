"""A durable session in this process: hooks, a run in a folder of its own, and a driver of cells.

Whatever a benchmark compares with (real clocks, httpx's own transport) is taken before `begin`:
hooks stay for the life of the process.
"""

from __future__ import annotations

from pathlib import Path

from durable_kernel.journal import REAL_DISK, Disk, Level
from durable_kernel.runtime import Settings, Surroundings, open_run, prepare
from durable_kernel.testing.driver import Driver

__all__ = ["Session"]


class Session:
    """One process's hooks; opens runs one after the other."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._surroundings: Surroundings = prepare()

    def open(self, run: str, *, level: Level = Level.DEFAULT, disk: Disk = REAL_DISK) -> Driver:
        """Open or create a run. Close it by `driver.run.close()`."""
        settings = Settings(run=run, home=self._home, level=level)
        return Driver(open_run(settings, surroundings=self._surroundings, disk=disk))


def journal_bytes(driver: Driver) -> int:
    """Return the size of a run's journal, with everything that waits written."""
    driver.run.port.flush()
    size: int = driver.run.status()["size_bytes"]
    return size
