"""How other processes talk to a run: RUN/inbox/, one file a message, each under its own name.

The sender chooses the name; it is the dedupe key: a name that is there, or was taken, is not put
again, so a sender that does not know whether it was heard just puts once more. A message appears
whole and durable (tmp, sync, rename). The run takes a message after it has journaled it; if it dies
in between it finds it once more, and drops it by its name.

    message file   magic 8 · digest 16 · name length u16 · name · payload
    digest         BLAKE3 (16 bytes) of everything behind it
    file name      BLAKE3 (hex of 16 bytes) of the name: any text may be a name, on any file system
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import JournalCorruptError, JournalFullError, JournalPoisonedError
from durable_kernel.journal.disk import REAL_DISK, Disk
from durable_kernel.journal.files import NO_ROOM, open_written
from durable_kernel.journal.segments import TEMPORARY_SUFFIX

MESSAGE_MAGIC = b"DKINBX1\n"
MESSAGE_HEADER = struct.Struct("<8s16sH")
DIGEST_BYTES = 16
NAME_BYTES_MAX = 0xFFFF
TAKEN_NAME = "taken"
GATE_NAME = ".gate"


class Inbox:
    """The inbox of one run, for its senders and for itself. Safe to use from several processes."""

    def __init__(self, folder: Path, *, disk: Disk = REAL_DISK) -> None:
        self.folder = folder
        self._taken = folder / TAKEN_NAME
        self._disk = disk

    def put(self, name: str, payload: bytes) -> bool:
        """Leave a message; True when it is durable, False when that name is there or was taken.

        Raises JournalFullError, JournalPoisonedError (the sync failed; put again under that name).
        """
        path = self.folder / _file_name(name)
        content = _encode(name, payload)
        try:
            self._disk.make_folder(self.folder)
            self._disk.make_folder(self._taken)
            with self._gate():
                if path.exists() or (self._taken / path.name).exists():
                    return False
                newest_ns = max((at_ns for at_ns, _ in self._messages()), default=0)
                fd = open_written(self._disk, path, [content])
                try:
                    # The order of messages, also when the wall clock was set back.
                    if os.fstat(fd).st_mtime_ns <= newest_ns:
                        os.utime(fd, ns=(newest_ns + 1, newest_ns + 1))
                finally:
                    self._disk.close(fd)
                self._disk.sync_folder(self.folder)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in NO_ROOM:
                raise JournalFullError(path, len(content), reason) from error
            raise JournalPoisonedError(path, reason) from error
        return True

    def pending(self) -> list[tuple[str, bytes]]:
        """Return (name, payload) of the messages not taken yet, oldest first.

        Raises JournalCorruptError for a message that is damaged.
        """
        return [_decode(path) for _, path in sorted(self._messages())]

    def take(self, name: str) -> None:
        """Put the message away. Its name stays taken for ever. Harmless when done already."""
        path = self.folder / _file_name(name)
        if not path.exists():
            return
        self._disk.rename(path, self._taken / path.name)
        self._disk.sync_folder(self._taken)
        self._disk.sync_folder(self.folder)

    def _messages(self) -> list[tuple[int, Path]]:
        """Return (time of arrival in ns, path) of each pending message."""
        if not self.folder.is_dir():
            return []
        return [
            (path.stat().st_mtime_ns, path)
            for path in self.folder.iterdir()
            if path.is_file() and path.name != GATE_NAME and path.suffix != TEMPORARY_SUFFIX
        ]

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Let one sender in at a time: looking for the name and taking it must be one step."""
        fd = os.open(self.folder / GATE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _file_name(name: str) -> str:
    return blake3(name.encode()).hexdigest(length=DIGEST_BYTES)


def _encode(name: str, payload: bytes) -> bytes:
    raw = name.encode()
    if not raw or len(raw) > NAME_BYTES_MAX:
        raise ValueError(f"a message's name has 1 to {NAME_BYTES_MAX} bytes, not {len(raw)}")
    body = struct.pack("<H", len(raw)) + raw + payload
    return MESSAGE_MAGIC + blake3(body).digest(length=DIGEST_BYTES) + body


def _decode(path: Path) -> tuple[str, bytes]:
    content = path.read_bytes()
    if len(content) >= MESSAGE_HEADER.size:
        magic, digest, name_bytes = MESSAGE_HEADER.unpack_from(content)
        body = content[len(MESSAGE_MAGIC) + DIGEST_BYTES :]
        if magic == MESSAGE_MAGIC and digest == blake3(body).digest(length=DIGEST_BYTES):
            name = body[2 : 2 + name_bytes].decode()
            if _file_name(name) == path.name:
                return name, body[2 + name_bytes :]
    raise JournalCorruptError(path, 0, "a damaged message")
