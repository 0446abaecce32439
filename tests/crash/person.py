"""The person who decides about acts in doubt: looks at the other side first, and never guesses.

What was done is answered with what came back then; what was not done is tried again, or given up.
Calls that may be repeated unasked, and those whose code catches RequestInterrupted, are left alone.
"""

from __future__ import annotations

import json
import random
from urllib.parse import urlsplit

from durable_kernel.history import Announced
from durable_kernel.runtime import AskedResolution
from tests.crash.lanes import LANE_EFFECTS
from tests.crash.witness import Witness

__all__ = ["Person"]

_ASKED_ABOUT = frozenset({"post", "await", "raised", "step", *LANE_EFFECTS})
_GIVES_UP = 0.2


class Person:
    """Decides the same each time it is asked about the same effect of the same act."""

    def __init__(self, witness: Witness, draw: random.Random) -> None:
        self._witness = witness
        self._draw = draw

    def decide(self, effect: str, announced: Announced) -> AskedResolution | None:
        """Decide about an act in doubt; None when it is none of a person's business."""
        target = urlsplit(announced.label.partition(" ")[2])
        kind, _, rid = target.path.lstrip("/").partition("/")
        is_second = kind == "caught" and "again" in target.query
        if kind not in _ASKED_ABOUT and not is_second:
            return None
        answer = self._witness.answer_of(rid)
        if answer is None:
            gives_up = self._draw.random() < _GIVES_UP
            return AskedResolution(effect, "fail" if gives_up else "retry", None)
        given = answer if announced.kind == "step" else {"status": 200, "json": answer}
        return AskedResolution(effect, "answer", json.dumps(given).encode())
