"""Large payloads as immutable files: blobs/ab/abcd…, named by the BLAKE3 of the bytes on disk.

A blob gets its name when it is complete and synced, and is never changed, only deleted, so that it
may be mapped (a file truncated while mapped kills the reader). Equal bytes are stored once. What is
read is verified before the first byte is handed out.

The digest covers the file (compressed, if it is), so a file can be checked without its BlobRef;
`size` counts the content.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import zstandard
from blake3 import blake3

from durable_kernel.errors import (
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalPoisonedError,
)
from durable_kernel.journal.disk import REAL_DISK, Disk
from durable_kernel.journal.files import NO_ROOM, open_regular, write_whole
from durable_kernel.journal.segments import TEMPORARY_SUFFIX

RAW = "raw"
ZSTD = "zstd"
ZSTD_LEVEL = 1
PIECE_BYTES = 1 << 20
DIGEST_HEX = 64
UNFINISHED_NAME = "unfinished"


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Names a blob in a frame: BLAKE3 (hex) of the file, bytes of the content, 'raw' or 'zstd'."""

    digest: str
    size: int
    codec: str


class BlobStore:
    """The blobs of one run. Reading needs no lock; writing is the run's writer's."""

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk = REAL_DISK,
        is_synced: bool = True,
        on_failure: Callable[[OSError, Path, int], JournalError] | None = None,
    ) -> None:
        self.folder = folder
        self.is_synced = is_synced
        self._disk = disk
        self._on_failure = on_failure
        self._serial = count(1)
        self._size_bytes: int | None = None

    def put(self, content: bytes | Iterable[bytes], *, compress: bool) -> BlobRef:
        """Store the content; see `BlobWriter.commit`."""
        with self.writer(compress=compress) as writer:
            for piece in (content,) if isinstance(content, bytes) else content:
                writer.write(piece)
            return writer.commit()

    def writer(self, *, compress: bool) -> BlobWriter:
        """Return a writer for content that comes piece by piece."""
        return BlobWriter(self, compress=compress)

    def path(self, ref: BlobRef) -> Path:
        """Return where the blob's file is; a raw one may be mapped once it was verified."""
        if len(ref.digest) != DIGEST_HEX or not set(ref.digest) <= set("0123456789abcdef"):
            raise JournalCorruptError(self.folder, 0, f"{ref.digest!r} is not the name of a blob")
        return self.folder / ref.digest[:2] / ref.digest

    def verify(self, ref: BlobRef) -> None:
        """Raise JournalCorruptError when the file is missing or its bytes are not its name's."""
        with self._verified(ref):
            pass

    def read(self, ref: BlobRef) -> bytes:
        """Return the content. Raises JournalCorruptError when it is missing or damaged."""
        return b"".join(self.pieces(ref))

    def pieces(self, ref: BlobRef) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB; verified before the first one."""
        try:
            with self.open(ref) as content:
                while piece := content.read(PIECE_BYTES):
                    yield piece
        except zstandard.ZstdError as error:
            found = f"this blob is no {ref.codec} ({error})"
            raise JournalCorruptError(self.path(ref), 0, found) from error

    def open(self, ref: BlobRef) -> BinaryIO:
        """Return a stream of the content, verified before. Raises JournalCorruptError."""
        stored = self._verified(ref)
        if ref.codec == RAW:
            return stored
        if ref.codec != ZSTD:
            stored.close()
            raise JournalCorruptError(self.path(ref), 0, f"a blob of unknown codec {ref.codec!r}")
        unpacked = zstandard.ZstdDecompressor().stream_reader(stored, closefd=True)
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", unpacked), PIECE_BYTES))

    @property
    def size_bytes(self) -> int:
        """Bytes of all blobs on disk; walks the folder at the first call."""
        if self._size_bytes is None:
            self._size_bytes = sum(path.stat().st_size for path in self.folder.glob("??/*"))
        return self._size_bytes

    def clear_unfinished(self) -> None:
        """Remove what a killed writer left half done. Only the run's writer may do this."""
        for path in (self.folder / UNFINISHED_NAME).glob(f"*{TEMPORARY_SUFFIX}"):
            self._disk.unlink(path)

    def _verified(self, ref: BlobRef) -> BinaryIO:
        path = self.path(ref)
        try:
            stored = os.fdopen(open_regular(path), "rb")
        except FileNotFoundError:
            raise JournalCorruptError(path, 0, "this blob is missing") from None
        hasher = blake3()
        while piece := stored.read(PIECE_BYTES):
            hasher.update(piece)
        if hasher.hexdigest() != ref.digest:
            stored.close()
            raise JournalCorruptError(path, 0, "this blob's bytes are not those it is named after")
        stored.seek(0)
        return stored

    # --- for BlobWriter ---------------------------------------------------------------------------

    def begin(self) -> tuple[int, Path]:
        """Return an open temporary file."""
        unfinished = self.folder / UNFINISHED_NAME
        path = unfinished / f"{os.getpid()}-{next(self._serial)}{TEMPORARY_SUFFIX}"
        try:
            self._disk.make_folder(self.folder)
            self._disk.make_folder(unfinished)
            fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444)
        except OSError as error:
            raise self.failure(error, path, 0) from error
        return fd, path

    def append(self, fd: int, path: Path, piece: bytes) -> None:
        try:
            write_whole(self._disk, fd, piece)
        except OSError as error:
            raise self.failure(error, path, len(piece)) from error

    def finish(self, fd: int, temporary: Path, ref: BlobRef, stored_bytes: int) -> None:
        """Close the file and give it its name, unless a blob of that name and length is there."""
        path = self.path(ref)
        try:
            try:
                if self.is_synced:
                    self._disk.sync(fd)
            finally:
                self._disk.close(fd)
            if _size_of(path) == stored_bytes:
                self._disk.unlink(temporary)
            else:
                self._disk.make_folder(path.parent)
                self._disk.rename(temporary, path)
                if self._size_bytes is not None:
                    self._size_bytes += stored_bytes
            if self.is_synced:  # also for one that was there: it may have been put by `fast`
                self._disk.sync_folder(path.parent)
                self._disk.sync_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                self._disk.unlink(temporary)
            raise self.failure(error, path, stored_bytes) from error

    def drop(self, fd: int, temporary: Path) -> None:
        with suppress(OSError):
            self._disk.close(fd)
        with suppress(OSError):
            self._disk.unlink(temporary)

    def failure(self, error: OSError, path: Path, wanted_bytes: int) -> JournalError:
        """Translate what the disk said; anything but "no room" poisons the journal as well."""
        if self._on_failure is not None:
            return self._on_failure(error, path, wanted_bytes)
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            return JournalFullError(path, wanted_bytes, reason)
        return JournalPoisonedError(path, reason)


