"""HTTP calls as plain values: what is verified, shown and repeated, what an answer looks like.

Shared by the hooks of the HTTP libraries and knows none of them: a method and a URL are text,
headers are raw pairs of bytes in their order on the wire.

    Call      kind "http"; identity = method, url, body (`body_digest`), and idempotency_key if any
    head      {"status": int, "headers": [[name, value]…], "http_version": bytes,
              "reason": bytes or None}
    parts     bytes of the body as they came, still content-encoded; de-chunked, but for aiohttp,
              whose readers see the chunks of the server
    outcome   VALUE {"elapsed_us": int}; an answer that a user gave has "head" and "body" in it
              ERROR, ABANDONED: `error.extra["elapsed_us"]`; raised in place of the head, or
              behind the recorded parts

Secrets of a request are replaced by hashes under the key of the run before anything else sees them:
the code that is run again rebuilds them. Secrets of an answer (Set-Cookie) are what replay must
serve, so they travel as `ports.Secret`; for its body see `http_answers`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from operator import itemgetter, methodcaller
from typing import Any
from urllib.parse import unquote_plus

from durable_kernel.effects.http_keys import planned_key
from durable_kernel.effects.http_repeat import REPEAT_SAFE, may_repeat
from durable_kernel.effects.http_tokens import holds_secret
from durable_kernel.effects.whose_secrets import current_secrets
from durable_kernel.errors import AnswerRejectedError
from durable_kernel.ports import Act, Call, Ending, Lane, Outcome, Secret

__all__ = [
    "AnswerChangedError",
    "RecordedPrefix",
    "RequestHeaders",
    "answered_head_and_body",
    "body_digest",
    "describe_headers",
    "describe_request",
    "elapsed_us_of",
    "hash_secret",
    "make_head",
    "open_headers",
    "parse_answer",
    "redact_url",
]

_CONDITIONS = (
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
)
_SHOWN = {
    name: name.decode()
    for name in (
        b"accept",
        b"accept-encoding",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"range",
        b"transfer-encoding",
        b"user-agent",
        *_CONDITIONS,
    )
}
_CONDITIONAL = frozenset(_CONDITIONS)

_SECRET_PARAMETERS = frozenset({
    "assertion", "auth", "authorization", "code", "hmac", "jwt", "key", "otp", "pass", "pwd",
    "sas", "session", "sid", "sig", "sign", "ticket",
})  # fmt: skip
_SECRET_WORDS = (
    "accesskey", "apikey", "credential", "passphrase", "passw", "secret", "signature", "token",
    "verifier", "_key", "-key",
)  # fmt: skip
_MAYBE_SECRET_QUERY = re.compile(
    "|".join(["%", r"\+", *_SECRET_WORDS, rf"(?:^|&)(?:{'|'.join(sorted(_SECRET_PARAMETERS))})="]),
    re.IGNORECASE,
)
_ANSWER_SECRETS = frozenset(
    {
        b"authentication-info",
        b"authorization",
        b"set-cookie",
        b"set-cookie2",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-auth-token",
        b"x-csrf-token",
        b"x-subject-token",
    }
)
_MAYBE_SECRET_HEADERS = _ANSWER_SECRETS | {b"location"}
_name_of, _lowered = itemgetter(0), methodcaller("lower")
_VALIDATORS = (b"etag", b"last-modified", b"content-encoding", b"content-length")

_DIGEST_BYTES = 16


# --- requests -------------------------------------------------------------------------------------


def body_digest(body: bytes) -> str:
    """Hash a request body with the key of the run: 32 hexadecimal digits, "" of an empty one."""
    secrets = current_secrets() if body else None
    return secrets.body_digest(body) if secrets is not None else ""


def hash_secret(value: bytes) -> str:
    """Stand in for a secret: equal ones look equal within a run, and nothing else is told of them.

    Where there is no run, all look equal.
    """
    secrets = current_secrets()
    return secrets.hide(value) if secrets is not None else "hash:"


class RequestHeaders:
    """What the headers of a request say: all of them as they are shown, and two facts.

    `last`: the last safe request with these headers, as method, URL and body, and its call.
    """

    __slots__ = ("_details", "idempotency_key", "is_conditional", "last", "shown")

    def __init__(
        self, shown: Mapping[str, str], idempotency_key: str | None, *, is_conditional: bool
    ) -> None:
        self.shown = shown
        self.idempotency_key = idempotency_key
        self.is_conditional = is_conditional
        self.last: tuple[tuple[str, str, str], Call] | None = None
        self._details: dict[str, Any] = {}

    def details(
        self, timeout: Mapping[str, float | None] | None, sent_bytes: int
    ) -> Mapping[str, Any]:
        """Return the details of a call: the same object while they stay the same.

        Whoever records it knows it again, and need not look at it twice.
        """
        last = self._details
        if not last or last["timeout"] != timeout or last["sent_bytes"] != sent_bytes:
            last = {"headers": self.shown, "timeout": timeout, "sent_bytes": sent_bytes}
            self._details = last
        return last


def describe_headers(headers: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Describe the headers of a request. Values that are not known to be harmless are hashed.

    Clients send the same headers again and again: a hook may keep the result of the last ones.
    """
    shown: dict[str, str] = {}
    key = None
    is_conditional = False
    for raw_name, raw_value in headers:
        lowered = raw_name.lower()
        name = _SHOWN.get(lowered)
        if name is None:
            name, value = lowered.decode("latin-1"), hash_secret(raw_value)
        else:
            value = raw_value.decode("latin-1")
            if lowered == b"idempotency-key":
                key = value
            elif lowered in _CONDITIONAL:
                is_conditional = True
        shown[name] = f"{shown[name]}, {value}" if name in shown else value
    return RequestHeaders(shown, key, is_conditional=is_conditional)


