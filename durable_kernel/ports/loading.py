"""Loading: how an effect asks for the source of code that is about to be executed (H25)."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Sources"]


class Sources(Protocol):
    """Keeps the source of modules and scripts that belong to the user's project."""

    def load(self, name: str, path: str, on_disk: bytes | None) -> bytes | None:
        """Return the source to execute, as recorded or as it stands; it is recorded then.

        `on_disk` is what the file holds now, None where it can't be read. None: nobody records,
        so whoever asks goes on as if nobody had asked.
        """

    def path_of(self, name: str) -> str | None:
        """Return the path from which a replaying position loaded a module; None: it did not."""
