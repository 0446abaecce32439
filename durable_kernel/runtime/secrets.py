"""The secrets of one run, and what its user is told about those that stand in source code."""

from __future__ import annotations

from collections.abc import Callable

from durable_kernel.codec import KnownSecrets

__all__ = ["RunSecrets"]


class RunSecrets(KnownSecrets):
    """Knows, beside the values, which cells were written to the journal in clear.

    Args:
        key: 32 bytes, of this run alone.
        tell: gets the sentences for the user.
    """

    def __init__(self, key: bytes, tell: Callable[[str], None]) -> None:
        super().__init__(key)
        self._tell = tell
        self._sources: dict[int, str] = {}

    def register(self, name: str, value: str | bytes) -> bool:
        """Register, and look again at the cells that are in the journal already."""
        is_new = super().register(name, value)
        for position, source in list(self._sources.items()) if is_new else ():
            if self.is_in_text(source):
                del self._sources[position]
                self._tell(
                    f"cell {position}: its source holds the value of {name}, which was registered "
                    "after the source was written: it is in this run's journal in clear, readable "
                    "by you only. Take it from durable.secret(), then start anew: %durable fresh."
                )
        return is_new

    def note_source(self, position: int, source: str) -> None:
        """Take note of a cell that begins. Says so if its source holds a registered value."""
        if not self.is_in_text(source):
            self._sources[position] = source
            return
        self._tell(
            f"cell {position}: its source holds the value of a secret. The journal keeps the "
            "source encrypted and shows it redacted; the notebook's own file has it in clear. "
            "Better take it from the environment, or from durable.secret()."
        )