def describe_request(
    lane: Lane,
    method: str,
    url: str,
    headers: RequestHeaders,
    *,
    body: str,
    body_bytes: int,
    read_body: Callable[[], bytes],
    timeout: Mapping[str, float | None] | None,
) -> Call:
    """Describe a request before it is made. `body` is its digest, `body_bytes` its size.

    `read_body` returns the body; it is called where only the body tells what the request is.
    `timeout` is in seconds, by phase, and is only shown.
    """
    details = headers.details(timeout, body_bytes)
    asked, last = (method, url, body), headers.last
    if last is not None and last[0] == asked and last[1].details is details:
        return last[1]  # whoever polls asks the same again and again
    key = headers.idempotency_key
    target = redact_url(url)
    identity = {"method": method, "url": target, "body": body}
    if key is not None:
        identity["idempotency_key"] = key
    safe = REPEAT_SAFE.get(method)
    if safe is not None:
        call = Call("http", f"{method} {target}", identity, details, Act.OBSERVATION, safe)
        if target is url:  # stand-ins for secrets may change when more of them are known
            headers.last = asked, call
        return call
    if key is None and (planned := planned_key(lane, method, url, identity)):
        details = {**details, "injected_key": planned}
    repeat = may_repeat(
        method,
        url,
        has_key=key is not None or "injected_key" in details,
        is_conditional=headers.is_conditional,
        body_bytes=body_bytes,
        read_body=read_body,
        rules=lane.port.hosts,
    )
    return Call("http", f"{method} {target}", identity, details, Act.REMOTE, repeat)


def redact_url(url: str) -> str:
    """Replace user info, secret-looking query values and known secret paths; drop the fragment.

    The result still tells two URLs apart, so it serves as identity.
    """
    if "#" in url:  # is not sent, and may hold a token
        url = url.partition("#")[0]
    if "@" in url:
        url = _redact_user(url)
    if "/bot" in url or "hooks." in url or "/webhook" in url:
        url = _redact_path(url)
    base, mark, query = url.partition("?")
    if not mark or _MAYBE_SECRET_QUERY.search(query) is None:
        return url
    return base + "?" + "&".join(map(_redact_parameter, query.split("&")))


