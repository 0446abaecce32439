"""Read a journal from the first byte on. Takes no lock and changes nothing.

Integrity (both checksums, lsns without gaps, epochs that never fall) is always checked. With the
user's key so is authenticity: every tag, and with it every prefix. The frames up to an anchor were
written with a foreign key; they are accepted when their bytes are exactly those that the user once
trusted.

Reading streams: memory is bounded by one chunk plus the largest frame. The garbage collector is off
meanwhile: a scan makes a great many objects, none of them garbage, and collecting costs four times
as much as making them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import (
    JournalCorruptError,
    JournalVersionError,
    RunNotFoundError,
    UntrustedRunError,
)
from durable_kernel.journal.damage import (
    READ_BYTES,
    TornTail,
    judge_frame,
    judge_segment_header,
    read_from,
)
from durable_kernel.journal.files import open_regular
from durable_kernel.journal.format import (
    FRAME_HEADER,
    NO_TAG,
    PROMISED,
    SEGMENT_HEADER_BYTES,
    TYPE_MAX,
    VERSION,
    RawFrame,
    SegmentHeader,
    decode_segment_header,
    frame_tag,
    missing_bytes,
    segment_tag,
    tag_key,
    whole_frames,
)
from durable_kernel.journal.segments import segment_numbers, segment_path

NOTHING_FOREIGN = -1
ALL_FOREIGN = 1 << 64


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `type` is without the PROMISED bit; `segment`, `offset`, `size` tell its place."""

    lsn: int
    type: int
    epoch: int
    payload: bytes
    segment: int
    offset: int
    size: int  # bytes on disk, header included
    promised: bool  # the write that carried it was synced


@dataclass(frozen=True, slots=True)
class Anchor:
    """A foreign prefix that the user trusted: the frames up to `lsn`, the last tag among them.

    `digest` is the BLAKE3 of the prefix: every byte from the first of segment 1 to the last of
    frame `lsn`, segment headers included.
    """

    lsn: int
    tag: bytes
    digest: bytes


def scan(
    folder: Path,
    *,
    run_id: str | None = None,
    key: bytes | None = None,
    anchor: Anchor | None = None,
    start: tuple[int, int] | None = None,
) -> Iterator[Frame]:
    """Yield the frames of a run in order of lsn, stopping silently at a torn tail.

    Without `key` only integrity is checked. `start` = (segment, offset) of a frame begins there;
    the chain of tags can't be checked then. Raises RunNotFoundError when there is no such folder;
    JournalCorruptError, UntrustedRunError, JournalVersionError at the first frame concerned, after
    those before it were yielded.
    """
    return Reading(folder, run_id=run_id, key=key, anchor=anchor, start=start).frames()


def read_extent(folder: Path, segment: int, offset: int, size: int) -> list[Frame]:
    """Return the frames of one stretch: it begins and ends at a frame's border, in one segment.

    Raises JournalCorruptError when the stretch is not exactly whole undamaged frames.
    """
    path = segment_path(folder, segment)
    try:
        fd = open_regular(path)
    except FileNotFoundError:
        raise JournalCorruptError(path, 0, "this segment is missing") from None
    try:
        header = decode_segment_header(os.pread(fd, SEGMENT_HEADER_BYTES, 0))
        if header is None:
            raise JournalCorruptError(path, 0, "a damaged segment header")
        _check_version(header, path)
        window = read_from(fd, offset, size)
    finally:
        os.close(fd)
    with collector_paused():
        found = [_frame(raw, segment, offset) for raw in whole_frames(window, header.crc)]
    whole = sum(frame.size for frame in found)
    if whole != size:
        raise JournalCorruptError(path, offset + whole, "a damaged frame")
    return found


