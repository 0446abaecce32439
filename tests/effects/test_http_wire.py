"""HTTP calls as plain values: identity, redaction, repeating, prefixes, answers of users."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from durable_kernel.codec import KnownSecrets
from durable_kernel.effects.http_body import Spool
from durable_kernel.effects.http_wire import (
    AnswerChangedError,
    RecordedPrefix,
    body_digest,
    describe_headers,
    describe_request,
    hash_secret,
    make_head,
    open_headers,
    parse_answer,
    redact_url,
)
from durable_kernel.errors import AnswerRejectedError
from durable_kernel.ports import SECRETS, Act, Call, Secret
from durable_kernel.testing.fake_port import FakePort


@pytest.fixture(autouse=True)
def _run() -> Iterator[None]:
    """Be where a run has a key."""
    token = SECRETS.set(KnownSecrets(b"k" * 32))
    yield
    SECRETS.reset(token)


def describe(method: str, *headers: tuple[bytes, bytes], url: str = "http://a.example/x") -> Call:
    return describe_request(
        FakePort().make_lane(),
        method,
        url,
        describe_headers(headers),
        body="",
        body_bytes=0,
        read_body=bytes,
        timeout=None,
    )


# --- requests -------------------------------------------------------------------------------------


def test_identity_is_method_url_body_and_key_and_no_header() -> None:
    """Headers, durations and time-outs are shown, never verified (H32)."""
    call = describe_request(
        FakePort().make_lane(),
        "POST",
        "http://a.example/x?page=2",
        describe_headers(
            [(b"User-Agent", b"1"), (b"Idempotency-Key", b"k1"), (b"Content-Type", b"text/plain")]
        ),
        body=body_digest(b"body"),
        body_bytes=4,
        read_body=lambda: b"body",
        timeout={"read": 5.0},
    )

    assert call.kind == "http"
    assert call.label == "POST http://a.example/x?page=2"
    assert call.identity == {
        "method": "POST",
        "url": "http://a.example/x?page=2",
        "body": body_digest(b"body"),
        "idempotency_key": "k1",
    }
    assert call.details == {
        "headers": {
            "user-agent": "1",
            "idempotency-key": "k1",
            "content-type": "text/plain",
        },
        "timeout": {"read": 5.0},
        "sent_bytes": 4,
    }


def test_header_values_are_hashed_unless_they_are_known_to_be_harmless() -> None:
    """Request secrets are replaced before bytes exist (H18)."""
    call = describe(
        "GET", (b"Authorization", b"Bearer sk-1"), (b"X-Anything", b"sk-1"), (b"Accept", b"*/*")
    )

    headers = call.details["headers"]

    assert headers["accept"] == "*/*"
    assert headers["authorization"] == hash_secret(b"Bearer sk-1")
    assert headers["x-anything"].startswith("hash:")
    assert "sk-1" not in repr(call)


def test_a_repeated_header_keeps_both_values() -> None:
    call = describe("GET", (b"Accept", b"a/b"), (b"accept", b"c/d"))

    assert call.details["headers"] == {"accept": "a/b, c/d"}


@pytest.mark.parametrize(
    ("method", "header", "seconds_max"),
    [
        ("GET", None, math.inf),
        ("HEAD", None, math.inf),
        ("OPTIONS", None, math.inf),
        ("TRACE", None, math.inf),
        ("GET", b"If-Match", math.inf),
        ("PUT", None, 300),
        ("DELETE", None, 300),
        ("PUT", b"If-Match", 0),
        ("DELETE", b"If-Unmodified-Since", 0),
        ("POST", None, 0),
        ("PATCH", None, 0),
        ("CUSTOM", None, 0),
        ("POST", b"Idempotency-Key", 86_400),
        ("PUT", b"Idempotency-Key", 86_400),
    ],
)
def test_what_may_be_repeated_is_bounded_in_time(
    method: str, header: bytes | None, seconds_max: float
) -> None:
    """H21."""
    call = describe(method, *([(header, b"x")] if header else []))

    assert call.repeat.seconds_max == seconds_max
    assert call.act is (Act.OBSERVATION if seconds_max == math.inf else Act.REMOTE)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a/b?page=2&q=a+b", "http://a/b?page=2&q=a+b"),
        ("http://a/@me?page=2", "http://a/@me?page=2"),
        ("http://a/b?page=2&token=T", "http://a/b?page=2&token={T}"),
        ("http://a/b?api_key=T&page=2", "http://a/b?api_key={T}&page=2"),
        ("http://a/b?X-Amz-Signature=T", "http://a/b?X-Amz-Signature={T}"),
        ("http://a/b?%74oken=T", "http://a/b?%74oken={T}"),
        ("http://a/b?sig=T&sigma=1", "http://a/b?sig={T}&sigma=1"),
        ("http://a/b?key=T&monkey=1", "http://a/b?key={T}&monkey=1"),
        ("http://a/b?token=&x", "http://a/b?token=&x"),
        ("http://T@a/b", "http://{T}@a/b"),
        ("http://a/b#token=T", "http://a/b"),
        ("https://a/botX:T/send", "https://a/{botX:T}/send"),
        ("https://a/bottles", "https://a/bottles"),
        ("https://hooks.a/services/1/T", "https://hooks.a/services/1/{T}"),
        ("https://a/api/webhooks/1/T?wait=1", "https://a/api/webhooks/1/{T}?wait=1"),
    ],
)
def test_secrets_in_a_url_become_hashes_and_the_rest_stays(url: str, shown: str) -> None:
    before, _, rest = shown.partition("{")
    secret, _, after = rest.partition("}")

    expected = before + (hash_secret(secret.encode()) if secret else "") + after

    assert redact_url(url) == expected


def test_urls_that_differ_in_a_secret_differ_in_identity() -> None:
    assert redact_url("http://a/?token=one") != redact_url("http://a/?token=two")


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[], [0], [5], [65_536], [65_536, 1], [40_000] * 5])
def test_a_spool_gives_back_what_was_drained_as_often_as_asked(sizes: list[int]) -> None:
    """H28: small bodies stay in memory, large ones on disk; the hash is the same."""
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    spool = Spool()

    for piece in pieces:
        spool.add(piece)

    body = b"".join(pieces)
    assert b"".join(spool.pieces()) == body
    assert b"".join(spool.pieces()) == body
    assert (spool.size_bytes, spool.digest) == (len(body), body_digest(body))


# --- heads ----------------------------------------------------------------------------------------


def test_a_head_keeps_order_and_case_and_seals_secrets() -> None:
    """Answer secrets are what replay must serve: kept, but sealed (H18)."""
    headers = [
        (b"Set-Cookie", b"a=1"),
        (b"X-Two", b"2"),
        (b"set-cookie", b"b=2"),
        (b"Location", b"/next?code=T"),
    ]

    head = make_head(302, headers, b"HTTP/1.1", b"Found")

    assert head["headers"] == [
        [b"Set-Cookie", Secret(b"a=1")],
        [b"X-Two", b"2"],
        [b"set-cookie", Secret(b"b=2")],
        [b"Location", Secret(b"/next?code=T")],
    ]
    assert open_headers(head) == headers


def test_a_plain_location_is_shown() -> None:
    head = make_head(302, [(b"Location", b"/next?page=2")], b"HTTP/1.1", None)

    assert head["headers"] == [[b"Location", b"/next?page=2"]]


# --- recorded prefixes ----------------------------------------------------------------------------


def prefix_of(*parts: bytes) -> RecordedPrefix:
    prefix = RecordedPrefix(make_head(200, [], b"HTTP/1.1", None))
    for part in parts:
        prefix.serve(part)
    return prefix


@pytest.mark.parametrize("size", range(1, 8))
def test_what_lies_behind_the_prefix_is_new_however_it_is_cut_up(size: int) -> None:
    """H23."""
    prefix = prefix_of(b"abc", b"d")
    repeated = [b"abcdefg"[start : start + size] for start in range(0, 7, size)]

    behind = b"".join(prefix.take(part) for part in repeated)
    prefix.check_end()

    assert behind == b"efg"


def test_another_beginning_is_found_before_anything_behind_it_is_served() -> None:
    """H23."""
    prefix = prefix_of(b"abcd")

    assert prefix.take(b"abX") == b""
    with pytest.raises(AnswerChangedError, match="first 4 bytes differ"):
        prefix.take(b"defg")


def test_an_answer_that_got_shorter_is_another_answer() -> None:
    """H23."""
    prefix = prefix_of(b"abcd")
    prefix.take(b"abc")

    with pytest.raises(AnswerChangedError, match="1 bytes short of the recorded 4"):
        prefix.check_end()


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (404, [], "status 200 became 404"),
        (200, [(b"etag", b"2")], "etag 1 became 2"),
        (200, [(b"ETag", b"1"), (b"Content-Length", b"8")], "content-length 7 became 8"),
    ],
)
def test_status_and_validators_must_be_the_recorded_ones(
    status: int, headers: list[tuple[bytes, bytes]], message: str
) -> None:
    """H23."""
    recorded = make_head(200, [(b"ETag", b"1"), (b"Content-Length", b"7")], b"HTTP/1.1", None)
    prefix = RecordedPrefix(recorded)

    with pytest.raises(AnswerChangedError, match=message):
        prefix.check_head(make_head(status, headers, b"HTTP/1.1", None))


def test_a_date_may_change() -> None:
    """H23."""
    prefix = RecordedPrefix(make_head(200, [(b"Date", b"then")], b"HTTP/1.1", None))

    prefix.check_head(make_head(200, [(b"Date", b"now")], b"HTTP/1.0", None))


# --- answers of users -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "body", "content_type"),
    [
        ({"body": "grüß"}, "grüß".encode(), b"text/plain; charset=utf-8"),
        ({"json": {"a": [1, None]}}, b'{"a": [1, null]}', b"application/json"),
        ({"json": None}, b"null", b"application/json"),
        ({"body_base64": "AP8="}, b"\x00\xff", b"application/octet-stream"),
        ({"body": "<p>", "headers": {"Content-Type": "text/html"}}, b"<p>", b"text/html"),
        ({"body": "", "headers": [["content-type", "a/b"]]}, b"", b"a/b"),
    ],
)
def test_an_answer_becomes_a_head_and_a_body(
    given: dict[str, Any], body: bytes, content_type: bytes
) -> None:
    outcome = parse_answer(json.dumps({"status": 201, **given}).encode())

    headers = {name.lower(): value for name, value in outcome.value["head"]["headers"]}
    assert outcome.value["head"]["status"] == 201
    assert outcome.value["body"] == body
    assert headers == {b"content-type": content_type, b"content-length": b"%d" % len(body)}


def test_cookies_of_an_answer_are_sealed_and_framing_is_ours() -> None:
    answer = {
        "status": 200,
        "headers": [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["Content-Length", "99"]],
    }

    outcome = parse_answer(json.dumps(answer).encode())

    assert outcome.value["head"]["headers"] == [
        [b"Set-Cookie", Secret(b"a=1")],
        [b"Set-Cookie", Secret(b"b=2")],
        [b"content-length", b"0"],
    ]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the file is no JSON"),
        (b"\xff", "the file is no JSON"),
        (b"[" * 200_000, "the file is no JSON"),
        (b"[]", "the file holds a JSON list"),
        (b"{}", "its status is None"),
        (b'{"status": "200"}', "its status is '200'"),
        (b'{"status": true}', "its status is True"),
        (b'{"status": 100}', "its status is 100"),
        (b'{"status": 200, "text": ""}', "it has the unknown field 'text'"),
        (b'{"status": 200, "headers": "a: b"}', "its headers are a JSON str"),
        (b'{"status": 200, "headers": [["a"]]}', "one of its headers is ['a']"),
        (b'{"status": 200, "headers": {"a": 1}}', "one of its headers is ('a', 1)"),
        (
            '{"status": 200, "headers": {"a": "€"}}'.encode(),
            "the header 'a' is not plain text",
        ),
        (b'{"status": 200, "body": "", "json": 1}', "it has both 'body' and 'json'"),
        (b'{"status": 200, "body": {}}', "its 'body' is a JSON dict"),
        (b'{"status": 200, "body_base64": "?"}', "its 'body_base64' cannot be decoded"),
        (
            b'{"status": 200, "body": "", "headers": {"Content-Encoding": "gzip"}}',
            "it has a Content-Encoding, but no 'body_base64'",
        ),
    ],
)
def test_a_wrong_answer_is_rejected_with_what_was_found(data: bytes, found: str) -> None:
    with pytest.raises(AnswerRejectedError) as rejected:
        parse_answer(data)

    assert rejected.value.found.startswith(found)
    assert "status" in str(rejected.value)


def test_details_that_stay_the_same_are_the_same_object() -> None:
    headers = describe_headers([(b"Accept", b"*/*")])

    first = headers.details({"read": 5.0}, 0)

    assert headers.details({"read": 5.0}, 0) is first
    assert headers.details({"read": 6.0}, 0) == {
        "headers": {"accept": "*/*"},
        "timeout": {"read": 6.0},
        "sent_bytes": 0,
    }
    assert first["timeout"] == {"read": 5.0}
