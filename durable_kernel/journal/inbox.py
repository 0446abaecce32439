"""How other processes talk to a run: RUN/inbox/, one file a message, each under its own name.

The sender chooses the name; it is the dedupe key: a name that is there, or was taken, is not put
again, so a sender that does not know whether it was heard just puts once more. A message appears
whole and durable (tmp, sync, rename). The run takes a message after it has journaled it; if it dies
in between it finds it once more, and drops it by its name.

A message is believed if its tag is right: whoever can write the folder could leave one otherwise.
One that is damaged, or not signed, is never handed out and hides no other; the run puts it aside.

    message file   magic 8 · digest 16 · tag 16 · name length u16 · name · payload
    digest         BLAKE3 (16 bytes) of everything behind it: tells damage
    tag            keyed BLAKE3 (16 bytes) of everything behind it, with the inbox key of the run
    file name      BLAKE3 (hex of 16 bytes) of the name: any text may be a name, on any file system
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hmac import compare_digest
from itertools import count
from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import JournalCorruptError, JournalFullError, JournalPoisonedError
from durable_kernel.journal.disk import REAL_DISK, Disk
from durable_kernel.journal.files import NO_ROOM, open_written, read_regular
from durable_kernel.journal.segments import TEMPORARY_SUFFIX

MESSAGE_MAGIC = b"DKINBX2\n"
MESSAGE_HEADER = struct.Struct("<8s16s16sH")
MESSAGE_BYTES_MAX = 128 << 20
DIGEST_BYTES = 16
NAME_BYTES_MAX = 0xFFFF
TAKEN_NAME = "taken"
REFUSED_SUFFIX = ".refused"
GATE_NAME = ".gate"
_OTHER_NAMES = frozenset({TAKEN_NAME, GATE_NAME})
_OTHER_SUFFIXES = frozenset({TEMPORARY_SUFFIX, REFUSED_SUFFIX})
_NAME_LENGTH = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A file in the inbox that is not used. `why` is a clause."""

    path: Path
    why: str


class Inbox:
    """The inbox of one run, for its senders and for itself. Safe to use from several processes.

    Args:
        key: 32 bytes, of this run alone; None: nothing can be sent, and no message is believed.
    """

    def __init__(self, folder: Path, key: bytes | None, *, disk: Disk = REAL_DISK) -> None:
        self.folder = folder
        self._key = key
        self._taken = folder / TAKEN_NAME
        self._disk = disk

    def put(self, name: str, payload: bytes) -> bool:
        """Leave a message; True when it is durable, False when that name is there or was taken.

        Raises JournalFullError, JournalPoisonedError (the sync failed; put again under that name).
        """
        assert self._key is not None, "who has no key can only look"
        path = self.folder / _file_name(name)
        content = _encode(name, payload, self._key)
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

        Those that `refused` lists are left out.
        """
        return [each for each in self._look() if not isinstance(each, RefusedMessage)]

    def refused(self) -> list[RefusedMessage]:
        """Return the messages that are damaged or not signed with the key; nothing is changed."""
        return [each for each in self._look() if isinstance(each, RefusedMessage)]

    def put_aside(self, message: RefusedMessage) -> Path:
        """Rename a refused message, so that it is not looked at again. Nothing is deleted."""
        aside = message.path.with_name(message.path.name + REFUSED_SUFFIX)
        for number in count(2):
            if not os.path.lexists(aside):
                break
            aside = message.path.with_name(f"{message.path.name}-{number}{REFUSED_SUFFIX}")
        self._disk.rename(message.path, aside)
        self._disk.sync_folder(self.folder)
        return aside

    def take(self, name: str) -> None:
        """Put the message away. Its name stays taken for ever. Harmless when done already."""
        path = self.folder / _file_name(name)
        try:
            self._disk.rename(path, self._taken / path.name)
        except FileNotFoundError:  # taken before, or by another lane in this moment
            return
        self._disk.sync_folder(self._taken)
        self._disk.sync_folder(self.folder)

    def _look(self) -> Iterator[tuple[str, bytes] | RefusedMessage]:
        for _, path in sorted(self._messages()):
            with suppress(FileNotFoundError):  # taken meanwhile
                yield self._read(path)

    def _read(self, path: Path) -> tuple[str, bytes] | RefusedMessage:
        try:
            content = read_regular(path, MESSAGE_BYTES_MAX + 1)
        except JournalCorruptError as error:
            return RefusedMessage(path, error.found)
        except FileNotFoundError:
            raise
        except OSError as error:
            return RefusedMessage(path, f"it can't be read ({error.strerror})")
        if len(content) > MESSAGE_BYTES_MAX:
            return RefusedMessage(path, f"it is larger than {MESSAGE_BYTES_MAX >> 20} MB")
        return _decode(path, content, self._key)

    def _messages(self) -> list[tuple[int, Path]]:
        """Return (time of arrival in ns, path) of each pending message."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in self.folder.iterdir():
            if path.name in _OTHER_NAMES or path.suffix in _OTHER_SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # taken meanwhile
                found.append((path.lstat().st_mtime_ns, path))
        return found

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


def _encode(name: str, payload: bytes, key: bytes) -> bytes:
    raw = name.encode()
    if not raw or len(raw) > NAME_BYTES_MAX:
        raise ValueError(f"a message's name has 1 to {NAME_BYTES_MAX} bytes, not {len(raw)}")
    signed = _NAME_LENGTH.pack(len(raw)) + raw + payload
    body = blake3(signed, key=key).digest(length=DIGEST_BYTES) + signed
    return MESSAGE_MAGIC + blake3(body).digest(length=DIGEST_BYTES) + body


def _decode(path: Path, content: bytes, key: bytes | None) -> tuple[str, bytes] | RefusedMessage:
    damaged = RefusedMessage(path, "it is damaged")
    if len(content) < MESSAGE_HEADER.size:
        return damaged
    magic, digest, tag, name_bytes = MESSAGE_HEADER.unpack_from(content)
    body = content[len(MESSAGE_MAGIC) + DIGEST_BYTES :]
    if magic != MESSAGE_MAGIC or digest != blake3(body).digest(length=DIGEST_BYTES):
        return damaged
    signed = body[DIGEST_BYTES:]
    if key is None or not compare_digest(tag, blake3(signed, key=key).digest(length=DIGEST_BYTES)):
        return RefusedMessage(path, "it was not signed with your key")
    name = signed[_NAME_LENGTH.size :][:name_bytes].decode()
    if _file_name(name) != path.name:
        return RefusedMessage(path, "it has the name of another message")
    return name, signed[_NAME_LENGTH.size + name_bytes :]
