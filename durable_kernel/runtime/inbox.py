"""Inbox messages: how other processes talk to a run.

One JSON object per message, signed with the user's key; nothing in it is ever executed.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from durable_kernel.errors import JournalCorruptError, UsageError
from durable_kernel.journal import INBOX_NAME, Inbox
from durable_kernel.journal.files import read_regular
from durable_kernel.store import RunPlace, Store

__all__ = [
    "AskedResolution",
    "inbox_of",
    "parse_resolution",
    "queue_instead",
    "queue_resolution",
    "queued_resolutions",
    "read_answer",
]

ANSWER_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class AskedResolution:
    """A decision as a user gave it.

    `effect` names exactly one call ("8.0"), never "whichever it is"; `announced_ns` says of which
    announcement, since a branch may have another act of that name (0: of any).
    """

    effect: str
    choice: str
    answer: bytes | None
    announced_ns: int = 0

    def is_about(self, effect: str, announced_ns: int) -> bool:
        return self.effect == effect and self.announced_ns in (0, announced_ns)


def queue_resolution(inbox: Inbox, name: str, asked: AskedResolution) -> bool:
    """Put a decision into a run's inbox. False when a message of that name was already there."""
    answer = base64.b64encode(asked.answer).decode("ascii") if asked.answer is not None else None
    body = {
        "kind": "resolve",
        "effect": asked.effect,
        "choice": asked.choice,
        "answer": answer,
        "announced_ns": asked.announced_ns,
    }
    return inbox.put(name, json.dumps(body).encode())


def queue_instead(inbox: Inbox, name: str, asked: AskedResolution) -> list[AskedResolution]:
    """Put a decision in place of those that wait about the same announcement; return these.

    The new one is there before the old ones go: of two, a kernel takes the older.
    """
    others = [(other, parse_resolution(payload)) for other, payload in inbox.pending()]
    queue_resolution(inbox, name, asked)
    replaced = []
    for other, former in others:
        if former is not None and former.is_about(asked.effect, asked.announced_ns):
            inbox.take(other)
            replaced.append(former)
    return replaced


def read_answer(path: Path) -> bytes:
    """Read what a user supplies as an answer: a regular file, or `-` for standard input.

    Raises UsageError, also for more than 64 MB.
    """
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(ANSWER_BYTES_MAX + 1)
        else:
            content = read_regular(path.expanduser(), ANSWER_BYTES_MAX + 1)
    except JournalCorruptError as error:
        raise UsageError(f"{path}: {error.found}; an answer is a file, or - for stdin.") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None
    if len(content) > ANSWER_BYTES_MAX:
        raise UsageError(f"{path}: larger than {ANSWER_BYTES_MAX >> 20} MB: this is no answer.")
    return content


def inbox_of(store: Store, place: RunPlace) -> Inbox:
    """Return the inbox of a run. Its messages are signed with the user's key."""
    return Inbox(place.folder / INBOX_NAME, store.inbox_key(place.run_id))


def queued_resolutions(store: Store, place: RunPlace) -> list[AskedResolution]:
    """List the decisions that wait in a run's inbox: those that the user signed."""
    found = (parse_resolution(payload) for _, payload in inbox_of(store, place).pending())
    return [asked for asked in found if asked is not None]


def parse_resolution(payload: bytes) -> AskedResolution | None:
    """Read a message; None when it is not a resolution."""
    try:
        body = json.loads(payload)
        if not isinstance(body, dict) or body.get("kind") != "resolve":
            return None
        encoded = body.get("answer")
        answer = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except (ValueError, RecursionError):
        return None
    announced_ns = body.get("announced_ns")
    return AskedResolution(
        str(body.get("effect") or ""),
        str(body.get("choice")),
        answer,
        announced_ns if isinstance(announced_ns, int) else 0,
    )
