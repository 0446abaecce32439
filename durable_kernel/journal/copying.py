"""Copy the beginning of a journal into another run: the same frames, signed as that run's own.

Frames keep their numbers and payloads; epoch and tags are the new journal's. Blobs that a frame
mentions get a second name in the new folder, or are copied where the file system has no links, so
that neither run needs the other's folder. When `copy_frames` returns, all is synced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from durable_kernel.journal.disk import Disk
from durable_kernel.journal.files import NO_ROOM, open_regular, write_file
from durable_kernel.journal.reader import Frame
from durable_kernel.journal.segments import BLOBS_NAME
from durable_kernel.journal.writer import Journal

__all__ = ["blob_files", "copy_frames", "mentioned_digests"]

_BATCH_FRAMES = 256
_BATCH_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20
_DIGITS = 64
_HEX = re.compile(rb"[0-9a-f]{64,}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{64}")


def mentioned_digests(payload: bytes, known: Container[str]) -> set[str]:
    """Return those of the known blobs whose names stand in a frame, whatever the frame means.

    A name is text of 64 hex digits, and stands in the payload as it is; what comes before and
    behind it may look like digits, too. What only looks like a name keeps a blob, and does no harm.
    """
    found = set[str]()
    for digits in _HEX.findall(payload):
        text = digits.decode()
        starts = range(len(text) - _DIGITS + 1)
        found.update(name for at in starts if (name := text[at : at + _DIGITS]) in known)
    return found


def blob_files(folder: Path) -> Iterator[Path]:
    """Yield the blobs of a run's folder, in no order; not those that are being written."""
    try:
        folders = [each for each in (folder / BLOBS_NAME).iterdir() if _FOLDER.fullmatch(each.name)]
    except FileNotFoundError:
        return
    for each in folders:
        yield from (path for path in each.iterdir() if _NAME.fullmatch(path.name))


def copy_frames(frames: Iterable[Frame], source: Path, journal: Journal, disk: Disk) -> int:
    """Append the frames to a new journal, with their blobs from the folder `source`.

    Returns the last lsn. Raises what the iterator raises, JournalFullError, JournalPoisonedError.
    """
    batch: list[tuple[int, bytes]] = []
    known = {path.name for path in blob_files(source)}
    size_bytes, linked = 0, set[str]()
    lsn = journal.next_lsn - 1
    for frame in frames:
        assert frame.lsn == lsn + len(batch) + 1, "a copy keeps the numbers"
        for digest in mentioned_digests(frame.payload, known) - linked:
            linked.add(digest)
            _take_blob(source, journal.folder, digest, disk)
        batch.append((frame.type, frame.payload))
        size_bytes += frame.size
        if len(batch) >= _BATCH_FRAMES or size_bytes >= _BATCH_BYTES:
            lsn = journal.append(batch)
            batch, size_bytes = [], 0
    if batch:
        lsn = journal.append(batch)
    for digits in {digest[:2] for digest in linked}:
        disk.sync_folder(journal.folder / BLOBS_NAME / digits)
    disk.sync_folder(journal.folder / BLOBS_NAME)
    journal.sync()
    return lsn


def _take_blob(source: Path, target: Path, digest: str, disk: Disk) -> None:
    name = Path(BLOBS_NAME, digest[:2], digest)
    old, new = source / name, target / name
    disk.make_folder(new.parent)
    try:
        disk.link(old, new)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        write_file(disk, new, _pieces(old))
        new.chmod(0o444)


def _pieces(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_regular(path), "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