def _redact_user(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if not at:
        return url
    return f"{scheme}{mark}{hash_secret(user.encode('utf-8', 'surrogatepass'))}@{host}{slash}{path}"


def _redact_path(url: str) -> str:
    """Hide the key in the path of chat bots (`/bot123:KEY/…`) and of web hooks (last segment)."""
    base, mark, query = url.partition("?")
    scheme, colon, rest = base.partition("://")
    host, *segments = rest.split("/")
    has_hook = host.startswith("hooks.") or any(part.startswith("webhook") for part in segments)
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        is_bot = segment.startswith("bot") and (":" in segment or "%3A" in segment)
        if segment and (is_bot or (has_hook and index == last and index > 0)):
            segments[index] = hash_secret(segment.encode("utf-8", "surrogatepass"))
    return f"{scheme}{colon}{'/'.join([host, *segments])}{mark}{query}"


def _redact_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    plain = unquote_plus(name).lower()
    if not value or not (
        plain in _SECRET_PARAMETERS or any(word in plain for word in _SECRET_WORDS)
    ):
        return parameter
    return f"{name}{equals}{hash_secret(value.encode('utf-8', 'surrogatepass'))}"


# --- answers --------------------------------------------------------------------------------------


def make_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    http_version: bytes,
    reason: bytes | None,
) -> dict[str, Any]:
    """Build the head to record. Values that are secrets become `Secret`; order and case stay."""
    # Lists and no tuples: they are what the journal packs fastest.
    pairs: list[list[Any]] = list(map(list, headers))
    if not _MAYBE_SECRET_HEADERS.isdisjoint(map(_lowered, map(_name_of, pairs))):
        for pair in pairs:
            name, value = pair
            lowered = name.lower()
            if lowered in _ANSWER_SECRETS or (lowered == b"location" and _leads_to_secret(value)):
                pair[1] = Secret(value)
    return {"status": status, "headers": pairs, "http_version": http_version, "reason": reason}


def _leads_to_secret(location: bytes) -> bool:
    text = location.decode("latin-1")
    return redact_url(text) != text


