"""The one writer of a run's journal: lock, levels, threads and forks around its tail.

Recovery is here as well: take the lock, read everything, cut a torn tail, take the next epoch. It
can be killed at any point and done again.

Append, sync and close may be called from any thread. A forked child never writes: its copies of the
descriptors are closed in it, and it gets an error. The port above defers signals (H5); one that
comes through nevertheless leaves a write that the next append cuts.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Event, RLock, Thread
from types import TracebackType
from typing import Self

from durable_kernel.errors import JournalFullError, RunLockedError, RunNotFoundError
from durable_kernel.journal.ballast import Ballast
from durable_kernel.journal.blobs import BlobStore
from durable_kernel.journal.damage import TornTail
from durable_kernel.journal.disk import REAL_DISK, Disk
from durable_kernel.journal.files import NO_ROOM
from durable_kernel.journal.format import run_id_bytes, tag_key
from durable_kernel.journal.lock import RunLock
from durable_kernel.journal.reader import Anchor, Frame, Reading
from durable_kernel.journal.repair import copy_aside, cut
from durable_kernel.journal.segments import (
    BLOBS_NAME,
    TEMPORARY_SUFFIX,
    segment_numbers,
    segment_path,
)
from durable_kernel.journal.tail import Tail

SEGMENT_BYTES_MAX = 64 << 20
FAST_SYNC_EVERY_S = 1.0


class Level(StrEnum):
    """What `append` promises when it returns. All levels survive the death of the process.

    The death of the machine: `strict` loses nothing, `default` nothing up to the last append with
    `sync=True`, `fast` the last second or so.
    """

    DEFAULT = "default"
    STRICT = "strict"
    FAST = "fast"


class Journal:
    """The one writer of a run, from `create` or `open` until `close`."""

    # Made by the class methods below, which hold the lock by then.
    def __init__(
        self,
        lock: RunLock,
        *,
        run_id: str,
        key: bytes,
        level: Level,
        disk: Disk,
        segment_bytes_max: int,
    ) -> None:
        self.folder = lock.folder
        self.run_id = run_id
        self.level = level
        self.repaired: TornTail | None = None
        self._disk = disk
        self._run_lock = lock
        self._tail = Tail(
            self.folder,
            run_id=run_id,
            tag_key=tag_key(key, run_id),
            disk=disk,
            segment_bytes_max=segment_bytes_max,
        )
        self._ballast = Ballast(self.folder, disk)
        self.blobs = BlobStore(
            self.folder / BLOBS_NAME,
            disk=disk,
            is_synced=level is not Level.FAST,
            on_failure=self._tail.failure,
        )
        self._lock = RLock()
        self._parent_pid = 0  # in a forked child: the process that writes
        self._closing = Event()
        self._syncer: Thread | None = None
        os.register_at_fork(after_in_child=partial(_leave_in_child, weakref.ref(self), os.getpid()))

    # --- begin and end ----------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        run_id: str,
        key: bytes,
        level: Level = Level.DEFAULT,
        disk: Disk = REAL_DISK,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> Journal:
        """Begin a journal in a folder that may exist but holds no segment (else FileExistsError).

        When this returns, the lock is held and the empty journal survives the machine's death.
        Raises RunLockedError, JournalFullError, JournalPoisonedError, ValueError for a run id that
        does not fit, and OSError where the folder can't be made.
        """
        run_id_bytes(run_id)
        folder = Path(folder)
        try:
            disk.make_folder(folder)
            disk.sync_folder(folder.parent)
            lock = RunLock.acquire(folder)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise JournalFullError(folder, 0, error.strerror or str(error)) from error
            raise
        try:
            if segment_numbers(folder):
                raise FileExistsError(f"{folder}: a journal is there already")
            journal = cls(
                lock,
                run_id=run_id,
                key=key,
                level=level,
                disk=disk,
                segment_bytes_max=segment_bytes_max,
            )
            journal._begin()
        except BaseException:
            lock.release()
            raise
        return journal

    @classmethod
    def open(  # noqa: PLR0913 - what a caller may choose, each by name
        cls,
        folder: Path,
        *,
        run_id: str,
        key: bytes,
        level: Level = Level.DEFAULT,
        disk: Disk = REAL_DISK,
        anchor: Anchor | None = None,
        lock_timeout_s: float = 0,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> Journal:
        """Take the lock, read all, cut a torn tail (copied to `*.torn` first), take the next epoch.

        `on_frame` is called for each frame in order, so that one pass serves repair and history.
        A folder without a segment was left by a `create` that died: the journal is begun.
        Raises RunNotFoundError, RunLockedError, JournalCorruptError, UntrustedRunError,
        JournalVersionError, JournalFullError (no room for the copy); nothing was cut then.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RunNotFoundError(run_id, folder.parent)
        lock = RunLock.acquire(folder, timeout_s=lock_timeout_s)
        try:
            journal = cls(
                lock,
                run_id=run_id,
                key=key,
                level=level,
                disk=disk,
                segment_bytes_max=segment_bytes_max,
            )
            reading = Reading(folder, run_id=run_id, key=key, anchor=anchor)
            for frame in reading.frames():
                if on_frame is not None:
                    on_frame(frame)
            journal._recover(reading)
        except BaseException:
            lock.release()
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        tail = self._tail
        is_closed = tail.is_closed
        state = "poisoned" if tail.poisoned_by else "closed" if is_closed else "open"
        return f"<Journal {self.run_id} epoch {self.epoch}, next lsn {self.next_lsn}, {state}>"

    def close(self) -> None:
        """Sync what is not, close the files, release the lock. Harmless when done already.

        Raises JournalPoisonedError when that sync fails; everything is closed and released then.
        """
        if self._parent_pid:
            return
        self._closing.set()
        if self._syncer is not None:
            self._syncer.join()
        with self._lock:
            if self._tail.is_closed:
                return
            try:
                if not self._tail.poisoned_by:
                    self._tail.give_room_back()
                    if self._tail.is_unsynced:
                        self._tail.sync()
            finally:
                self._tail.close()
                self._run_lock.release()

    # --- writing ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self._tail.epoch

    @property
    def next_lsn(self) -> int:
        return self._tail.lsn + 1

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments and blobs."""
        return self._tail.complete_segments_bytes + self._tail.end + self.blobs.size_bytes

    def append(self, frames: Sequence[tuple[int, bytes]], *, sync: bool = False) -> int:
        """Write frames (type, payload) with one `os.write`; return the last lsn.

        On return they survive the death of the process, and that of the machine with `sync` or in
        level strict (never in level fast). Raises JournalFullError before anything is recorded,
        JournalPoisonedError when the disk failed now or before (the frames may then be on disk or
        not), RunLockedError in a forked child, ValueError for a frame that does not fit.
        """
        if self._parent_pid:  # before the lock: a fork may have copied it locked
            raise self._refusal_in_child()
        level = self.level
        with self._lock:
            if level is Level.FAST:
                lsn = self._tail.append(frames, promised=False)
                if self._syncer is None:
                    self._start_syncer()
                return lsn
            return self._tail.append(frames, promised=sync or level is Level.STRICT)

    def append_emergency(self, frames: Sequence[tuple[int, bytes]]) -> int:
        """Append, giving the ballast up where there is no room otherwise (H34)."""
        if self._parent_pid:
            raise self._refusal_in_child()
        with self._lock:
            try:
                return self.append(frames)
            except JournalFullError:
                if not self._ballast.give_up():
                    raise
            # A rotation would need room as well. But a segment with a successor is closed for ever.
            tail = self._tail
            may_rotate = segment_path(self.folder, tail.segment.number + 1).exists()
            is_strict = self.level is Level.STRICT
            return tail.append(frames, promised=is_strict, may_rotate=may_rotate)

    def sync(self) -> None:
        """Return once all frames survive the death of the machine, whatever the level."""
        if self._parent_pid:
            raise self._refusal_in_child()
        with self._lock:
            if self._tail.is_unsynced or self._tail.poisoned_by:
                self._tail.sync()

    @property
    def has_ballast(self) -> bool:
        """Tell whether `append_emergency` still has room to give up."""
        return self._ballast.is_there

    def restore_ballast(self) -> bool:
        """Put the ballast back; False when the disk has no room for it."""
        if self._parent_pid:
            raise self._refusal_in_child()
        with self._lock:
            try:
                return self._ballast.restore()
            except OSError as error:
                raise self._tail.failure(error, self.folder, 0) from error

    # --- syncing behind the back of level fast ----------------------------------------------------

    def sync_in_background(self) -> None:
        """Sync without making an append wait: the lock is held only to take the descriptor.

        A failure poisons the journal; the next append says so.
        """
        with self._lock:
            tail = self._tail
            if tail.poisoned_by or tail.is_closed or not tail.is_unsynced:
                return
            fd = os.dup(tail.segment.fd)
            tail.is_unsynced = False
        try:
            self._disk.sync(fd)
        except OSError as error:
            with self._lock:
                tail.poison(error.strerror or str(error))
        finally:
            os.close(fd)

    def _start_syncer(self) -> None:
        self._syncer = Thread(target=self._sync_each_second, name="journal-sync", daemon=True)
        self._syncer.start()

    def _sync_each_second(self) -> None:
        while not self._closing.wait(FAST_SYNC_EVERY_S):
            self.sync_in_background()

    # --- forks ------------------------------------------------------------------------------------

    def leave_in_child(self, parent_pid: int) -> None:
        """Run in a forked child: close the copies of the descriptors, refuse from now on."""
        self._parent_pid = parent_pid
        self._run_lock.forget_in_child()
        self._tail.forget_in_child()

    def _refusal_in_child(self) -> RunLockedError:
        return RunLockedError(self.folder, f"pid {self._parent_pid}, the parent of this fork")

    # --- beginning and recovering -----------------------------------------------------------------

    def _begin(self) -> None:
        """Make what stands beside the first segment, and then that."""
        self._make_companions()
        self._tail.begin()

    def _make_companions(self) -> None:
        try:
            self._disk.make_folder(self.blobs.folder)
            self.blobs.clear_unfinished()
            self._ballast.restore()
        except OSError as error:
            raise self._tail.failure(error, self.folder, 0) from error

    def _recover(self, reading: Reading) -> None:
        """Cut the torn tail, and stand behind the last whole frame in the next epoch."""
        if reading.torn is not None:
            self.repaired = self._repair(reading.torn)
        try:
            for left in self.folder.glob(f"*{TEMPORARY_SUFFIX}"):
                self._disk.unlink(left)
        except OSError as error:
            raise self._tail.failure(error, self.folder, 0) from error
        if reading.segment == 0:
            self._begin()
            return
        self._make_companions()
        self._tail.resume(reading)

    def _repair(self, torn: TornTail) -> TornTail:
        """Copy the torn tail aside, with the ballast's room if need be; then cut it."""
        try:
            try:
                copied = copy_aside(self._disk, torn)
            except OSError as error:
                if error.errno not in NO_ROOM or not self._ballast.give_up():
                    raise
                copied = copy_aside(self._disk, torn)
            cut(self._disk, torn)
        except OSError as error:
            raise self._tail.failure(error, torn.file, torn.size_bytes) from error
        return copied


def _leave_in_child(journal: weakref.ref[Journal], parent_pid: int) -> None:
    """Run as a fork hook, which can't be unregistered: it must not keep its journal alive."""
    if (inherited := journal()) is not None:
        inherited.leave_in_child(parent_pid)
