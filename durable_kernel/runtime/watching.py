"""Watching: which parts of a live answer are sealed on their way to disk (H18).

Sealing is invisible to replay, so it is done wherever a secret may stand: from the first hit on all
that follows, and a part that ends where a registered value may have begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durable_kernel.codec import KnownSecrets
from durable_kernel.effects.http_answers import AnswerGuard, is_harmless
from durable_kernel.ports import Guard, Secret
from durable_kernel.runtime.steps import LiveStep

__all__ = ["Watch", "Watching", "must_watch", "register_answer"]


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


class Watching:
    """The watches of all live answers of a run. Not locked: the port is.

    Most answers are short, plain and harmless: for those no watch is made.
    """

    def __init__(self, secrets: KnownSecrets) -> None:
        self._secrets = secrets
        self._heads: dict[LiveStep, Any] = {}
        self._seen: dict[LiveStep, bytes] = {}
        self._watches: dict[LiveStep, Watch] = {}

    def begin(self, step: LiveStep, head: Any, *, has_secrets: bool) -> None:
        """Take note of a head. What it holds that is secret becomes registered at once."""
        self._heads[step] = head
        if has_secrets:
            self._make(step).register()

    def must_seal(self, step: LiveStep, content: bytes) -> bool:
        """Tell whether the next parts of an answer are to be sealed."""
        watch = self._watches.get(step)
        if watch is None:
            is_first = step in self._heads and step not in self._seen
            if is_first and is_harmless(step.label, content) and not self._is_known(content):
                self._seen[step] = content
                return False
            watch = self._make(step)
        return watch.must_seal(content)

    def end(self, step: LiveStep) -> list[tuple[str, str]]:
        """Forget an answer. Returns names and values of what it told that is secret."""
        self._heads.pop(step, None)
        self._seen.pop(step, None)
        watch = self._watches.pop(step, None)
        return watch.register() if watch is not None else []

    def _is_known(self, content: bytes) -> bool:
        known = self._secrets
        return known.is_armed and (known.is_in(content) or known.may_begin_in(content))

    def _make(self, step: LiveStep) -> Watch:
        """Make a watch that has seen what was recorded before: of a repeated call, or unwatched."""
        head = self._heads.get(step, step.head)
        are_sealed = getattr(step.parts, "are_sealed", False)
        watch = Watch(self._secrets, step.label, head, is_sealed=are_sealed)
        for part in (*step.parts, self._seen.pop(step, b"")):
            if part:
                watch.must_seal(part)
        self._watches[step] = watch
        return watch


def must_watch(secrets: KnownSecrets, label: str, head: Any, content: bytes) -> bool:
    """Tell whether a whole answer holds something to seal, or that becomes registered.

    Values that are registered by now are not looked for: the caller does that.
    """
    if head is None or is_harmless(label, content):
        return False
    watch = Watch(secrets, label, head)
    return watch.must_seal(content) or bool(watch.register())


def register_answer(secrets: KnownSecrets, label: str, value: Any) -> None:
    """Register what is secret in an answer that a user gave: it has its head and body in it."""
    if not isinstance(value, Mapping) or "head" not in value:
        return
    watch = Watch(secrets, label, value["head"])
    body = value.get("body")
    content = body.value if isinstance(body, Secret) else body
    if isinstance(content, bytes) and content:
        watch.must_seal(content)
    watch.register()


def _guard_of(label: str, head: Any) -> Guard | None:
    is_http = isinstance(head, Mapping) and "http_version" in head
    return AnswerGuard(label, head) if is_http else None
