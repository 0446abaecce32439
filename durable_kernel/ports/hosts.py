"""What a user's settings say of calls to single hosts. Off unless a host is listed.

    repeat       an act in doubt is made again unasked: any call to the host, or those of a preset
    inject_key   a POST or PATCH without an Idempotency-Key gets one from the journal position
    key_s        how long the host remembers an Idempotency-Key

A host is `api.example`, `api.example:8443` for that port alone, or `*.example` for all below it.
Plain values; which requests belong to a preset is known to the effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ANY_CALL", "KEY_S", "PUT_S", "HostRules", "Preset"]

KEY_S = 86_400.0
"""How long an Idempotency-Key is believed to be remembered, as at Stripe (H21)."""

PUT_S = 300.0
"""How long a PUT or DELETE without conditions may be repeated: others write there too (H21)."""

ANY_CALL = "any"


class Preset(StrEnum):
    """A kind of act that changes nothing worth asking about, on most hosts."""

    GRAPHQL_READS = "graphql-reads"
    SEARCH = "search"
    OAUTH = "oauth"
    LLM = "llm"


@dataclass(frozen=True, slots=True)
class HostRules:
    """The listed hosts. `repeat` maps each to names of presets, or to ANY_CALL among them."""

    repeat: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    inject_key: AbstractSet[str] = frozenset()
    key_s: Mapping[str, float] = field(default_factory=dict)
    put_s: float = PUT_S

    def may_repeat(self, authority: str, preset: Preset | None = None) -> bool:
        """Tell whether calls to `host[:port]` are listed: all of them, or those of the preset."""
        if not self.repeat:
            return False
        listed = {ANY_CALL} if preset is None else {ANY_CALL, preset.value}
        return any(not listed.isdisjoint(self.repeat.get(name, ())) for name in _names(authority))

    def injects_key(self, authority: str) -> bool:
        """Tell whether calls to `host[:port]` get an Idempotency-Key."""
        return bool(self.inject_key) and any(x in self.inject_key for x in _names(authority))

    def key_seconds(self, authority: str) -> float:
        """Return how long that host remembers an Idempotency-Key."""
        if not self.key_s:
            return KEY_S
        return next((self.key_s[name] for name in _names(authority) if name in self.key_s), KEY_S)


def _names(authority: str) -> list[str]:
    """Return the names under which a host may be listed, the narrowest first."""
    lowered = authority.lower()
    host, colon, port = lowered.rpartition(":")
    if not (colon and port.isdigit()):
        host = lowered
    labels = host.split(".")
    wider = ["*." + ".".join(labels[at:]) for at in range(1, len(labels))]
    return [*dict.fromkeys((lowered, host)), *wider]
