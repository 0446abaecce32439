"""The end of a journal: where frames are written, and where segments follow each other.

What holds at every instant, whatever fails:

* The last segment's bytes up to `end` are whole frames; behind it stand zeros, or the rest of
  one write that failed or was interrupted, and the next append cuts it first.
* Frames are recorded once `append` has returned, and not if it raised, but for a poisoned journal:
  then they may be on disk or not.
* A failed sync is final: the operating system may have dropped the bytes and report success next
  time (Rebello et al., USENIX ATC 2020). The journal is poisoned and takes nothing more.
* A segment that has a successor is complete and synced.

The zeros are spare room. A sync of bytes within it has no new file size to write, and takes about
two thirds of the time. It is taken when something has to be synced, and given back at the end.

Knows no level, lock or thread: the caller lets one thread in at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from errno import EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import NamedTuple

from durable_kernel.errors import JournalError, JournalFullError, JournalPoisonedError
from durable_kernel.journal.disk import Disk
from durable_kernel.journal.files import NO_ROOM, open_written
from durable_kernel.journal.format import (
    EPOCH_FIRST,
    LSN_FIRST,
    NO_TAG,
    decode_segment_header,
    encode_frames,
    encode_segment_header,
    frame_hasher,
)
from durable_kernel.journal.reader import Reading
from durable_kernel.journal.segments import segment_path

CLOSED = -1
SPARE_BYTES = 256 << 10
LENGTH_BYTES = 4  # a frame begins with its length, which is not 0

_NO_SUCH_CALL = frozenset({EINVAL, ENOSYS, EOPNOTSUPP})


class Segment(NamedTuple):
    """The segment that frames are appended to."""

    fd: int
    number: int
    seed: int


# Where the journal ends: segment, last lsn and tag, bytes of the segment that are whole frames. One
# object, so that it changes in one step; a plain tuple, as one is made for each append.
Tip = tuple[Segment, int, bytes, int]


class Tail:
    """The writing end of one journal; stands nowhere until `begin` or `resume`."""

    def __init__(
        self, folder: Path, *, run_id: str, tag_key: bytes, disk: Disk, segment_bytes_max: int
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self.epoch = EPOCH_FIRST
        self._tip: Tip = (Segment(CLOSED, 0, 0), LSN_FIRST - 1, NO_TAG, 0)
        self.complete_segments_bytes = 0
        self.is_unsynced = False
        self.poisoned_by = ""
        self._key = tag_key
        self._hasher = frame_hasher(tag_key)
        self._disk = disk
        self._segment_bytes_max = segment_bytes_max
        self._is_unsettled = False  # bytes may stand behind `end`
        self._size_bytes = 0  # of the segment's file: `end` and what is spare
        self._has_spare_room = True  # False where the file system knows no such thing

    @property
    def segment(self) -> Segment:
        return self._tip[0]

    @property
    def lsn(self) -> int:
        return self._tip[1]

    @property
    def tag(self) -> bytes:
        return self._tip[2]

    @property
    def end(self) -> int:
        return self._tip[3]

    @property
    def is_closed(self) -> bool:
        return self.segment.fd == CLOSED

    def begin(self) -> None:
        """Make the first segment. Raises JournalFullError, JournalPoisonedError."""
        self._stand(self._new_segment())

    def resume(self, reading: Reading) -> None:
        """Stand behind the last whole frame, in the next epoch. The torn tail was cut before."""
        self.epoch = reading.epoch + 1
        path = segment_path(self.folder, reading.segment)
        try:
            fd = self._disk.open(path, os.O_RDWR)
        except OSError as error:
            raise self.failure(error, path, 0) from error
        segment = Segment(fd, reading.segment, reading.seed)
        self._stand((segment, reading.lsn, reading.tag, reading.offset))
        complete = range(1, reading.segment)
        self.complete_segments_bytes = sum(
            segment_path(self.folder, number).stat().st_size for number in complete
        )

    def append(
        self, frames: Sequence[tuple[int, bytes]], *, promised: bool, may_rotate: bool = True
    ) -> int:
        """Write frames (type, payload) with one write, synced when promised; return the last lsn.

        Raises JournalFullError, JournalPoisonedError, and ValueError for a frame that does not fit.
        """
        segment, lsn, tag, end = self._tip
        if self.poisoned_by or segment.fd == CLOSED:
            raise self.refusal()
        if self._is_unsettled:
            self._cut_back()
        if end >= self._segment_bytes_max and may_rotate:
            segment, lsn, tag, end = self._rotate()
        content, tag = encode_frames(
            frames,
            first_lsn=lsn + 1,
            epoch=self.epoch,
            previous_tag=tag,
            key=self._key,
            seed=segment.seed,
            promised=promised,
            hasher=self._hasher,
        )
        size_bytes = len(content)
        if os.pread(segment.fd, LENGTH_BYTES, end).strip(b"\0"):
            raise self.poison("another process wrote to this segment")
        if promised and end + size_bytes > self._size_bytes and self._has_spare_room:
            self._take_room(end, size_bytes)
        self._is_unsettled = True
        try:
            written = self._disk.write_at(segment.fd, content, end)
        except OSError as error:
            raise self._write_failure(error, size_bytes) from error
        if written != size_bytes:
            raise self._write_failure(OSError(ENOSPC, "short write"), size_bytes)
        end += size_bytes
        self._size_bytes = max(self._size_bytes, end)
        lsn += len(frames)
        self._tip = (segment, lsn, tag, end)
        self._is_unsettled = False
        self.is_unsynced = True
        if promised:
            self.sync()
        return lsn

    def sync(self) -> None:
        """Return once all frames survive the death of the machine. Raises JournalPoisonedError."""
        if self.poisoned_by or self.is_closed:
            raise self.refusal()
        try:
            self._disk.sync(self.segment.fd)
        except OSError as error:
            raise self.poison(_reason(error)) from error
        self.is_unsynced = False

    def give_room_back(self) -> None:
        """Cut the spare room off. What stays when this fails is zeros, which nobody minds."""
        with suppress(OSError):
            if not self._is_unsettled and self._stands_behind(self.end):
                self._disk.truncate(self.segment.fd, self.end)
                self._size_bytes = self.end

    def close(self) -> None:
        """Close the segment without syncing it."""
        if (fd := self._forget()) != CLOSED:
            self._close(fd)

    def forget_in_child(self) -> None:
        """Close the copy of the descriptor that a fork inherited."""
        if (fd := self._forget()) != CLOSED:
            os.close(fd)

    def _forget(self) -> int:
        segment, lsn, tag, end = self._tip
        self._tip = (segment._replace(fd=CLOSED), lsn, tag, end)
        return segment.fd

    def _close(self, fd: int) -> None:
        with suppress(OSError):  # what was to be synced has been, or the journal is poisoned
            self._disk.close(fd)

    # --- failing ----------------------------------------------------------------------------------

    def poison(self, reason: str) -> JournalPoisonedError:
        """Refuse everything from now on; return the error that says so."""
        self.poisoned_by = self.poisoned_by or reason
        return JournalPoisonedError(self._path, self.poisoned_by)

    def refusal(self) -> Exception:
        """Return the error for whoever writes to a closed or poisoned journal."""
        if self.poisoned_by:
            return JournalPoisonedError(self._path, self.poisoned_by)
        return ValueError(f"{self.folder}: the journal is closed")

    def failure(self, error: OSError, path: Path, wanted_bytes: int) -> JournalError:
        """Translate what the disk said: no room is for now, anything else is for ever."""
        if error.errno in NO_ROOM:
            return JournalFullError(path, wanted_bytes, _reason(error))
        return self.poison(_reason(error))

    @property
    def _path(self) -> Path:
        return segment_path(self.folder, max(self.segment.number, 1))

    def _write_failure(self, error: OSError, wanted_bytes: int) -> JournalError:
        if error.errno in NO_ROOM:
            self._cut_back()
        return self.failure(error, self._path, wanted_bytes)

    def _cut_back(self) -> None:
        """Remove what a failed or interrupted write left behind the last whole frame."""
        try:
            self._disk.truncate(self.segment.fd, self.end)
        except OSError as error:
            raise self.poison(_reason(error)) from error
        self._size_bytes = self.end
        self._is_unsettled = False

    # --- segments ---------------------------------------------------------------------------------

    def _rotate(self) -> Tip:
        """Go on in the next segment. Done again from the start if it was interrupted."""
        old, old_end = self.segment, self.end
        if self._stands_behind(old_end):  # one with a successor is frames to its last byte
            self._cut_back()
        self.sync()
        self._stand(self._new_segment())
        self.complete_segments_bytes += old_end
        self._close(old.fd)
        return self._tip

    def _stand(self, tip: Tip) -> None:
        """Append here from now on."""
        self._tip = tip
        self._size_bytes = os.fstat(tip[0].fd).st_size

    def _stands_behind(self, end: int) -> bool:
        """Tell whether the file goes on behind the frames. A failed allocation may grow it."""
        return os.fstat(self.segment.fd).st_size > end

    def _take_room(self, end: int, size_bytes: int) -> None:
        """Make the file larger than it has to be. Where there is no room it just grows."""
        spare_bytes = max(SPARE_BYTES, size_bytes)
        try:
            self._disk.allocate(self.segment.fd, end, spare_bytes)
        except OSError as error:
            if error.errno in _NO_SUCH_CALL:
                self._has_spare_room = False
            elif error.errno not in NO_ROOM:
                raise self.failure(error, self._path, spare_bytes) from error
        else:
            self._size_bytes = end + spare_bytes

    def _new_segment(self) -> Tip:
        """Make the segment behind the tip. An empty one of its name is replaced."""
        number, lsn = self.segment.number + 1, self.lsn
        raw = encode_segment_header(
            self.run_id,
            number=number,
            first_lsn=lsn + 1,
            epoch=self.epoch,
            previous_tag=self.tag,
            key=self._key,
        )
        path = segment_path(self.folder, number)
        try:
            fd = open_written(self._disk, path, [raw])
        except OSError as error:
            raise self.failure(error, path, len(raw)) from error
        try:
            self._disk.sync_folder(self.folder)
        except OSError as error:  # the segment has its name: the old one must take nothing more
            raise self.poison(_reason(error)) from error
        header = decode_segment_header(raw)
        assert header is not None
        return Segment(fd, number, header.crc), lsn, header.tag, len(raw)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
