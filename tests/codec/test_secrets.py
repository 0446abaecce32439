"""Secrets: answers are sealed under a key, requests leave a keyed hash; nothing prints either."""

from __future__ import annotations

import copy
import json
import os
import pickle
from typing import Any

import pytest
from hypothesis import given, strategies as st

from durable_kernel.codec import (
    SAFE_REQUEST_HEADERS,
    Sealed,
    Sealer,
    decode,
    digest,
    encode,
    is_storable,
    keyed_hash,
    plain,
    redact_headers,
    redact_url,
)
from durable_kernel.errors import OutcomeNotStorableError, SealedSecretError

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
SECRET = "hunter2-hunter2"


# --- answers (H18) --------------------------------------------------------------------------------


@given(st.one_of(st.text(st.characters(exclude_categories=())), st.binary()))
def test_a_sealed_answer_comes_back_with_the_key(secret: str | bytes) -> None:
    """H18: replay must serve Set-Cookie, an OAuth token, a password."""
    answer = {"head": [("Set-Cookie", Sealed(secret))], "status": 200}

    back = decode(encode(answer, sealer=Sealer(KEY)), sealer=Sealer(KEY))

    assert back == answer
    assert type(back["head"][0][1].value) is type(secret)


def test_sealed_bytes_do_not_hold_the_secret() -> None:
    encoded = encode([Sealed(SECRET), Sealed(SECRET.encode())], sealer=Sealer(KEY))

    assert SECRET.encode() not in encoded


@pytest.mark.parametrize("reader", [None, Sealer(OTHER_KEY)], ids=["no key", "another key"])
def test_without_the_key_a_secret_stays_closed_and_can_be_written_again(
    reader: Sealer | None,
) -> None:
    encoded = encode({"cookie": Sealed(SECRET)}, sealer=Sealer(KEY))

    closed = decode(encoded, sealer=reader)["cookie"]

    assert not closed.is_open
    with pytest.raises(SealedSecretError):
        _ = closed.value
    assert encode({"cookie": closed}) == encoded
    assert decode(encode([closed]), sealer=Sealer(KEY)) == [Sealed(SECRET)]


def test_changed_sealed_bytes_never_open() -> None:
    box = Sealer(KEY).seal(SECRET)

    for index in range(len(box)):
        damaged = box[:index] + bytes([box[index] ^ 1]) + box[index + 1 :]
        with pytest.raises(SealedSecretError):
            Sealer(KEY).unseal(damaged)
        with pytest.raises(SealedSecretError):
            Sealer(KEY).unseal(box[:index])


def test_a_secret_is_never_written_without_a_key() -> None:
    for refused in (encode, digest):
        with pytest.raises(OutcomeNotStorableError, match="only written under a key"):
            refused([Sealed(SECRET)])
    assert is_storable([Sealed(SECRET)])


def test_nothing_shows_a_secret() -> None:
    """H18: outputs, logs, tracebacks and `show` hold ‹sealed›."""
    sealed = Sealed(SECRET)
    closed = decode(encode(sealed, sealer=Sealer(KEY)))

    for each in (sealed, closed):
        shown = [repr(each), str(each), f"{each}", f"{each!r:>20}", repr([each]), plain({each})]

        assert SECRET not in str(shown)
        assert all("‹sealed›" in str(text) for text in shown)


def test_a_secret_is_never_pickled() -> None:
    """H18: a checkpoint would hold it in clear text."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps([Sealed(SECRET)], protocol)


def test_a_secret_is_frozen_and_copies_as_itself() -> None:
    sealed = Sealed(SECRET)

    with pytest.raises(AttributeError):
        sealed._value = "other"
    with pytest.raises(AttributeError):
        del sealed._value
    assert copy.deepcopy([sealed])[0] is sealed
    assert copy.copy(sealed) is sealed


def test_secrets_are_equal_as_their_values_are() -> None:
    assert Sealed("a") == Sealed("a")
    assert hash(Sealed("a")) == hash(Sealed("a"))
    assert Sealed("a") != Sealed("b")
    assert Sealed("a") != Sealed(b"a")
    assert Sealed("a") != "a"


@pytest.mark.parametrize("value", [7, None, bytearray(b"x")])
def test_only_text_and_bytes_are_secrets(value: Any) -> None:
    with pytest.raises(TypeError):
        Sealed(value)


def test_a_nonce_is_drawn_from_the_system_though_entropy_is_hooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replayed nonce would be used twice, which opens AES-GCM."""
    monkeypatch.setattr(os, "urandom", bytes)

    boxes = {Sealer(KEY).seal(SECRET) for _ in range(50)}

    assert len({box[:12] for box in boxes}) == 50


