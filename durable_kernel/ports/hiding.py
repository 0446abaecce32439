"""Hiding: how effects keep secrets off the disk (H18).

of a request    `Secrets.hide` and `body_digest` stand in for what it sends: the code that runs
                again rebuilds it. They are keyed.
of an answer    replay must serve them, so they are sealed: a `words.Secret` in a head or a
                value; parts of a stream by what a `Guard` says of them.
of anything     registered values are looked for in whatever is written (`Secrets.register`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Protocol

__all__ = ["SECRETS", "BodyHash", "Guard", "Secrets"]


class BodyHash(Protocol):
    """Hashes a request body that comes in pieces."""

    def update(self, piece: bytes) -> None: ...

    def hexdigest(self) -> str:
        """Return the digest of what came so far; "" if nothing came."""


class Secrets(Protocol):
    """Stand-ins for secrets of requests, keyed for one run, and the values known to be secret."""

    def hide(self, value: bytes) -> str:
        """Stand in for a secret: equal ones look equal within the run."""

    def body_digest(self, body: bytes) -> str:
        """Hash a request body; registered values count as their names. "" of an empty one."""

    def body_hash(self) -> BodyHash:
        """Hash a body that comes in pieces; the result is that of `body_digest`."""

    def redact_text(self, text: str) -> str:
        """Replace registered values by `‹secret NAME›`."""

    def register(self, name: str, value: str | bytes) -> bool:
        """Look for this value in all that is written from now on. False: too short, or known."""

    def note_variable(self, name: str, value: str) -> None:
        """Register what is secret in a variable of the environment."""


class Guard(Protocol):
    """Looks at an answer on its way to disk. Made by the effect that asked, of the answer's head.

    Sees the parts in order, joined as they are written; how they are cut depends on when.
    """

    def look(self, content: bytes) -> bytes | None:
        """Return what the next parts say in plain (decoded); None: they are secret, so seal them.

        Once None, always None.
        """

    def found(self) -> Iterable[tuple[str, str]]:
        """Return names and values of the secrets that were seen so far: they become registered."""


SECRETS: ContextVar[Secrets | None] = ContextVar("durable_secrets", default=None)
"""Those of the run whose cell this is. Set around a cell, so it has them inside effects too."""
