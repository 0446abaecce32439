"""Keys: one secret of 32 bytes for each user, and what is derived from it.

The key says "these bytes are mine". Losing it makes one's own runs foreign (`durable trust` takes
them back); giving it away lets others write runs that are executed as one's own. So a key file that
others can read is refused. Each use gets its own key, derived with its own context, so that no two
uses can be played against each other.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from durable_kernel.errors import JournalCorruptError, UsageError
from durable_kernel.journal import Disk
from durable_kernel.journal.files import open_regular
from durable_kernel.store.files import create_file, make_private_folder

KEY_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_READ_BYTES_MAX = 4 * KEY_BYTES
_KEY_ID_BYTES = 8
_LENGTH = struct.Struct("<I")

FRAMES = "durable_kernel store 1: key of a run's frames"
SEALED = "durable_kernel store 1: key of a run's sealed values"
REDACTED = "durable_kernel store 1: key of redacted request secrets"
INBOX = "durable_kernel store 1: signature of a run's inbox messages"
KEY_ID = "durable_kernel store 1: name of a user's key"
META = "durable_kernel store 1: signature of META"
TRUST = "durable_kernel store 1: signature of TRUST"


class Keys:
    """One user's key and those derived from it. The file is read once."""

    def __init__(self, path: Path, entropy: Callable[[int], bytes], disk: Disk) -> None:
        self.path = path
        self._entropy = entropy
        self._disk = disk
        self._user_key: bytes | None = None
        self.was_made_now = False

    def __repr__(self) -> str:
        return f"<Keys of {self.path}>"  # never the bytes: reprs reach tracebacks

    def exist(self) -> bool:
        """Tell whether there is a key, without creating one."""
        return self._user_key is not None or self.path.exists()

    def user_key(self) -> bytes:
        """Return the user's 32 bytes, created on first use. Raises UsageError: see `read_key`."""
        if self._user_key is None:
            was_there = self.path.exists()
            self._user_key = read_or_create_key(self.path, self._entropy, self._disk)
            self.was_made_now = not was_there
        return self._user_key

    def key_id(self) -> str:
        """Return a short name of the key, which may be shown: 16 hex digits derived from it."""
        return self.derive(KEY_ID)[:_KEY_ID_BYTES].hex()

    def derive(self, context: str, run_id: str = "") -> bytes:
        """Return 32 bytes for one use (`context`, a constant of this file) in one run."""
        user_key = self.user_key()
        material = _LENGTH.pack(len(user_key)) + user_key + run_id.encode()
        return blake3(material, derive_key_context=context).digest()


def read_key(path: Path) -> bytes:
    """Return the key in a file: 32 bytes, or 64 hex digits as a mounted secret may carry them.

    Raises FileNotFoundError; UsageError when others can read it or it holds something else.
    """
    try:
        with open(open_regular(path), "rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            raw = file.read(_READ_BYTES_MAX)
    except FileNotFoundError:
        raise
    except JournalCorruptError as error:
        raise UsageError(f"the key file {path} cannot be read ({error.found}).") from error
    except OSError as error:
        raise UsageError(
            f"the key file {path} cannot be read ({error.strerror}). It has to be a file that this "
            "user can read: mode 0600, or 0400."
        ) from error
    if len(raw) == KEY_BYTES:
        return raw
    try:
        key = bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"the key file {path} holds {len(raw)} bytes; a key has {KEY_BYTES}, or "
            f"{2 * KEY_BYTES} hex digits. Restore it from a backup. Without it your runs so far "
            "count as foreign until `durable trust`; if there is no backup, delete the file, and a "
            "new key is made."
        )
    return key


def read_or_create_key(path: Path, entropy: Callable[[int], bytes], disk: Disk) -> bytes:
    """Return the key in a file, created with mode 0600 if missing. Of two creators one wins."""
    try:
        return read_key(path)
    except FileNotFoundError:
        try:
            make_private_folder(path.parent, disk)
            create_file(path, entropy(KEY_BYTES), disk)
        except UsageError as error:
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
            raise UsageError(
                f"there is no key file {path}, and none can be made there ({reason}). Make the "
                "folder writable, or set DURABLE_KEY_FILE to a file of 32 random bytes."
            ) from error
        return read_key(path)


def _check_private(path: Path, found: os.stat_result) -> None:
    is_mounted_secret = found.st_uid == 0 and os.geteuid() != 0
    # A secret mounted into a container belongs to root and reaches its user through a group.
    forbidden = _OTHERS & ~stat.S_IRGRP if is_mounted_secret else _OTHERS
    if found.st_mode & forbidden:
        raise UsageError(
            f"the key file {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): who "
            f"reads it can write runs that are executed as yours. `chmod 600 {path}` (mount a "
            "secret with mode 0400), or delete it if others may have read it, and trust your runs "
            "anew."
        )
    if found.st_uid not in {os.geteuid(), 0}:
        raise UsageError(
            f"the key file {path} belongs to another user (uid {found.st_uid}). Set "
            "DURABLE_KEY_FILE to a file of your own."
        )