def test_a_key_has_32_bytes() -> None:
    for key in (b"", bytes(16), bytes(33)):
        with pytest.raises(ValueError, match="32"):
            Sealer(key)
        with pytest.raises(ValueError, match=r"32|key"):
            keyed_hash(SECRET, key)


# --- requests -------------------------------------------------------------------------------------


def test_a_keyed_hash_is_short_stable_and_depends_on_the_key() -> None:
    found = keyed_hash(SECRET, KEY)

    assert found.startswith("hash:")
    assert len(found) == len("hash:") + 16
    assert found == keyed_hash(SECRET.encode(), KEY)
    assert found != keyed_hash(SECRET, OTHER_KEY)
    assert found != keyed_hash(SECRET + "x", KEY)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2-hunter2@api.example/x?page=2",
        "https://hunter2-hunter2@api.example:8443",
        "//user:hunter2-hunter2@api.example/x",
        "https://api.example/x?page=2&token=hunter2-hunter2",
        "https://api.example/x?api_key=hunter2-hunter2&page=2#part",
        "https://api.example/x?API-Key=hunter2-hunter2",
        "https://api.example/x?clientSecret=hunter2-hunter2;page=2",
        "https://api.example/x?X-Amz-Signature=hunter2-hunter2&X-Amz-Date=20240101",
        "https://api.example/x?X-Amz-Security-Token=hunter2-hunter2",
        "https://api.example/x?sig=hunter2-hunter2&sv=2020",
        "https://api.example/x?key=hunter2-hunter2",
        "https://api.example/x?pass%77ord=hunter2-hunter2",
        "https://api.example/callback?code=hunter2-hunter2",
        "https://api.example/#access_token=hunter2-hunter2&type=bearer",
        "api.example/x?password=hunter2-hunter2",
        "https://api.example/x?token=a=hunter2-hunter2",
    ],
)
def test_a_secret_in_a_url_is_hashed_and_the_rest_stays(url: str) -> None:
    redacted = redact_url(url, KEY)

    assert SECRET not in redacted
    assert "hash:" in redacted
    assert redacted != redact_url(url, OTHER_KEY)
    assert redacted != redact_url(url.replace("hunter2-", "hunter3-"), KEY)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/x?page=2&q=a%20b&empty=&flag#part",
        "https://api.example/x?",
        "https://api.example/a@b?mail=a@b.example",
        "HTTP://API.example:80/%7Ex//y/../z?&&a=1&a=2;b",
        "https://api.example/x?token=&key",
        "",
        "not a url at all",
        "https://[::1]:8888/x?a=\udcff\t\n",
    ],
)
def test_a_url_without_secrets_stays_to_the_letter(url: str) -> None:
    assert redact_url(url, KEY) == url


@given(st.text())
def test_any_text_can_be_redacted_as_a_url(url: str) -> None:
    assert isinstance(redact_url(url, KEY), str)


def test_headers_outside_the_allow_list_are_hashed() -> None:
    """H18: the rule is a list of what is safe; a name nobody thought of is a secret."""
    secret = [
        ("Authorization", f"Bearer {SECRET}"),
        ("Cookie", f"session={SECRET}"),
        ("cookie", f"other={SECRET}"),
        ("X-Nobody-Thought-Of", SECRET),
        ("Proxy-Authorization", SECRET),
    ]
    safe = [("Accept", "*/*"), ("USER-AGENT", "x"), ("Idempotency-Key", "k"), ("Range", "bytes=0-")]

    redacted = redact_headers([*secret, *safe], KEY)

    assert [name for name, _ in redacted] == [name for name, _ in [*secret, *safe]]
    assert SECRET not in str(redacted)
    assert all(value.startswith("hash:") for _, value in redacted[: len(secret)])
    assert redacted[len(secret) :] == safe


def test_a_referer_is_redacted_as_the_url_that_it_is() -> None:
    headers = [("Referer", f"https://a.example/x?token={SECRET}")]

    (name, value), *_ = redact_headers(headers, KEY)

    assert (name, value.partition("=")[0]) == ("Referer", "https://a.example/x?token")
    assert SECRET not in value


def test_the_allow_list_holds_no_header_that_carries_secrets() -> None:
    secret = {"authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"}

    assert not secret & SAFE_REQUEST_HEADERS
    assert all(name == name.lower() for name in SAFE_REQUEST_HEADERS)


def test_redacted_values_can_be_stored_and_shown() -> None:
    headers = redact_headers([("Authorization", SECRET)], KEY)

    assert json.dumps(plain(decode(encode(headers)))) == json.dumps([list(headers[0])])
