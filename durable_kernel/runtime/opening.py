"""Opening a run: find or create it, verify and repair its journal, fold it.

Then the process is set up as it was: clocks, generators, interrupts, the witness.

Nothing is executed here. Whatever does not verify under this user's key raises before a single
record is believed (rule 8).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from durable_kernel.history import (
    Finished,
    Opened,
    Outline,
    PositionHistory,
)
from durable_kernel.journal import REAL_DISK, Disk, Journal
from durable_kernel.runtime.finding import Sought, find, records_of
from durable_kernel.runtime.inbox import inbox_of
from durable_kernel.runtime.run import Run
from durable_kernel.runtime.settings import Resume, Settings
from durable_kernel.runtime.starting import Told, forked_sentence
from durable_kernel.runtime.surroundings import Surroundings
from durable_kernel.store import RunPlace, Store, current_boot_id

__all__ = ["mark_finished", "open_run"]

_urandom = os.urandom
_time_ns = time.time_ns  # noqa: TID251 - bound before any hook: a reading of ours is no record
_GENESIS_BYTES = 32
_NOBODY_TELLS = Told()
_NO_NAMES = Sought()
_WALL_BEHIND_S_TOLD = 1.0  # below that, it is the clock being corrected
_WATCHED_PACKAGES = ("ipykernel", "ipython", "httpx", "httpx2", "numpy", "pandas", "durable-kernel")


def open_run(
    settings: Settings,
    *,
    surroundings: Surroundings,
    sought: Sought = _NO_NAMES,
    told: Told = _NOBODY_TELLS,
    leave: Callable[[int], None] = os._exit,
    kernel_threads: Iterable[threading.Thread] | None = None,
    disk: Disk = REAL_DISK,
) -> Run:
    """Open the run that the settings or the names of the process lead to, or create it.

    Takes its lock and starts a new epoch. `told`: what the launcher knows of the last process;
    `leave` ends the process where the run may not go on and nobody can be asked; `kernel_threads`
    are those whose acts are no cell's (None: all that run now); `disk` carries every change of
    store and journal, a kill campaign brings one of its own.

    Raises RunLockedError, UntrustedRunError, RunMovedError, JournalCorruptError,
    JournalVersionError or UsageError; then nothing was changed but a torn tail.
    """
    store = Store(settings.home, disk=disk)
    found = find(store, settings, sought, told)
    journal = found.journal
    try:
        if sought.kernel_id is not None or sought.notebook is not None:
            bound = store.bind(found.place, kernel_id=sought.kernel_id, notebook=sought.notebook)
            found = replace(found, place=bound)
        run = Run(
            store=store, found=found, settings=settings, surroundings=surroundings, leave=leave
        )
    except BaseException:
        journal.close()
        raise
    try:
        _set_up(store, run, surroundings, sought.notebook, told.reason or "start", kernel_threads)
    except BaseException:
        run.close()
        raise
    if found.place.meta.begun_ns is None:
        journal.sync()  # META must not promise frames that a power cut can still take
        store.begin(found.place)
    if lost := store.lost_key():
        run.tell(lost)
    # Where a runner sends the cells, no cell of its notebook is to show what an unkilled run lacks.
    if journal.repaired is not None and settings.resume is Resume.EAGER:
        run.tell(str(journal.repaired))
    for sentence in (*found.told, forked_sentence(found.outline)):
        if sentence:
            run.tell(sentence)
    return run


def _set_up(
    store: Store,
    run: Run,
    surroundings: Surroundings,
    notebook: Path | None,
    reason: str,
    kernel_threads: Iterable[threading.Thread] | None,
) -> None:
    """Bring the process to where the run's last one was, and record this opener."""
    run.interrupts.install()
    surroundings.exclude([run.place.folder.parent.parent])
    threads = list(kernel_threads) if kernel_threads is not None else threading.enumerate()
    surroundings.world.attach(
        run.port,
        inbox_of(store, run.place),
        notebook=notebook.name if notebook else "",
        tell=run.tell,
        threads=threads,
    )
    for name, value in os.environ.items():
        run.secrets.note_variable(name, value)
    known = run.outline.genesis
    genesis = known or _urandom(_GENESIS_BYTES)
    _continue_clocks(surroundings, run.outline, run.unfinished())
    _tell_wall_clock(run, surroundings)
    run.port.write(_opener(surroundings, b"" if known else genesis, reason))
    surroundings.seed(genesis)
    run.keep_generators()


def _continue_clocks(
    surroundings: Surroundings, outline: Outline, unfinished: Iterable[PositionHistory]
) -> None:
    """Let monotonic clocks go on from the last recorded reading, also on another machine (H15).

    What the interrupted cell read counts too: it is served again, and then the clock is read on.
    So does what earlier attempts read.
    """
    readings: list[Mapping[str, Any]] = [each.clocks for each in outline.openers]
    known = [*outline.positions, *outline.waiting]
    attempts = [one for each in known for one in (each, *each.donors())]
    readings += [each.committed.clocks for each in attempts if each.committed is not None]
    for history in (one for each in unfinished for one in (each, *each.donors)):
        columns = history.soft.items()
        readings += [{kind: each} for (_, kind), column in columns for each in column]
    last: dict[str, Any] = {}
    for reading in readings:
        for name, value in reading.items():
            last[name] = max(last.get(name, value), value)
    if last:
        surroundings.clocks.set_offsets(last)


def _tell_wall_clock(run: Run, surroundings: Surroundings) -> None:
    """Wall time is never shifted; say so where it goes back behind what was recorded (H15)."""
    moments = [each.wall_ns for each in run.outline.openers]
    moments += [each.committed.wall_ns for each in run.outline.positions if each.committed]
    behind_s = surroundings.clocks.wall_behind_s({"time.time_ns": max(moments, default=0)})
    if behind_s > _WALL_BEHIND_S_TOLD:
        run.tell(
            f"the clock of this machine is {behind_s:,.0f} s behind what the run recorded last: "
            "times that cells read from now on may be earlier than those before."
        )


def _opener(surroundings: Surroundings, genesis: bytes, reason: str) -> Opened:
    packages = {}
    for name in _WATCHED_PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Opened(
        wall_ns=surroundings.world.wall_ns(),
        pid=os.getpid(),
        boot_id=current_boot_id(),
        host=socket.gethostname(),
        reason=reason,
        python=platform.python_version(),
        packages=packages,
        genesis=genesis,
        clocks=surroundings.clocks.reading(),
    )


def mark_finished(
    store: Store, place: RunPlace, status: str, *, lock_timeout_s: float = 5.0
) -> None:
    """Record that a headless runner came to its notebook's end.

    The kernel must be gone: this takes the lock.
    Raises RunLockedError when a kernel still writes the run after `lock_timeout_s`.
    """
    run_id = place.run_id
    journal = Journal.open(
        place.folder,
        run_id=run_id,
        key=store.run_key(run_id),
        anchor=store.anchor(run_id),
        lock_timeout_s=lock_timeout_s,
    )
    with journal:
        record = Finished(wall_ns=_time_ns(), status=status)
        journal.append([records_of(store, run_id, with_objects=False).pack(record)], sync=True)
