"""Watching: which parts of a live answer are sealed on their way to disk (H18).

Sealing is invisible to replay, so it is done wherever a secret may stand: from the first hit on all
that follows, and a part that ends where a registered value may have begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durable_kernel.codec import KnownSecrets
from durable_kernel.effects.http_answers import AnswerGuard
from durable_kernel.ports import Guard

__all__ = ["Watch"]


class Watch:
    """Watches one answer. Sees what is written of it, in order, as it is written.

    Args:
        label: of its call.
        head: None: the answer has none, and only registered values are looked for.
        is_sealed: parts of it were sealed before.
    """

    def __init__(
        self, secrets: KnownSecrets, label: str, head: Any, *, is_sealed: bool = False
    ) -> None:
        self.is_sealed = is_sealed
        self._secrets = secrets
        self._guard = _guard_of(label, head)
        self._tail = b""

    def must_seal(self, content: bytes) -> bool:
        """Tell whether these parts are to be sealed."""
        plain = content if self._guard is None else self._guard.look(content)
        if plain is None:
            self.is_sealed = True
        if self.is_sealed or plain is None or not self._secrets.is_armed:
            return self.is_sealed
        text = self._tail + plain
        self._tail = text[-self._secrets.longest :]
        self.is_sealed = self._secrets.is_in(text)
        return self.is_sealed or self._secrets.may_begin_in(text)

    def register(self) -> list[tuple[str, str]]:
        """Register what the answer told so far that is secret; return names and values."""
        found = list(dict.fromkeys(self._guard.found())) if self._guard is not None else []
        for name, value in found:
            self._secrets.register(name, value)
        return found


def _guard_of(label: str, head: Any) -> Guard | None:
    is_http = isinstance(head, Mapping) and "http_version" in head
    return AnswerGuard(label, head) if is_http else None
