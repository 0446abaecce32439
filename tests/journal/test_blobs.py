"""Blobs: content by its digest, complete or absent, verified when read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from durable_kernel.errors import (
    JournalCorruptError,
    JournalFullError,
    JournalPoisonedError,
)
from durable_kernel.journal import BlobRef, BlobStore
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.journal.written import create

TEXT = b"the same line again and again\n" * 5000


def store(tmp_path: Path, disk: FaultyDisk | None = None) -> BlobStore:
    return BlobStore(tmp_path / "blobs", disk=disk or FaultyDisk())


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("content", [b"", b"x", TEXT, os.urandom(3 << 20)])
def test_what_was_put_is_read_again(tmp_path: Path, content: bytes, compress: bool) -> None:
    blobs = store(tmp_path)

    ref = blobs.put(content, compress=compress)

    assert blobs.read(ref) == content
    assert b"".join(blobs.pieces(ref)) == content
    with blobs.open(ref) as stream:
        assert stream.read(5) + stream.read() == content
    assert (ref.size, ref.codec) == (len(content), "zstd" if compress else "raw")


def test_a_blob_is_named_by_the_bytes_of_its_file(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    for compress in (False, True):
        ref = blobs.put(TEXT, compress=compress)

        path = tmp_path / "blobs" / ref.digest[:2] / ref.digest
        assert blobs.path(ref) == path
        assert blake3(path.read_bytes()).hexdigest() == ref.digest


def test_text_is_smaller_compressed(tmp_path: Path) -> None:
    blobs = store(tmp_path)

    ref = blobs.put(TEXT, compress=True)

    assert blobs.path(ref).stat().st_size < len(TEXT) // 20


def test_content_may_come_in_pieces(tmp_path: Path) -> None:
    """A body of a gigabyte never needs a gigabyte of memory."""
    blobs = store(tmp_path)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(TEXT), 1000):
            yield TEXT[at : at + 1000]

    assert blobs.put(pieces(), compress=False) == blobs.put(TEXT, compress=False)


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    first = blobs.put(TEXT, compress=False)
    inode = blobs.path(first).stat().st_ino

    assert blobs.put(TEXT, compress=False) == first
    assert blobs.path(first).stat().st_ino == inode
    assert len(files(tmp_path)) == 1
    assert blobs.size_bytes == len(TEXT)


def test_a_truncated_blob_is_replaced_when_its_content_is_put_again(tmp_path: Path) -> None:
    """In level fast a power cut may leave a name without its bytes."""
    blobs = store(tmp_path)
    ref = blobs.put(TEXT, compress=False)
    blobs.path(ref).chmod(0o600)
    os.truncate(blobs.path(ref), 10)

    blobs.put(TEXT, compress=False)

    assert blobs.read(ref) == TEXT


def test_damage_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    for compress in (False, True):
        ref = blobs.put(TEXT, compress=compress)
        path = blobs.path(ref)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)

        for read in (blobs.read, blobs.open, blobs.verify, lambda it: next(blobs.pieces(it))):
            with pytest.raises(JournalCorruptError, match="not those it is named after"):
                read(ref)


def test_a_missing_blob_is_refused(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    ref = blobs.put(TEXT, compress=False)
    blobs.path(ref).unlink()

    with pytest.raises(JournalCorruptError, match="missing"):
        blobs.read(ref)


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "", "AB" * 32, "a" * 63])
def test_a_digest_that_is_none_reaches_no_file(tmp_path: Path, digest: str) -> None:
    with pytest.raises(JournalCorruptError, match="not the name of a blob"):
        store(tmp_path).read(BlobRef(digest, 1, "raw"))


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    ref = blobs.put(TEXT, compress=False)

    with pytest.raises(JournalCorruptError, match="codec"):
        blobs.open(BlobRef(ref.digest, ref.size, "lz4"))


def test_a_raw_blob_named_as_compressed_is_refused(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    ref = blobs.put(TEXT, compress=False)

    with pytest.raises(JournalCorruptError, match="no zstd"):
        blobs.read(BlobRef(ref.digest, ref.size, "zstd"))


def test_an_aborted_writer_leaves_nothing(tmp_path: Path) -> None:
    blobs = store(tmp_path)

    with blobs.writer(compress=False) as writer:
        writer.write(b"half")

    assert files(tmp_path) == []


def test_what_a_killed_writer_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    blobs = store(tmp_path)
    blobs.writer(compress=False).write(b"half")

    blobs.clear_unfinished()

    assert files(tmp_path) == []


def test_every_fault_leaves_the_whole_blob_or_none(tmp_path: Path) -> None:
    """Fail the n-th disk operation for n = 1, 2 … until a run meets no fault."""
    for fault in Fault:
        for fail_at in range(1, 100):
            folder = tmp_path / f"{fault.name}-{fail_at}"
            disk = FaultyDisk(fail_at=fail_at, fault=fault)
            folder.mkdir()
            put_whatever_happens(folder, disk)
            disk.close_all()

            ref = BlobRef(blake3(TEXT).hexdigest(), len(TEXT), "raw")
            stored = [path for path in files(folder) if path.suffix != ".tmp"]
            assert stored in ([], [store(folder).path(ref)])
            if stored:
                assert store(folder).read(ref) == TEXT
            assert store(folder).put(TEXT, compress=False) == ref
            if not disk.has_failed:
                break
        else:
            pytest.fail("the loop never ended")


def put_whatever_happens(folder: Path, disk: FaultyDisk) -> None:
    with suppress(JournalFullError, JournalPoisonedError, SimulatedCrash):
        store(folder, disk).put(TEXT, compress=False)


def test_a_full_disk_takes_no_blob_and_says_so(tmp_path: Path) -> None:
    disk = FaultyDisk(room_bytes=1000)

    with pytest.raises(JournalFullError):
        store(tmp_path, disk).put(TEXT, compress=False)

    assert files(tmp_path) == []
    assert disk.room_bytes == 1000


def test_a_blob_that_cannot_be_synced_poisons_its_journal(tmp_path: Path) -> None:
    disk = FaultyDisk(fault=Fault.IO_ERROR, only=frozenset({"sync"}))
    journal = create(tmp_path / "run", disk)
    disk.fail_at = len(disk.operations) + 1

    with pytest.raises(JournalPoisonedError, match=os.strerror(errno.EIO)):
        journal.blobs.put(TEXT, compress=False)
    with pytest.raises(JournalPoisonedError):
        journal.append([(1, b"a")])

    journal.close()
