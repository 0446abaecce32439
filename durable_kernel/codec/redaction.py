"""Redaction: secrets of requests leave no trace but a keyed hash, before bytes exist.

User code rebuilds a request's secrets on replay, so the journal needs only to tell whether they are
the same. The hash is keyed, because a short secret behind a plain hash is found by trying.
Everything is a pure function of its arguments. What it does not see: secrets in a path
(`/bot<token>/…`) and in a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_plus

from blake3 import blake3

__all__ = ["SAFE_REQUEST_HEADERS", "keyed_hash", "redact_headers", "redact_url"]

_HASH_BYTES: Final = 8  # 64 bits: told apart, never attacked (the key is the user's)

SAFE_REQUEST_HEADERS: Final = frozenset({
    "accept", "accept-charset", "accept-datetime", "accept-encoding", "accept-language",
    "cache-control", "connection", "content-encoding", "content-language", "content-length",
    "content-md5", "content-type", "date", "digest", "dnt", "expect", "host", "idempotency-key",
    "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
    "keep-alive", "max-forwards", "pragma", "prefer", "priority", "range", "sec-fetch-dest",
    "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "te", "traceparent", "trailer",
    "transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via",
    "x-correlation-id", "x-request-id", "x-requested-with",
})  # fmt: skip
"""Request headers shown as they are, in lower case. Any other value is hashed, of whatever name."""

_URL_HEADERS: Final = frozenset({"location", "origin", "referer"})

_SECRET_NAMES: Final = frozenset({
    "assertion", "auth", "authorization", "code", "cookie", "credentials", "hmac", "jwt", "otp",
    "pass", "passwd", "pwd", "sas", "session", "sid", "sig", "sign", "ticket",
})  # fmt: skip
_SECRET_ENDINGS: Final = (
    "accesskeyid", "credential", "key", "passphrase", "password", "secret", "sessionid",
    "signature", "token", "verifier",
)  # fmt: skip
"""Both compared without case and punctuation: `X-Amz-Security-Token`, `api_key`, `clientSecret`."""

_AUTHORITY: Final = re.compile(
    r"^(?P<scheme>[^/?#]*:)?(?P<slashes>[/\\]{2,})(?P<authority>[^/\\?#]*)"
)
_NOT_A_LETTER: Final = re.compile(r"[^a-z0-9]")
_SEPARATOR: Final = re.compile(r"([&;])")


def keyed_hash(secret: str | bytes, key: bytes) -> str:
    """Return `hash:` and 16 hex digits of BLAKE3 under `key` (32 bytes, else ValueError)."""
    content = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return "hash:" + blake3(content, key=key).hexdigest(length=_HASH_BYTES)


def redact_url(url: str, key: bytes) -> str:
    """Replace userinfo, and secret parameters of query and fragment; every other character stays.

    It takes the URL apart by hand: `urllib.parse` would tidy up what it puts together again, and
    two different requests could become one.
    """
    rest, hash_mark, fragment = url.partition("#")
    address, question_mark, query = rest.partition("?")
    found = _AUTHORITY.match(address)
    if found is not None and "@" in found["authority"]:
        start, end = found.span("authority")
        userinfo, _, host = found["authority"].rpartition("@")
        address = f"{address[:start]}{keyed_hash(userinfo, key)}@{host}{address[end:]}"
    query, fragment = _redact_parameters(query, key), _redact_parameters(fragment, key)
    return f"{address}{question_mark}{query}{hash_mark}{fragment}"


def redact_headers(pairs: Iterable[tuple[str, str]], key: bytes) -> list[tuple[str, str]]:
    """Return the headers of a request in order, repeated names too, with unknown values hashed."""
    return [(name, _redact_header(name.strip().lower(), value, key)) for name, value in pairs]


def _redact_header(name: str, value: str, key: bytes) -> str:
    if name in SAFE_REQUEST_HEADERS:
        return value
    return redact_url(value, key) if name in _URL_HEADERS else keyed_hash(value, key)


def _redact_parameters(query: str, key: bytes) -> str:
    return "".join(_redact_parameter(part, key) for part in _SEPARATOR.split(query))


def _redact_parameter(part: str, key: bytes) -> str:
    name, equals, value = part.partition("=")
    return f"{name}={keyed_hash(value, key)}" if equals and value and _is_secret(name) else part


def _is_secret(name: str) -> bool:
    bare = _NOT_A_LETTER.sub("", unquote_plus(name).casefold())
    return bare in _SECRET_NAMES or bare.endswith(_SECRET_ENDINGS)
