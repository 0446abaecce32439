"""Known secrets: found in whatever form they are written, replaced by their names (H18)."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from typing import NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, strategies as st

from durable_kernel.codec import KnownSecrets, secrets_of_variable

KEY = b"k" * 32


class Pair(NamedTuple):
    name: str
    number: int


VALUE = 'pa"ss<w>rd/äö+ 42\\'


def known_secrets(*values: str) -> KnownSecrets:
    known = KnownSecrets(KEY)
    for value in values:
        known.register("NAME", value)
    return known


FORMS = {
    "as it is": VALUE,
    "repr": repr(VALUE),
    "repr of bytes": repr(VALUE.encode()),
    "json": json.dumps({"password": VALUE}),
    "json, not escaped": json.dumps({"password": VALUE}, ensure_ascii=False),
    "html": f"<b>{html.escape(VALUE)}</b>",
    "query": urlencode({"password": VALUE}),
    "path": "/" + quote(VALUE),
    "form": quote_plus(VALUE),
    **{
        f"base64 at {at}": base64.b64encode(b"x" * at + VALUE.encode() + b":yz").decode()
        for at in range(4)
    },
    "base64 of URLs": base64.urlsafe_b64encode(b"user:" + VALUE.encode()).decode(),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_a_registered_value_is_found_in_every_form(text: str) -> None:
    known = known_secrets(VALUE)

    redacted = known.redact_text(f"before {text} behind")

    assert "‹secret NAME›" in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" behind")
    assert known.is_in(text.encode())
    assert not known.is_in(redacted.encode())


def test_what_holds_no_secret_is_the_same_object() -> None:
    known = known_secrets(VALUE)
    value = {"a": ["text", b"bytes", ("x",), 7, None, {"b": 1.5}]}

    assert known.redacted(value) is value


def test_values_are_replaced_anywhere_in_containers() -> None:
    known = known_secrets("hunter2-hunter2")

    found = known.redacted(
        {"x hunter2-hunter2": [("hunter2-hunter2!", 7)], "y": b"hunter2-hunter2"}
    )

    assert found == {
        "x ‹secret NAME›": [("‹secret NAME›!", 7)],
        "y": "‹secret NAME›".encode(),
    }


def test_values_are_replaced_in_subclasses_too() -> None:
    """What a display formatter returns is anything that looks like a dict."""
    known = known_secrets("hunter2-hunter2")
    holder = Counter({"hunter2-hunter2": 7})

    assert known.redacted([holder, Pair("hunter2-hunter2", 1)]) == [
        {"‹secret NAME›": 7},
        ("‹secret NAME›", 1),
    ]


def test_a_secret_within_another_one_does_not_uncover_the_rest() -> None:
    known = known_secrets("abcdefgh", "abcdefgh-and-more")

    assert known.redact_text("abcdefgh-and-more") == "‹secret NAME›"


@pytest.mark.parametrize("value", ["", "abc", "   x   "])
def test_what_is_too_short_is_not_looked_for(value: str) -> None:
    known = known_secrets(value)

    assert not known.is_armed


def test_a_value_never_shows_in_a_repr() -> None:
    assert VALUE not in repr(known_secrets(VALUE))


# --- bodies -------------------------------------------------------------------------------------


def test_digests_of_bodies_are_keyed() -> None:
    """A short body behind a plain hash is found by trying."""
    first, second = KnownSecrets(KEY), KnownSecrets(b"o" * 32)

    assert first.body_digest(b"1234") != second.body_digest(b"1234")
    assert first.hide(b"1234") != second.hide(b"1234")
    assert first.body_digest(b"1234") != first.body_digest(b"1235")
    assert first.body_digest(b"") == first.body_hash().hexdigest() == ""


def test_a_body_is_the_same_when_its_registered_secret_was_changed() -> None:
    """H18: rotation is no divergence."""
    before, after = known_secrets("the-old-token"), known_secrets("a-new-and-longer-token")

    assert before.body_digest(b'{"t":"the-old-token"}') == after.body_digest(
        b'{"t":"a-new-and-longer-token"}'
    )


@given(
    st.lists(st.sampled_from([b"sec", b"ret-", b"1234567", b"secret-1234567", b"x", b"", b"\xff"])),
    st.booleans(),
)
def test_a_body_in_pieces_has_the_digest_of_the_whole(pieces: list[bytes], armed: bool) -> None:
    known = known_secrets(*(["secret-1234567", "1234567x"] if armed else []))
    hashed = known.body_hash()

    for piece in pieces:
        hashed.update(piece)

    assert hashed.hexdigest() == known.body_digest(b"".join(pieces))
    assert hashed.hexdigest() == known.body_digest(b"".join(pieces))


@given(st.integers(4, 11))
def test_the_beginning_of_a_value_is_recognised_at_an_end(length: int) -> None:
    known = known_secrets("secret-12345")

    assert known.may_begin_in(b"text " + b"secret-12345"[:length])
    assert not known.may_begin_in(b"text " + b"secret-12345"[:length] + b".")


# --- the environment ----------------------------------------------------------------------------

SECRET_VARIABLES = {
    "GITHUB_TOKEN": "ghp_123456789",
    "OPENAI_API_KEY": "sk-123456789",
    "AWS_SECRET_ACCESS_KEY": "abc/def+12345678",
    "DB_PASSWORD": "hunter2-hunter2",
    "SESSION_SECRET": "s3cr3t-value",
    "APP_KEY": "base64:12345678",
    "my_pass": "hunter2-hunter2",
}


@pytest.mark.parametrize("name", SECRET_VARIABLES)
def test_variables_with_secret_names_are_secrets(name: str) -> None:
    value = SECRET_VARIABLES[name]

    assert list(secrets_of_variable(name, value)) == [(name, value)]


def test_passwords_in_urls_are_secrets_in_any_variable() -> None:
    found = dict.fromkeys(
        value for _, value in secrets_of_variable("HTTPS_PROXY", "http://me:pass%2Fword1@proxy:1/")
    )

    assert sorted(found) == ["pass%2Fword1", "pass/word1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/bin:/bin"),
        ("PWD", "a folder of the project"),
        ("TOKEN", "short"),
        ("SSH_KEY", "/srv/keys/of/ssh"),
        ("DURABLE_KEY_FILE", "relative/key-file"),
        ("HOMEPAGE", "https://example.org/a:b@c"),
        ("LANG", "en_US.UTF-8"),
        ("MONKEY", "a-long-value"),
        ("BROKEN", "http://me:password1@[::1/"),
    ],
)
def test_other_variables_are_not(name: str, value: str) -> None:
    assert list(secrets_of_variable(name, value)) == []
