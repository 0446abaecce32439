"""Opening a run: find or create it, verify and repair its journal, fold it, and set the process up as it was.

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
from collections.abc import Callable, Iterable
from pathlib import Path

from durable_kernel import codec
from durable_kernel.checkpoint.objects import load_object, store_object
from durable_kernel.errors import Stop
from durable_kernel.history import Finished, Opened, Outline, RecordCodec
from durable_kernel.journal import REAL_DISK, Disk, Journal
from durable_kernel.runtime.inbox import inbox_of
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.run import Run
from durable_kernel.runtime.settings import Settings
from durable_kernel.runtime.surroundings import Surroundings
from durable_kernel.store import RunPlace, Store, current_boot_id

__all__ = ["mark_finished", "open_run", "records_of"]

_urandom = os.urandom
_time_ns = time.time_ns
_GENESIS_BYTES = 32
_WATCHED_PACKAGES = ("ipykernel", "ipython", "httpx", "httpx2", "numpy", "pandas", "durable-kernel")


def records_of(store: Store, run_id: str, *, with_objects: bool) -> RecordCodec:
    """The record codec of a run. `with_objects` only where every frame was verified (H19)."""
    return RecordCodec(
        sealer=codec.Sealer(store.seal_key(run_id)),
        store_object=store_object,
        load_object=load_object if with_objects else None,
    )


def open_run(
    settings: Settings,
    *,
    surroundings: Surroundings,
    notebook: Path | None = None,
    kernel_id: str | None = None,
    reason: str = "start",
    leave: Callable[[int], None] = os._exit,
    kernel_threads: Iterable[threading.Thread] | None = None,
    disk: Disk = REAL_DISK,
) -> Run:
    """Open the run that the settings or the identity name, or create it; take its lock; start a new epoch.

    `disk` carries every change of store and journal; a kill campaign brings one of its own.
    Raises RunLockedError, UntrustedRunError, RunMovedError, JournalCorruptError,
    JournalVersionError or UsageError; then nothing was changed but a torn tail.
    """
    store = Store(settings.home, disk=disk)
    place, is_new = _place(store, settings, notebook, kernel_id)
    key = store.run_key(place.run_id)
    if is_new:
        journal = Journal.create(
            place.folder, run_id=place.run_id, key=key, level=settings.level, disk=disk
        )
    else:
        store.check_place(place)
        anchor = store.anchor(place.run_id)
        journal = Journal.open(
            place.folder,
            run_id=place.run_id,
            key=key,
            level=settings.level,
            disk=disk,
            anchor=anchor,
        )
    try:
        if kernel_id is not None or notebook is not None:
            place = store.bind(place, kernel_id=kernel_id, notebook=notebook)
        return _opened(
            store, place, journal, settings, surroundings, notebook, reason, leave, kernel_threads
        )
    except (Exception, Stop):
        journal.close()
        raise


def _opened(
    store: Store,
    place: RunPlace,
    journal: Journal,
    settings: Settings,
    surroundings: Surroundings,
    notebook: Path | None,
    reason: str,
    leave: Callable[[int], None],
    kernel_threads: Iterable[threading.Thread] | None,
) -> Run:
    records = records_of(store, place.run_id, with_objects=True)
    outline = Outline.of(store.frames(place), records)
    interrupts = Interrupts()
    run = Run(
        store=store,
        place=place,
        journal=journal,
        outline=outline,
        records=records,
        settings=settings,
        surroundings=surroundings,
        interrupts=interrupts,
        leave=leave,
    )
    interrupts.install()
    threads = list(kernel_threads) if kernel_threads is not None else threading.enumerate()
    surroundings.world.attach(
        run.port,
        inbox_of(place.folder),
        notebook=notebook.name if notebook else "",
        tell=run.tell,
        threads=threads,
    )
    genesis = outline.genesis or _urandom(_GENESIS_BYTES)
    _continue_clocks(surroundings, outline)
    run.port.write(_opener(surroundings, genesis if not outline.genesis else b"", reason))
    surroundings.seed(genesis)
    run.keep_generators()
    if journal.repaired is not None:
        run.tell(str(journal.repaired))
    return run


def _place(
    store: Store, settings: Settings, notebook: Path | None, kernel_id: str | None
) -> tuple[RunPlace, bool]:
    if settings.run is not None:
        if store.exists(settings.run):
            place = store.get(settings.run)
        else:
            place = store.create(run_id=settings.run, notebook=notebook, kernel_id=kernel_id)
    else:
        found = store.lookup(kernel_id=kernel_id, notebook=notebook)
        place = found or store.create(notebook=notebook, kernel_id=kernel_id)
    is_new = not any(place.folder.glob("seg-*.dkj"))
    return place, is_new


def _continue_clocks(surroundings: Surroundings, outline: Outline) -> None:
    """Monotonic clocks go on from the last recorded reading, also after a reboot or a move (H15)."""
    readings = [each.clocks for each in outline.openers]
    readings += [each.committed.clocks for each in outline.positions if each.committed is not None]
    last: dict[str, float] = {}
    for reading in readings:
        for name, value in reading.items():
            last[name] = max(last.get(name, value), value)
    if last:
        surroundings.clocks.set_offsets(last)


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


def mark_finished(store: Store, place: RunPlace, status: str) -> None:
    """Record that a headless runner came to its notebook's end. The kernel must be gone: this takes the lock.

    Raises RunLockedError when a kernel still writes the run.
    """
    run_id = place.run_id
    journal = Journal.open(
        place.folder,
        run_id=run_id,
        key=store.run_key(run_id),
        anchor=store.anchor(run_id),
        lock_timeout_s=5,
    )
    with journal:
        record = Finished(wall_ns=_time_ns(), status=status)
        journal.append([records_of(store, run_id, with_objects=False).pack(record)], sync=True)
