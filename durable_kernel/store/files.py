"""Files of the store: small, private, replaced as a whole, and signed where they matter.

A signed file is

    msgpack map · tag 32 · crc u32

where the tag is a keyed BLAKE3 over the map's bytes and the crc32 (little-endian) covers all before
it. Anybody can read the map; the crc shows damage, the tag shows another hand. Every change of the
disk goes through the journal's `Disk`, so that tests can fail each of them.

This file knows no run: it is told paths and keys.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hmac import compare_digest
from itertools import count
from os import urandom as _entropy  # bound before any hook
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
from blake3 import blake3

from durable_kernel.errors import (
    JournalCorruptError,
    JournalFullError,
    JournalPoisonedError,
    UsageError,
)
from durable_kernel.journal import Disk

TAG_BYTES = 32
_CRC = struct.Struct("<I")
_TRAILER_BYTES = TAG_BYTES + _CRC.size
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_ON_PATHS = "surrogateescape"  # file names need not be text


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file's map, and what vouches for it."""

    fields: Mapping[str, Any]
    body: bytes
    tag: bytes

    def is_signed_with(self, key: bytes) -> bool:
        return compare_digest(blake3(self.body, key=key).digest(), self.tag)


def encode_signed(fields: Mapping[str, Any], key: bytes) -> bytes:
    """Return the bytes of a signed file.

    Raises TypeError, ValueError, OverflowError for values that msgpack does not carry.
    """
    body: bytes = msgpack.packb(dict(fields), use_bin_type=True, unicode_errors=_ON_PATHS)
    signed = body + blake3(body, key=key).digest()
    return signed + _CRC.pack(crc32(signed))


def decode_signed(path: Path, raw: bytes, advice: str) -> SignedFile:
    """Read a signed file's bytes; the signature is not checked.

    Raises JournalCorruptError with this advice.
    """
    body_bytes = len(raw) - _TRAILER_BYTES
    if body_bytes <= 0 or crc32(raw[: -_CRC.size]) != _CRC.unpack(raw[-_CRC.size :])[0]:
        found = "the file was damaged or altered (its checksum differs)"
        raise JournalCorruptError(path, 0, found, advice)
    body = raw[:body_bytes]
    try:
        fields = msgpack.unpackb(body, strict_map_key=False, unicode_errors=_ON_PATHS)
    except ValueError as error:
        raise JournalCorruptError(path, 0, f"not a msgpack map ({error})", advice) from error
    if not isinstance(fields, dict):
        raise JournalCorruptError(path, 0, f"a {type(fields).__name__} instead of a map", advice)
    return SignedFile(fields, body, raw[body_bytes : -_CRC.size])


# --- changes of the disk -------------------------------------------------------------------------


@contextmanager
def explained(path: Path, wanted_bytes: int = 0) -> Generator[None]:
    """Turn what the system says about a change of the disk into errors that a user can act on."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise JournalFullError(path, wanted_bytes, reason) from error
        if error.errno == errno.EIO:
            raise JournalPoisonedError(path, reason) from error
        raise UsageError(
            f"{path} cannot be written ({reason}). Runs are kept below DURABLE_HOME: make that "
            "folder writable, or set DURABLE_HOME to one that you can write to."
        ) from error


def make_private_folder(path: Path, disk: Disk) -> None:
    """Make a folder that only its owner enters, and those above it where missing."""
    with explained(path):
        if path.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.make_folder(path)
        disk.sync_folder(path.parent)


def remove_tree(folder: Path, disk: Disk) -> None:
    """Remove a folder and all in it. Raises OSError; what is left then is removed the next time."""
    with os.scandir(folder) as entries:
        found = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for path, is_folder in found:
        with suppress(FileNotFoundError):  # somebody else removes it, too
            if is_folder:
                remove_tree(path, disk)
            else:
                disk.unlink(path)
    disk.remove_folder(folder)


def replace_file(path: Path, content: bytes, disk: Disk) -> None:
    """Put `content` in the place of a file, whole or not at all; durable on return. Mode 0600."""
    with explained(path, len(content)), temporary_beside(path, content, disk) as temporary:
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)


def create_file(path: Path, content: bytes, disk: Disk) -> bool:
    """Create a file whole or not at all. Return False, changing nothing, when it is there."""
    with explained(path, len(content)), temporary_beside(path, content, disk) as temporary:
        try:
            os.link(temporary, path)  # the one way to appear complete and never replace another
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}:
                raise
            try:
                write_new(path, content, disk)  # no hard links here: exclusive, not atomic
            except FileExistsError:
                return False
        disk.sync_folder(path.parent)
        return True


@contextmanager
def temporary_beside(path: Path, content: bytes, disk: Disk) -> Generator[Path]:
    """Write a synced temporary file beside `path`; what is left of it on exit is removed."""
    temporary = path.with_name(f".{path.name}.{_entropy(6).hex()}.tmp")
    try:
        write_new(temporary, content, disk)
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            disk.unlink(temporary)


def write_new(path: Path, content: bytes, disk: Disk) -> None:
    """Create a file that was not there and sync its content; one cut short is removed again."""
    fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[disk.write(fd, bytes(rest)) :]
        disk.sync(fd)
    except BaseException:
        with suppress(FileNotFoundError):
            disk.unlink(path)
        raise
    finally:
        disk.close(fd)


@contextmanager
def held_lock(path: Path) -> Generator[None]:
    """Hold an exclusive lock on a file, waiting for it; for read-modify-write of small files."""
    with explained(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def first_free(stem: str, is_taken: Mapping[str, object] | set[str]) -> str:
    """Return `stem-2`, `stem-3` …: the first that is not taken."""
    return next(name for n in count(2) if (name := f"{stem}-{n}") not in is_taken)
