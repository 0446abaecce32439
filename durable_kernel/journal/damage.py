"""Judge damage: the torn end of an interrupted write, or corruption (H33).

Torn: in the last segment, and no valid header of a PROMISED frame of higher lsn stands behind it.
Then nothing that is known to have been promised is lost by cutting there. Anything else is
corruption: it is refused and nothing is changed. A PROMISED frame whose own payload is damaged is
corruption too when a frame follows it: that one was written after the sync had returned.

A segment header was synced before the file got its name, so a damaged one is torn only where
nothing but zeros stands behind it.

Zeros up to the end of the last segment are neither: they are spare room that the writer took, or
bytes that never reached the disk.

A reader may look at a journal that grows meanwhile. So "last" is decided before the bytes are read:
a segment that has a successor is complete.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from durable_kernel.errors import JournalCorruptError
from durable_kernel.journal.format import (
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    PROMISED,
    SEGMENT_HEADER_BYTES,
    has_valid_header,
    missing_bytes,
    whole_frames,
)
from durable_kernel.journal.segments import segment_path

READ_BYTES = 4 << 20
LSN_AT = 28  # where in a frame header the lsn stands; the type follows it
LSN_BYTES = 8


@dataclass(frozen=True, slots=True)
class TornTail:
    """The torn end of a journal. `copy` is where the cut bytes were put, None before the repair."""

    file: Path
    offset: int
    size_bytes: int
    found: str
    copy: Path | None = None

    def __str__(self) -> str:
        kept = f"; kept in {self.copy.name}" if self.copy is not None else ""
        return (
            f"{self.file.name}: {self.size_bytes} bytes at byte {self.offset} were the torn end of "
            f"an interrupted write ({self.found}) and are cut{kept}"
        )


def judge_frame(
    fd: int, folder: Path, number: int, offset: int, *, seed: int, expected_lsn: int
) -> bytes | TornTail | None:
    """Look again at a frame that seemed damaged or incomplete.

    Returns all bytes from `offset` on if a whole frame stands there by now (the journal grew
    meanwhile), None if nothing but zeros does, else the torn tail. Raises JournalCorruptError when
    it is neither.
    """
    path = segment_path(folder, number)
    is_last = not segment_path(folder, number + 1).exists()
    tail = read_from(fd, offset)
    if next(whole_frames(tail, seed), None) is not None:
        return tail
    is_short = missing_bytes(tail, 0, seed) > 0
    found = "an incomplete frame" if is_short else "a damaged frame"
    if not is_last:
        raise JournalCorruptError(path, offset, f"{found}, though a later segment follows")
    if tail.count(0) == len(tail):
        return None
    for at, lsn in promised_headers(tail, seed, expected_lsn):
        raise JournalCorruptError(
            path, offset, f"{found}, but a synced frame (lsn {lsn}) follows at byte {offset + at}"
        )
    if _was_synced_and_followed(tail, seed):
        raise JournalCorruptError(path, offset, "a damaged frame that was synced: others follow it")
    return TornTail(path, offset, len(tail), found)


def judge_segment_header(fd: int, folder: Path, number: int) -> TornTail:
    """Return the torn tail that a damaged segment header is; JournalCorruptError otherwise."""
    path = segment_path(folder, number)
    if segment_path(folder, number + 1).exists():
        raise JournalCorruptError(path, 0, "a damaged segment header, though a segment follows")
    size_bytes = os.fstat(fd).st_size
    for at in range(SEGMENT_HEADER_BYTES, size_bytes, READ_BYTES):
        chunk = os.pread(fd, READ_BYTES, at)
        if chunk.count(0) != len(chunk):
            raise JournalCorruptError(path, 0, "a damaged segment header, though frames follow")
    return TornTail(path, 0, size_bytes, "a damaged segment header")


def _was_synced_and_followed(tail: bytes, seed: int) -> bool:
    if not has_valid_header(tail, 0, seed):
        return False
    length, *_, stored_type, _ = FRAME_HEADER.unpack_from(tail)
    return stored_type >= PROMISED and has_valid_header(tail, FRAME_HEADER_BYTES + length, seed)


def promised_headers(tail: bytes, seed: int, lsn_min: int) -> Iterator[tuple[int, int]]:
    """Yield (place, lsn) of each valid header of a promised frame behind the tail's first byte.

    A tail can have 64 MB, so a regular expression finds the candidates: the leading bytes that all
    possible lsns share, followed by a type with the PROMISED bit.
    """
    # A long tail of zeros holds no header; the last header may itself end in zeros.
    tail = tail[: len(tail.rstrip(b"\0")) + FRAME_HEADER_BYTES]
    lsn_max = lsn_min + len(tail) // FRAME_HEADER_BYTES + 1
    differing = ((lsn_min ^ lsn_max).bit_length() + 7) // 8
    shared = lsn_min.to_bytes(LSN_BYTES, "little")[differing:]
    candidate = re.compile(re.escape(shared) + rb"[\x80-\xff]")
    lead = LSN_AT + LSN_BYTES - len(shared)
    # The search goes on one byte behind each candidate: candidates may overlap.
    place = lead + 1
    while (match := candidate.search(tail, place)) is not None:
        at = match.start() - lead
        place = match.start() + 1
        if has_valid_header(tail, at, seed):
            lsn = FRAME_HEADER.unpack_from(tail, at)[4]
            if lsn_min <= lsn <= lsn_max:
                yield at, lsn


def read_from(fd: int, offset: int, size_bytes: int | None = None) -> bytes:
    """Return the bytes from `offset` on: `size_bytes` of them, fewer at the file's end, or all."""
    pieces: list[bytes] = []
    wanted = os.fstat(fd).st_size - offset if size_bytes is None else size_bytes
    while wanted > 0 and (piece := os.pread(fd, wanted, offset)):
        pieces.append(piece)
        offset += len(piece)
        wanted -= len(piece)
    return b"".join(pieces)
