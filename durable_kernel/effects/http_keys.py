"""Idempotency-Keys from the journal position, for hosts that the user listed.

The key is made of `step.idempotency_key`, the same whenever the same place of the notebook is
executed, and of the identity of the call: in an edited cell another order may stand at that place.
It is on the wire alone, and not part of that identity: a run does not diverge because a setting
changed. What the announcement of a call says counts later.

    details["injected_key"]   True: this call's own key; a text: the key of an earlier attempt

A library or a loop that sends the same request once more, because nothing final came back, begins
another call. It bears the key of the first one, and so does one that follows a redirect. Knows no
library.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from durable_kernel.effects.http_repeat import takes_key
from durable_kernel.ports import Call, Lane, Step

__all__ = ["HEADER", "Keyed", "key_of", "keyed", "planned_key"]

HEADER = "Idempotency-Key"
_DETAIL = "injected_key"
_REDIRECTS = frozenset({307, 308})
_UNDECIDED = frozenset({408, 409, 425, 429, *_REDIRECTS})
_SERVER_ERROR = 500


@dataclass(slots=True)
class Keyed:
    """One attempt with an injected key. `url` None: the next one goes where it was sent on to."""

    lane: Lane
    method: str
    url: str | None
    body: str
    key: str
    is_decided: bool = False

    def note_head(self, head: Mapping[str, Any]) -> None:
        """Take note of what came back."""
        status = head["status"]
        self.is_decided = status < _SERVER_ERROR and status not in _UNDECIDED
        if status in _REDIRECTS:
            self.url = None

    def is_repeated_by(self, lane: Lane, method: str, url: str, body: str) -> bool:
        return (
            not self.is_decided
            and self.lane is lane
            and (self.method, self.body) == (method, body)
            and self.url in (None, url)
        )


_LAST: ContextVar[Keyed | None] = ContextVar("durable_last_keyed", default=None)
"""The last attempt of this line of control. The object is shared with copied contexts."""


def planned_key(lane: Lane, method: str, url: str, identity: Mapping[str, Any]) -> str | bool:
    """Say, before a call is announced, which key it will bear: see above. False: none."""
    if not takes_key(method, url, lane.port.hosts):
        return False
    last = _LAST.get()
    if last is not None and last.is_repeated_by(lane, method, identity["url"], identity["body"]):
        return last.key
    return True


def key_of(place: str, identity: Mapping[str, Any]) -> str:
    """Return the key of a call with that identity, at a place that has that key: 32 hex digits."""
    parts = (place, identity["method"], identity["url"], identity["body"])
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def keyed(lane: Lane, call: Call, step: Step) -> Keyed | None:
    """Return the key that a begun call bears on the wire, None for most calls.

    A call that is made again bears what its announcement says, whatever the settings say now.
    """
    planned = call.details.get(_DETAIL)
    if step.repeats is not None:
        planned = step.repeats.get(_DETAIL) or planned
    if not planned:
        return None
    names = call.identity
    key = planned if isinstance(planned, str) else key_of(step.idempotency_key, names)
    found = Keyed(lane, names["method"], names["url"], names["body"], key)
    if step.head is not None:
        found.note_head(step.head)
    _LAST.set(found)
    return found
