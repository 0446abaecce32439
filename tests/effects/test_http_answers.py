"""Answers that hold secrets: which are sealed, and what of them becomes registered (H18)."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from durable_kernel.effects.http_answers import AnswerGuard
from durable_kernel.effects.http_tokens import hide_in_command, is_secret_target, tokens_in
from durable_kernel.effects.http_wire import make_head

OAUTH = json.dumps(
    {
        "access_token": "ya29.a0-access",
        "refresh_token": "1//0refresh",
        "expires_in": 3600,
        "token_type": "Bearer",
    }
).encode()
JSON = (b"Content-Type", b"application/json; charset=utf-8")


def guard(*headers: tuple[bytes, bytes], url: str = "http://a.example/api/v1") -> AnswerGuard:
    return AnswerGuard(f"POST {url}", make_head(200, headers, b"HTTP/1.1", b"OK"))


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


SECRET_BODIES = {
    "oauth": OAUTH,
    "camel case": b'{"accessToken": "abcdefgh-1"}',
    "form": b"oauth_token_type=x&access_token=abcdefgh-1&scope=repo",
    "xml": b"<a><SessionToken>abcdefgh-1</SessionToken></a>",
    "json in json": json.dumps({"body": json.dumps({"client_secret": "abcdefgh-1"})}).encode(),
    "password": b'{"user": "me", "password": "abc"}',
}


@pytest.mark.parametrize("body", SECRET_BODIES.values(), ids=SECRET_BODIES.keys())
def test_a_body_that_names_a_token_is_sealed_wherever_it_came_from(body: bytes) -> None:
    assert guard(JSON).look(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"next_page_token": "abc", "nextToken": "x", "usage": {"total_tokens": 5}}',
        b'{"tokens": 12, "keys": ["a"], "passage": "secretary"}',
        b"<html>the token is here</html>",
    ],
)
def test_what_only_sounds_like_a_token_is_not_sealed(body: bytes) -> None:
    assert guard(JSON).look(body) == body


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/oauth/token",
        "https://a.example/token?x=1",
        "https://oauth2.example/v4/x",
        "https://a.example/api/login",
        "https://a.example/realms/r/protocol/openid-connect/token",
    ],
)
def test_answers_of_addresses_that_hand_out_tokens_are_sealed(url: str) -> None:
    assert guard((b"Content-Type", b"application/octet-stream"), url=url).look(b"opaque") is None


@pytest.mark.parametrize(
    "url", ["https://a.example/v1/tokenize", "https://a.example/x?next=/login", "https://a/loginsx"]
)
def test_other_addresses_are_none_of_them(url: str) -> None:
    assert not is_secret_target(url)


ENCODED = {
    "gzip": ((b"Content-Encoding", b"gzip"), gzip.compress(OAUTH)),
    "deflate": ((b"Content-Encoding", b"deflate"), zlib.compress(OAUTH)),
    "raw deflate": ((b"Content-Encoding", b"deflate"), zlib.compress(OAUTH)[2:-4]),
    "unknown": ((b"Content-Encoding", b"x-mine"), b"???"),
    "broken": ((b"Content-Encoding", b"gzip"), b"no gzip at all"),
    "chunks": ((b"Transfer-Encoding", b"chunked"), chunked(OAUTH, 5)),
}


@pytest.mark.parametrize(("header", "content"), ENCODED.values(), ids=ENCODED.keys())
def test_encoded_answers_are_looked_into_or_sealed(
    header: tuple[bytes, bytes], content: bytes
) -> None:
    watch = guard(JSON, header)

    assert watch.look(content) is None
    expected = (
        {"ya29.a0-access", "1//0refresh"} if content not in (b"???", b"no gzip at all") else set()
    )
    assert {value for _, value in watch.found()} == expected


@pytest.mark.parametrize("encode", [bytes, gzip.compress, lambda body: chunked(body, 7)])
def test_a_name_that_is_cut_in_two_is_found_before_its_value(encode: Any) -> None:
    """How parts are joined depends on the moment of the write."""
    content = encode(b'{"x": 1, ' + OAUTH[1:])
    headers = [JSON]
    if content[:2] == b"\x1f\x8b":
        headers.append((b"Content-Encoding", b"gzip"))
    if content[:3] == b"7\r\n":
        headers.append((b"Transfer-Encoding", b"chunked"))
    watch = guard(*headers)

    pieces = [content[:3], *(content[at : at + 1] for at in range(3, len(content)))]
    shown = b"".join(watch.look(each) or b"" for each in pieces)

    assert b"ya29" not in shown
    assert ("access_token", "ya29.a0-access") in list(watch.found())


def test_an_answer_that_is_small_and_grows_without_bound_is_sealed() -> None:
    bomb = gzip.compress(b" " * (64 << 20))

    assert guard(JSON, (b"Content-Encoding", b"gzip")).look(bomb) is None


def test_tokens_are_found_with_their_values() -> None:
    found = list(tokens_in(b'{"access_token":"a\\/b\\u0041-1234","token":"word","password":"x"}'))

    assert found == [("access_token", "a/bA-1234")]


def test_what_is_only_called_a_token_has_to_look_like_one() -> None:
    """Else a word of a tokenizer would be redacted in every output."""
    found = list(tokens_in(b'{"token":"interesting"}{"token":"9f8e7d6c5b4a39281"}'))

    assert found == [("token", "9f8e7d6c5b4a39281")]


def test_session_cookies_and_tokens_in_headers_are_found() -> None:
    watch = guard(
        (b"Set-Cookie", b"session=abcdefgh-1; Path=/"),
        (b"Set-Cookie", b"other=abcdefgh-2; HttpOnly"),
        (b"Set-Cookie", b"theme=dark-and-long; Path=/"),
        (b"X-Auth-Token", b"abcdefgh-3"),
        (b"Authorization", b"Bearer abcdefgh-4"),
    )

    assert [value for _, value in watch.found()] == [f"abcdefgh-{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("curl -H Authorization: Bearer abc.d -s http://a/", "Authorization: Bearer ‹hidden› -s"),
        ("curl -u me:abc http://a/", "-u me:‹hidden› http://a/"),
        ("git clone https://me:abc@host/x", "https://me:‹hidden›@host/x"),
        ("tool --password=abc --token abc x", "--password=‹hidden› --token ‹hidden› x"),
        ("env MY_API_KEY=abc run", "MY_API_KEY=‹hidden› run"),
        ("curl http://a/?access_token=abc&page=2", "access_token=‹hidden›&page=2"),
        ("python -u script.py http://a:80/", "http://a:80/"),
        ("pytest tests/token tokenize x=1", "pytest tests/token tokenize x=1"),
    ],
)
def test_secrets_in_a_command_line_are_not_shown(command: str, shown: str) -> None:
    assert shown in hide_in_command(command)
    assert "abc" not in hide_in_command(command)