def open_headers(head: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the raw header pairs of a recorded head, secrets opened."""
    return [(name, _open(value)) for name, value in head["headers"]]


def _open(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def elapsed_us_of(outcome: Outcome) -> int | None:
    """Return how long the exchange took when it was recorded, in microseconds."""
    if outcome.error is not None:
        return outcome.error.extra.get("elapsed_us")
    return outcome.value.get("elapsed_us") if isinstance(outcome.value, dict) else None


def answered_head_and_body(outcome: Outcome) -> tuple[dict[str, Any], bytes] | None:
    """Return head and body if the outcome is an answer that a user gave, else None."""
    if outcome.ending is Ending.VALUE and outcome.value and "head" in outcome.value:
        return outcome.value["head"], _open(outcome.value["body"])
    return None


class AnswerChangedError(Exception):
    """A repeated request is not answered as the recorded beginning says. `args[0]` tells how."""


class RecordedPrefix:
    """What was recorded of an answer before it was cut; a repeated one must begin alike (H23).

    Holds a hash and not the bytes: the prefix of a download may be large.
    """

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._head = head
        self._recorded = blake2b(digest_size=_DIGEST_BYTES)
        self._repeated = blake2b(digest_size=_DIGEST_BYTES)
        self._missing = 0
        self.size_bytes = 0

    def serve(self, part: bytes) -> None:
        """Take note of a recorded part."""
        self._recorded.update(part)
        self._missing += len(part)
        self.size_bytes += len(part)

    def check_head(self, head: Mapping[str, Any]) -> None:
        """Compare status and validators. Raises AnswerChangedError."""
        if head["status"] != self._head["status"]:
            raise AnswerChangedError(f"status {self._head['status']} became {head['status']}")
        before = {name.lower(): value for name, value in self._head["headers"]}
        after = {name.lower(): value for name, value in head["headers"]}
        for name in _VALIDATORS:
            old, new = before.get(name), after.get(name)
            if old is not None and new is not None and old != new:
                raise AnswerChangedError(
                    f"{name.decode()} {old.decode('latin-1')} became {new.decode('latin-1')}"
                )

    def take(self, part: bytes) -> bytes:
        """Compare the next part of the repeated answer; return what lies behind the prefix.

        Raises AnswerChangedError once the whole prefix was seen and differs.
        """
        if not self._missing:
            return part
        seen = part[: self._missing]
        self._repeated.update(seen)
        self._missing -= len(seen)
        if not self._missing and self._repeated.digest() != self._recorded.digest():
            raise AnswerChangedError(f"its first {self.size_bytes} bytes differ")
        return part[len(seen) :]

    def check_end(self) -> None:
        """Raise AnswerChangedError if the repeated answer is shorter than the prefix."""
        if self._missing:
            raise AnswerChangedError(
                f"it ended {self._missing} bytes short of the recorded {self.size_bytes}"
            )


# --- answers given by a user ----------------------------------------------------------------------

_ANSWER_SHAPE = (
    'a JSON object {"status": 200-599, "headers": {name: value} or [[name, value], …], and one of '
    '"body": text, "json": any value, "body_base64": text}'
)
_ANSWER_FIELDS = frozenset({"status", "headers", "body", "json", "body_base64"})
_BODY_FIELDS = ("body", "json", "body_base64")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def parse_answer(data: bytes) -> Outcome:
    """Turn an answer file into the outcome of an HTTP call in doubt.

    The body is given as it should be read; Content-Length is computed. Only `body_base64` may come
    with a Content-Encoding. Raises AnswerRejectedError, which names what was found.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _rejected(f"the file is no JSON ({error})") from error
    if not isinstance(answer, dict):
        raise _rejected(f"the file holds a JSON {type(answer).__name__}")
    unknown = sorted(answer.keys() - _ANSWER_FIELDS)
    if unknown:
        raise _rejected(f"it has the unknown field {unknown[0]!r}")
    status = answer.get("status")
    if type(status) is not int or not 200 <= status <= 599:  # noqa: PLR2004 - final status codes
        raise _rejected(f"its status is {status!r}")
    headers = _answer_headers(answer.get("headers", {}))
    body = _answer_body(answer, headers)
    headers.append((b"content-length", str(len(body)).encode()))
    head = make_head(status, headers, b"HTTP/1.1", None)
    kept = Secret(body) if holds_secret(body) else body
    return Outcome.of_value({"head": head, "body": kept, "elapsed_us": 0})


def _rejected(found: str) -> AnswerRejectedError:
    return AnswerRejectedError("an HTTP request", found, _ANSWER_SHAPE)


def _answer_headers(given: Any) -> list[tuple[bytes, bytes]]:
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        raise _rejected(f"its headers are a JSON {type(given).__name__}")
    headers: list[tuple[bytes, bytes]] = []
    for pair in pairs:
        match pair:
            case (str(name), str(value)) | [str(name), str(value)]:
                try:
                    raw = name.encode("ascii"), value.encode("latin-1")
                except UnicodeEncodeError as error:
                    raise _rejected(f"the header {name!r} is not plain text") from error
            case _:
                raise _rejected(f"one of its headers is {pair!r}")
        if raw[0].lower() not in _FRAMING:
            headers.append(raw)
    return headers


def _answer_body(answer: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> bytes:
    """Decode the body; add its Content-Type to `headers` where none was given."""
    given = [name for name in _BODY_FIELDS if name in answer]
    if len(given) > 1:
        raise _rejected(f"it has both {given[0]!r} and {given[1]!r}")
    names = {name.lower() for name, _ in headers}
    field = given[0] if given else ""
    if b"content-encoding" in names and field != "body_base64":
        raise _rejected("it has a Content-Encoding, but no 'body_base64'")
    if field == "json":
        body, kind = json.dumps(answer["json"], ensure_ascii=False).encode(), "application/json"
    elif not field:
        return b""
    elif not isinstance(answer[field], str):
        raise _rejected(f"its {field!r} is a JSON {type(answer[field]).__name__}")
    elif field == "body":
        body, kind = answer["body"].encode(), "text/plain; charset=utf-8"
    else:
        try:
            body = base64.b64decode(answer[field], validate=True)
        except (binascii.Error, ValueError) as error:
            raise _rejected(f"its 'body_base64' cannot be decoded ({error})") from error
        kind = "application/octet-stream"
    if b"content-type" not in names:
        headers.append((b"content-type", kind.encode()))
    return body
