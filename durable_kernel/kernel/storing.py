"""Storing: %store keeps variables on a shelf that all notebooks of a user share.

IPython makes the shelf when somebody asks for it, older versions when they start; ours takes its
place in both. Bookmarks and the completer's caches are on it, too, and are none of the notebook's.
"""

from __future__ import annotations

from typing import Any

from durable_kernel.effects.shelves import RecordedShelf

__all__ = ["record_shelf"]

_OF_STORE = frozenset({"autorestore", "dhist", "stored_aliases"})


def record_shelf(shell: Any) -> None:
    """Let %store ask the journal."""
    lazy = getattr(type(shell), "db", None)
    if not isinstance(lazy, property) or lazy.fget is None:
        stock = shell.db
        shell.db = RecordedShelf(lambda: stock, _OF_STORE)
        return
    read = lazy.fget

    def open_shelf() -> Any:
        ours, shell._db = shell._db, None
        try:
            return read(shell)
        finally:
            shell._db = ours

    shell._db = RecordedShelf(open_shelf, _OF_STORE)
