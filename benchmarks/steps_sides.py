"""The sides of row 5, each in a process of its own: our step, and DBOS's on SQLite.

    python -m benchmarks.steps_sides durable FOLDER
    python -m benchmarks.steps_sides dbos FOLDER JOURNAL_MODE

Started again on the same folder after a kill, each goes on with the workflow that was cut, so its
turns are then answered from what it recorded. A turn of n makes n steps inside one workflow (one
cell); its answer is the seconds, how many bodies ran, and the syncs that it asked for.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.aside import Turns
from durable_kernel.journal.disk import RealDisk

__all__: list[str] = []

_clock = time.perf_counter
_WORKFLOW = "bench"


class _CountingDisk(RealDisk):
    """The real disk; counts syncs of files, which is what a step waits for."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)


class _Body:
    """What a step does, in all engines: as good as nothing."""

    def __init__(self) -> None:
        self.runs = 0

    def double(self, number: int) -> int:
        self.runs += 1
        return number * 2


def _take_turns(turns: Turns, step: Callable[[int], int], body: _Body, disk: _CountingDisk) -> None:
    for count in turns:
        runs, syncs = body.runs, disk.syncs
        began = _clock()
        for number in range(count):
            step(number)
        seconds = _clock() - began
        turns.answer(seconds=seconds, bodies=body.runs - runs, syncs=disk.syncs - syncs)


def _durable(folder: Path) -> None:
    from benchmarks.session import Session
    from durable_kernel import step

    turns, body, disk = Turns(), _Body(), _CountingDisk()
    driver = Session(folder).open(_WORKFLOW, disk=disk)

    @step
    def double(number: int) -> int:
        return body.double(number)

    driver.namespace["workflow"] = lambda: _take_turns(turns, double, body, disk)
    if not driver.recover():
        driver.execute("workflow()")


def _dbos(folder: Path, journal_mode: str) -> None:
    from dbos import DBOS, SetWorkflowID

    turns, body, disk = Turns(), _Body(), _CountingDisk()
    file = folder / "dbos.sqlite"
    is_new = not file.exists()
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
    logging.disable(logging.WARNING)
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{file}",
            "application_version": "1",
            "enable_otlp": False,
        }
    )

    @DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
    def double(number: int) -> int:
        return body.double(number)

    @DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
    def workflow() -> None:
        _take_turns(turns, double, body, disk)

    DBOS.launch()  # recovers what is pending
    if is_new:
        with SetWorkflowID(_WORKFLOW):
            DBOS.start_workflow(workflow)
    threading.Event().wait()  # the workflow runs in a thread of DBOS, until this process is killed


def main(engine: str, folder: str, *rest: str) -> None:
    if engine == "durable":
        _durable(Path(folder))
    else:
        _dbos(Path(folder), *rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
