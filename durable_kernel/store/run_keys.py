"""The keys of single runs, derived from the user's one.

What was copied into a fork was sealed and hidden with its parent's: these two stay those of the
first run of a line. Frames and messages have the run's own.
"""

from __future__ import annotations

from pathlib import Path

from durable_kernel.store.keys import FRAMES, INBOX, REDACTED, SEALED, Keys
from durable_kernel.store.shelf import Shelf

__all__ = ["RunKeys"]


class RunKeys:
    """What a store knows of keys."""

    _keys: Keys
    _shelf: Shelf

    @property
    def key_path(self) -> Path:
        """The key file: DURABLE_KEY_FILE, else `key` in the store. Absolute."""
        return self._keys.path

    def user_key(self) -> bytes:
        """Return the user's 32 bytes, created on first use. Raises UsageError: see `keys.py`."""
        return self._keys.user_key()

    def run_key(self, run_id: str) -> bytes:
        """Return the 32 bytes that a journal takes as its `key`."""
        return self._keys.derive(FRAMES, run_id)

    def seal_key(self, run_id: str) -> bytes:
        """Return the 32 bytes that encrypt the sealed answers of one run."""
        return self._keys.derive(SEALED, self._secrets_of(run_id))

    def inbox_key(self, run_id: str) -> bytes | None:
        """Return the 32 bytes that sign messages to one run; None while the user has no key."""
        return self._keys.derive(INBOX, run_id) if self._keys.exist() else None

    def redaction_key(self, run_id: str) -> bytes:
        """Return the 32 bytes that hide request secrets: one looks the same in all of a run."""
        return self._keys.derive(REDACTED, self._secrets_of(run_id))

    def _secrets_of(self, run_id: str) -> str:
        """Return the run whose secrets' keys count: in a fork, those of what was copied."""
        place = self._shelf.look(run_id) if self._shelf.holds(run_id) else None
        return (place.meta.secrets_of if place else None) or run_id
