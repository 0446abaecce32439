"""What the tests of the command line share: what a command said, and how one is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Durable", "Said"]


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    out: str
    err: str
    code: int

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Durable = Callable[..., Said]
"""Runs the command line as the console script does."""
