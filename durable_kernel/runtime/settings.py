"""Settings: what a user decides about a run.

Read once from the environment, or given by a front end.

The names are public contract (DESIGN §18). An unknown value is a UsageError that names the
variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from durable_kernel.errors import UsageError
from durable_kernel.journal import Level
from durable_kernel.replay import InDoubtPolicy

__all__ = ["Resume", "Settings"]

_T = TypeVar("_T", bound=StrEnum)


class Resume(StrEnum):
    """Replay right after the start, or compare each request with the next recorded position."""

    EAGER = "eager"
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings.

    `redo` allows tainted and inexact positions to be executed again; `repeat_acts` allows a branch
    that leaves acts behind. Both are explicit decisions of a user, never defaults.
    """

    run: str | None = None
    home: Path | None = None
    level: Level = Level.DEFAULT
    in_doubt: InDoubtPolicy = InDoubtPolicy.ASK
    resume: Resume = Resume.EAGER
    redo: bool = False
    repeat_acts: bool = False
    replay_ask_s: float = 600.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read `DURABLE_*`. Raises UsageError for a value that has no meaning."""
        home = environ.get("DURABLE_HOME")
        return cls(
            run=environ.get("DURABLE_RUN") or None,
            home=Path(home) if home else None,
            level=_choice(environ, "DURABLE_DURABILITY", Level, Level.DEFAULT),
            in_doubt=_choice(environ, "DURABLE_IN_DOUBT", InDoubtPolicy, InDoubtPolicy.ASK),
            resume=_choice(environ, "DURABLE_RESUME", Resume, Resume.EAGER),
            redo=environ.get("DURABLE_REDO", "") in {"1", "true", "yes"},
            repeat_acts=environ.get("DURABLE_REPEAT_ACTS", "") in {"1", "true", "yes"},
        )


def _choice(environ: Mapping[str, str], name: str, kind: type[_T], default: _T) -> _T:
    given = environ.get(name)
    if not given:
        return default
    try:
        return kind(given)
    except ValueError:
        allowed = ", ".join(each.value for each in kind)
        raise UsageError(f"{name}={given!r} has no meaning; it is one of {allowed}.") from None