def measure_anchor(folder: Path, *, run_id: str | None = None) -> Anchor:
    """Return what `trust` has to keep about a run as it is now; integrity is checked."""
    reading = Reading(folder, run_id=run_id, is_measuring=True)
    for _ in reading.frames():
        pass
    return reading.measured()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector off, and turn it on again if it was on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Reading:
    """One pass over a journal. After it: the end of the complete prefix, and the torn tail if any.

    `lsn`, `tag`, `epoch` are those of the last frame; `segment` and `offset` say where the next
    one would stand; `seed` is that segment's; `size_bytes` sums all segments.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_id: str | None = None,
        key: bytes | None = None,
        anchor: Anchor | None = None,
        start: tuple[int, int] | None = None,
        is_measuring: bool = False,
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self.lsn = 0
        self.tag = NO_TAG
        self.epoch = 0
        self.segment = 0
        self.offset = 0
        self.seed = 0
        self.size_bytes = 0
        self.torn: TornTail | None = None
        self._is_at_end = False
        self._start = start
        self._user_key = key if start is None else None
        self._key: bytes | None = None
        self._anchor = anchor if self._user_key is not None else None
        self._foreign_lsn_max = (
            ALL_FOREIGN
            if is_measuring
            else self._anchor.lsn
            if self._anchor is not None
            else NOTHING_FOREIGN
        )
        self._hasher = blake3()
        self._header_unhashed = b""
        self._absorbed_tag = NO_TAG

    def measured(self) -> Anchor:
        """Return the anchor of what was read, when that was the purpose."""
        return Anchor(self.lsn, self._absorbed_tag, self._hasher.digest())

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; see `scan`."""
        if not self.folder.is_dir():
            raise RunNotFoundError(self.run_id or self.folder.name, self.folder.parent)
        first, offset = self._start or (1, SEGMENT_HEADER_BYTES)
        if self._start is None:
            segment_numbers(self.folder)  # refuses a gap
        with collector_paused():
            for number in count(first):
                path = segment_path(self.folder, number)
                try:
                    fd = open_regular(path)
                except FileNotFoundError:
                    break
                try:
                    if not self._enter(fd, path, number):
                        break
                    yield from self._walk(fd, path, number, offset)
                finally:
                    os.close(fd)
                offset = SEGMENT_HEADER_BYTES
                if self.torn is not None or self._is_at_end:
                    break
        self._check_prefix_is_whole()

    # --- segment headers --------------------------------------------------------------------------

    def _enter(self, fd: int, path: Path, number: int) -> bool:
        """Check the segment's header. Return False when it is the torn tail of the journal."""
        raw = os.pread(fd, SEGMENT_HEADER_BYTES, 0)
        header = decode_segment_header(raw)
        if header is None:
            return self._leave_torn(judge_segment_header(fd, self.folder, number))
        _check_version(header, path)
        if self.run_id is None:
            self.run_id = header.run_id
        elif header.run_id != self.run_id:
            raise UntrustedRunError(self.run_id, path, 0)
        if self._user_key is not None:
            self._key = tag_key(self._user_key, self.run_id)
        if self._start is not None and self.segment == 0:
            self._begin_in_the_middle(fd, header, self._start[1])
        self._check_order(header, path, number)
        if not self._is_signed(raw, header, number):
            if number == 1 or os.fstat(fd).st_size > SEGMENT_HEADER_BYTES:
                raise UntrustedRunError(self.run_id, path, 0)
            # It holds no frame: nothing is lost without it, and a foreign run may end in one.
            torn = TornTail(path, 0, SEGMENT_HEADER_BYTES, "an empty segment of another key")
            return self._leave_torn(torn)
        self._absorb_header(raw, header)
        self.segment, self.seed, self.tag = number, header.crc, header.tag
        self.epoch = header.epoch
        return True

    def _begin_in_the_middle(self, fd: int, header: SegmentHeader, offset: int) -> None:
        raw = os.pread(fd, FRAME_HEADER.size, offset)
        self.epoch = header.epoch
        if len(raw) == FRAME_HEADER.size:
            self.lsn = FRAME_HEADER.unpack(raw)[4] - 1

    def _check_order(self, header: SegmentHeader, path: Path, number: int) -> None:
        if header.number != number:
            raise JournalCorruptError(path, 0, f"this is segment {header.number} by its header")
        if header.epoch < self.epoch:
            raise JournalCorruptError(
                path, 0, f"epoch {header.epoch} after epoch {self.epoch}: two writers"
            )
        is_in_the_middle = self._start is not None and self.segment == 0
        if not is_in_the_middle and header.first_lsn != self.lsn + 1:
            raise JournalCorruptError(
                path, 0, f"the segment begins with lsn {header.first_lsn}, after lsn {self.lsn}"
            )

    def _is_signed(self, raw: bytes, header: SegmentHeader, number: int) -> bool:
        if self._key is None or (number == 1 and self._foreign_lsn_max >= 0):
            return True
        if self.lsn < self._foreign_lsn_max:
            return True
        return segment_tag(raw, self.tag, self._key) == header.tag

    def _absorb_header(self, raw: bytes, header: SegmentHeader) -> None:
        """Hash the header of a foreign segment; a later one only once a frame follows."""
        if header.number > 1:
            self._header_unhashed = raw
            return
        self._hasher.update(raw)
        self._absorbed_tag = header.tag
        if self._foreign_lsn_max == 0:
            self._check_anchor(segment_path(self.folder, 1), 0, header.tag)

    def _leave_torn(self, torn: TornTail) -> bool:
        self.torn = torn
        self.size_bytes += torn.size_bytes
        return False

    # --- frames -----------------------------------------------------------------------------------

    def _walk(self, fd: int, path: Path, number: int, offset: int) -> Iterator[Frame]:
        """Yield the segment's frames from `offset` on."""
        window = b""
        lsn, tag, epoch, seed, key = self.lsn, self.tag, self.epoch, self.seed, self._key
        foreign_lsn_max = self._foreign_lsn_max
        while True:
            whole = 0
            for raw in whole_frames(window, seed):
                if raw.lsn != lsn + 1 or raw.epoch < epoch:
                    raise _out_of_order(path, offset + raw.start, raw, lsn, epoch)
                if raw.lsn <= foreign_lsn_max:
                    self._absorb(path, offset + raw.start, raw, window)
                elif key is not None and frame_tag(raw, tag, key) != raw.tag:
                    raise UntrustedRunError(str(self.run_id), path, offset + raw.start)
                lsn, tag, epoch, whole = raw.lsn, raw.tag, raw.epoch, raw.stop
                yield _frame(raw, number, offset)
            offset += whole
            window = window[whole:]
            self.lsn, self.tag, self.epoch, self.offset = lsn, tag, epoch, offset
            grown = self._grow(fd, number, window)
            if grown is None:
                break
            window = grown
        self.size_bytes += os.fstat(fd).st_size if self.torn is not None else offset

    def _grow(self, fd: int, number: int, window: bytes) -> bytes | None:
        """Return the window with more bytes behind it; None where the segment's frames end."""
        wanted = missing_bytes(window, 0, self.seed)
        place = self.offset + len(window)
        if wanted and (more := self._read_at(fd, place, max(wanted, READ_BYTES))):
            return window + more
        if not window:
            # The journal may have grown and rotated since: a segment with a successor is complete.
            if not segment_path(self.folder, number + 1).exists():
                self._is_at_end = True  # one that comes after this look may begin further on
                return None
            return self._read_at(fd, place, READ_BYTES) or None
        if self.lsn < self._foreign_lsn_max < ALL_FOREIGN:
            path = segment_path(self.folder, number)
            raise JournalCorruptError(path, self.offset, "damage inside the trusted part")
        judged = judge_frame(
            fd, self.folder, number, self.offset, seed=self.seed, expected_lsn=self.lsn + 1
        )
        if judged is None:
            self._is_at_end = True
        elif isinstance(judged, TornTail):
            self.torn = judged
            return None
        return judged

    def _read_at(self, fd: int, place: int, size_bytes: int) -> bytes:
        """Return bytes, none at the file's end. A method, as here the writer may come between."""
        return os.pread(fd, size_bytes, place)

    # --- the foreign prefix -----------------------------------------------------------------------

    def _absorb(self, path: Path, offset: int, raw: RawFrame, window: bytes) -> None:
        """Hash a foreign frame; at the anchor the prefix must be what was trusted."""
        self._hasher.update(self._header_unhashed)
        self._header_unhashed = b""
        self._hasher.update(window[raw.start : raw.stop])
        self._absorbed_tag = raw.tag
        if raw.lsn == self._foreign_lsn_max:
            self._check_anchor(path, offset, raw.tag)

    def _check_anchor(self, path: Path, offset: int, tag: bytes) -> None:
        anchor = self._anchor
        if anchor is not None and (anchor.tag != tag or anchor.digest != self._hasher.digest()):
            raise UntrustedRunError(str(self.run_id), path, offset)

    def _check_prefix_is_whole(self) -> None:
        if self.lsn < self._foreign_lsn_max < ALL_FOREIGN:
            path = segment_path(self.folder, max(self.segment, 1))
            raise UntrustedRunError(str(self.run_id), path, self.offset)


def _frame(raw: RawFrame, segment: int, window_offset: int) -> Frame:
    stored = raw.stored_type
    return Frame(
        raw.lsn,
        stored & TYPE_MAX,
        raw.epoch,
        raw.payload,
        segment,
        window_offset + raw.start,
        raw.stop - raw.start,
        stored >= PROMISED,
    )


def _out_of_order(
    path: Path, offset: int, raw: RawFrame, lsn: int, epoch: int
) -> JournalCorruptError:
    if raw.epoch < epoch:
        found = f"a frame of epoch {raw.epoch} after epoch {epoch}: two writers"
    else:
        found = f"a frame of lsn {raw.lsn} after lsn {lsn}"
    return JournalCorruptError(path, offset, found)


def _check_version(header: SegmentHeader, path: Path) -> None:
    if header.version != VERSION:
        raise JournalVersionError(path, header.version, VERSION)
