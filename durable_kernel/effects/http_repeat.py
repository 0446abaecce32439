"""How long an HTTP request may be made again unasked, after a crash (H21). Knows no library.

GET, HEAD, OPTIONS, TRACE     always: safe (RFC 9110 §9.2.1)
any call to a listed host     always: the user says so
with an Idempotency-Key       as long as the host remembers it
PUT, DELETE                   for five minutes, and never with conditions
a preset, its host listed     always: the user says so
anything else                 never; the reason names the preset that would have allowed it
"""

from __future__ import annotations

import math
from collections.abc import Callable
from urllib.parse import urlsplit

from durable_kernel.effects.http_presets import PRESET_NAMES, preset_of
from durable_kernel.ports import REPEAT_NEVER, Call, HostRules, Repeat, Step

__all__ = ["REPEAT_SAFE", "SAFE_METHODS", "came_back_gone", "may_repeat", "takes_key"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing outside (RFC 9110 §9.2.1)."""

REPEAT_SAFE = {name: Repeat(math.inf, f"{name} is safe") for name in SAFE_METHODS}
_UNCONDITIONAL = frozenset({"PUT", "DELETE"})
_KEYED = frozenset({"POST", "PATCH"})
_GONE = {404: "404 Not Found", 410: "410 Gone"}


def takes_key(method: str, url: str, rules: HostRules) -> bool:
    """Tell whether a request without an Idempotency-Key gets one."""
    return bool(rules.inject_key) and method in _KEYED and rules.injects_key(_authority(url))


def may_repeat(
    method: str,
    url: str,
    *,
    has_key: bool,
    is_conditional: bool,
    body_bytes: int,
    read_body: Callable[[], bytes],
    rules: HostRules,
) -> Repeat:
    """Say how long a request that is not safe may be sent again without asking.

    `read_body` returns the body, `body_bytes` long; it is called where only the body can tell.
    """
    host = _authority(url)
    if rules.may_repeat(host):
        return Repeat(math.inf, f"{host} is listed", is_listed=True)
    if has_key:
        seconds = rules.key_seconds(host)
        return Repeat(seconds, f"Idempotency-Key, within {_hours(seconds)}")
    if method in _UNCONDITIONAL and not is_conditional:
        return Repeat(rules.put_s, f"{method} without conditions, within {_minutes(rules.put_s)}")
    preset = preset_of(method, urlsplit(url).path, read_body, body_bytes)
    if preset is None:
        return REPEAT_NEVER
    what = PRESET_NAMES[preset]
    if rules.may_repeat(host, preset):
        return Repeat(math.inf, f"{what}, and {host} is listed for them", is_listed=True)
    return Repeat(0.0, f"{what}: `--repeat {host}:{preset.value}` would repeat such calls unasked")


def came_back_gone(call: Call, step: Step, status: int) -> str:
    """Say what came back if it settles nothing, else "".

    A DELETE that was repeated unasked finds nothing: the first one may have deleted it.
    """
    if not step.is_unasked or status not in _GONE or call.identity["method"] != "DELETE":
        return ""
    return f"was answered {_GONE[status]}"


def _authority(url: str) -> str:
    """Return host and port of a URL, without user information."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min"