class BlobWriter:
    """Writes one blob, piece by piece. As a context manager it aborts what was not committed."""

    def __init__(self, store: BlobStore, *, compress: bool) -> None:
        self._store = store
        self._codec = ZSTD if compress else RAW
        self._packer = (
            zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj() if compress else None
        )
        self._hasher = blake3()
        self._content_bytes = 0
        self._stored_bytes = 0
        self._is_open = True
        self._fd, self._path = store.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises JournalFullError when the disk is full; then only abort is left."""
        assert self._is_open, "the blob was committed or aborted"
        self._content_bytes += len(piece)
        self._store_piece(piece if self._packer is None else self._packer.compress(piece))

    def commit(self) -> BlobRef:
        """Finish the blob. On return it survives the machine's death (but in level fast)."""
        assert self._is_open, "the blob was committed or aborted"
        if self._packer is not None:
            self._store_piece(self._packer.flush())
        ref = BlobRef(self._hasher.hexdigest(), self._content_bytes, self._codec)
        self._is_open = False
        self._store.finish(self._fd, self._path, ref, self._stored_bytes)
        return ref

    def abort(self) -> None:
        """Leave nothing behind. Harmless after `commit`."""
        if self._is_open:
            self._is_open = False
            self._store.drop(self._fd, self._path)

    def _store_piece(self, piece: bytes) -> None:
        if piece:
            self._store.append(self._fd, self._path, piece)
            self._hasher.update(piece)
            self._stored_bytes += len(piece)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
