"""Settings: what a user decides about a run.

Read once from the environment, or given by a front end.

The names are public contract (DESIGN §18). An unknown value is a UsageError that names the
variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from durable_kernel.errors import UsageError
from durable_kernel.journal import Level
from durable_kernel.ports import ANY_CALL, PUT_S, HostRules, Preset
from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime.budget import JOURNAL_BYTES_MAX
from durable_kernel.runtime.keeping import KEPT_BYTES_MAX

__all__ = ["Resume", "Settings"]

_T = TypeVar("_T", bound=StrEnum)
_D = TypeVar("_D")

POISON_S = 60.0
"""H36. Longer than a cell takes that breaks its process at once, shorter than between two
pre-emptions of a machine."""


REPLAY_ASK_S = 600.0
"""An interactive kernel asks before it computes for longer than that to restore a run."""

SHOWN_AGAIN_BYTES_S = 600_000.0
"""A Jupyter server lets 1,000,000 pass, counted over 3 s; while it stalls it sees more at once."""


class Resume(StrEnum):
    """Replay right after the start, or compare each request with the next recorded position."""

    EAGER = "eager"
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class Settings:
    """One run's settings.

    `in_doubt` None: ask, where somebody can be asked (`Run.attend`); else the cell fails.
    `redo` allows tainted and inexact positions to be executed again; `partly` restores of an
    inexact one what could be kept, and takes the other names away; `repeat_acts` allows a branch
    that leaves acts behind. Both are explicit decisions of a user, never defaults. `hosts` says
    which calls may be repeated unasked, and which get an Idempotency-Key: none unless listed.
    `poison_s`: a cell that ends its process twice within so many seconds of its own is not executed
    by itself again; 0: it always is. `looks_only`: the world stays closed behind the last recorded
    position; what is run there can read names, and do nothing. `shown_again_bytes_s`: how fast text
    that was shown before goes to a Jupyter server; 0: as fast as it comes.
    """

    run: str | None = None
    home: Path | None = None
    level: Level = Level.DEFAULT
    in_doubt: InDoubtPolicy | None = None
    resume: Resume = Resume.EAGER
    redo: bool = False
    partly: bool = False
    repeat_acts: bool = False
    replay_ask_s: float = REPLAY_ASK_S
    poison_s: float = POISON_S
    looks_only: bool = False
    hosts: HostRules = field(default_factory=HostRules)
    journal_max_bytes: int = JOURNAL_BYTES_MAX
    kept_max_bytes: int = KEPT_BYTES_MAX
    shown_again_bytes_s: float = SHOWN_AGAIN_BYTES_S

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read `DURABLE_*`. Raises UsageError for a value that has no meaning."""
        home = environ.get("DURABLE_HOME")
        return cls(
            run=environ.get("DURABLE_RUN") or None,
            home=Path(home) if home else None,
            level=_choice(environ, "DURABLE_DURABILITY", Level, Level.DEFAULT),
            in_doubt=_choice(environ, "DURABLE_IN_DOUBT", InDoubtPolicy, None),
            resume=_choice(environ, "DURABLE_RESUME", Resume, Resume.EAGER),
            redo=environ.get("DURABLE_REDO", "") in {"1", "true", "yes"},
            partly=environ.get("DURABLE_PARTLY", "") in {"1", "true", "yes"},
            repeat_acts=environ.get("DURABLE_REPEAT_ACTS", "") in {"1", "true", "yes"},
            looks_only=environ.get("DURABLE_LOOKS_ONLY", "") == "1",
            hosts=_hosts(environ),
            replay_ask_s=_number(
                "DURABLE_REPLAY_ASK_S", environ.get("DURABLE_REPLAY_ASK_S") or str(REPLAY_ASK_S)
            ),
            poison_s=_number("DURABLE_POISON_S", environ.get("DURABLE_POISON_S") or str(POISON_S)),
            journal_max_bytes=_bytes(environ, "DURABLE_JOURNAL_MAX_BYTES", JOURNAL_BYTES_MAX),
            kept_max_bytes=_bytes(environ, "DURABLE_KEPT_MAX_BYTES", KEPT_BYTES_MAX),
            shown_again_bytes_s=_number(
                "DURABLE_SHOWN_AGAIN_BYTES_S",
                environ.get("DURABLE_SHOWN_AGAIN_BYTES_S") or str(SHOWN_AGAIN_BYTES_S),
            ),
        )


def _choice(environ: Mapping[str, str], name: str, kind: type[_T], default: _D) -> _T | _D:
    given = environ.get(name)
    if not given:
        return default
    try:
        return kind(given)
    except ValueError:
        allowed = ", ".join(each.value for each in kind)
        raise UsageError(f"{name}={given!r} has no meaning; it is one of {allowed}.") from None


def _bytes(environ: Mapping[str, str], name: str, default: int) -> int:
    given = environ.get(name)
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise UsageError(f"{name}={given!r} has no meaning; it is a number of bytes.")
    return int(given)


def _hosts(environ: Mapping[str, str]) -> HostRules:
    repeat: dict[str, set[str]] = {}
    for each in _listed(environ, "DURABLE_REPEAT"):
        host, preset = _host_and_preset(each)
        repeat.setdefault(host, set()).add(preset)
    hours = (each.partition("=") for each in _listed(environ, "DURABLE_KEY_HOURS"))
    return HostRules(
        repeat={host: frozenset(presets) for host, presets in repeat.items()},
        inject_key=frozenset(_listed(environ, "DURABLE_INJECT_KEY")),
        key_s={host: _number("DURABLE_KEY_HOURS", each) * 3600 for host, _, each in hours},
        put_s=_number("DURABLE_REPEAT_PUT_S", environ.get("DURABLE_REPEAT_PUT_S") or str(PUT_S)),
    )


def _listed(environ: Mapping[str, str], name: str) -> list[str]:
    """Split a list at commas and blanks. Hosts are lower case."""
    return environ.get(name, "").lower().replace(",", " ").split()


def _host_and_preset(listed: str) -> tuple[str, str]:
    """Split HOST[:PORT][:PRESET]; a host alone stands for any call."""
    host, colon, last = listed.rpartition(":")
    if not colon or last.isdigit() or last.endswith("]"):
        return listed, ANY_CALL
    try:
        return host, Preset(last).value
    except ValueError:
        known = ", ".join(each.value for each in Preset)
        raise UsageError(
            f"DURABLE_REPEAT: {listed!r} names no preset; it is HOST, or HOST:PRESET with one of "
            f"{known}."
        ) from None


def _number(name: str, given: str) -> float:
    try:
        found = float(given)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise UsageError(f"{name}: {given!r} is no number of hours, seconds or bytes.")
    return found
