"""Inbox messages: how other processes talk to a run.

One JSON object per message; nothing in it is ever executed.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from durable_kernel.journal import INBOX_NAME, Inbox

__all__ = [
    "AskedResolution",
    "inbox_of",
    "parse_resolution",
    "queue_resolution",
    "queued_resolutions",
]


@dataclass(frozen=True, slots=True)
class AskedResolution:
    """A decision as a user gave it.

    `effect` names exactly one call ("8.0"), never "whichever it is".
    """

    effect: str
    choice: str
    answer: bytes | None


def queue_resolution(inbox: Inbox, name: str, asked: AskedResolution) -> bool:
    """Put a decision into a run's inbox. False when a message of that name was already there."""
    answer = base64.b64encode(asked.answer).decode("ascii") if asked.answer is not None else None
    body = {"kind": "resolve", "effect": asked.effect, "choice": asked.choice, "answer": answer}
    return inbox.put(name, json.dumps(body).encode())


def inbox_of(folder: Path) -> Inbox:
    """Return the inbox of the run in `folder`."""
    return Inbox(folder / INBOX_NAME)


def queued_resolutions(folder: Path) -> list[AskedResolution]:
    """List the decisions that wait in a run's inbox."""
    found = (parse_resolution(payload) for _, payload in inbox_of(folder).pending())
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
    return AskedResolution(str(body.get("effect") or ""), str(body.get("choice")), answer)
