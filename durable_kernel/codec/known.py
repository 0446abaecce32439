"""Known secrets: values that must not reach the disk, and keyed stand-ins for those that do.

What a request sends is replaced by hashes under the key of one run (`hide`, `body_digest`): equal
secrets look equal within the run, and nobody without the key finds a short one by trying. Values
that are *registered* are looked for in everything that is about to be written. They are found as
they are, and as Python, JSON, HTML, URLs and base64 write them.

Looking is one `in` per form, not one regular expression: over 1 MB and 4 forms that takes 0.4 ms
against 5 ms. Nothing is looked for while nothing is registered. Replacing is done only on a hit.
A value that stands in two separate pieces of text, or is compressed or encrypted, is not found.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

__all__ = ["VALUE_CHARS_MIN", "BodyHash", "KnownSecrets", "secrets_of_variable"]

VALUE_CHARS_MIN: Final = 4
"""Shorter values stand everywhere by chance: who registers one would see every output torn."""

AMBIENT_CHARS_MIN: Final = 8
_BASE64_CHARS_MIN: Final = 10  # a secret of eight bytes; below, chance matches
_NAME_CHARS_MAX: Final = 60
_BEGINNING: Final = 4
_DIGEST_BYTES: Final = 16
_STAND_IN_BYTES: Final = 8
_DEPTH_MAX: Final = 100

_VARIABLE: Final = re.compile(
    r"(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|API_?KEY|PRIVATE_?KEY)|(^|_)(KEY|PASS|PWD|AUTH|PAT)$",
    re.IGNORECASE,
)
_NOT_A_VALUE: Final = re.compile(
    r"(_(FILE|PATH|DIR|URL|URI|HOST|NAME|TTL|SOCK|TYPE))$|^(OLD)?PWD$", re.IGNORECASE
)
_HAS_PASSWORD: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s]*:[^/\s]*@", re.IGNORECASE)
_BASE64_TO_URL: Final = str.maketrans("+/", "-_")


def secrets_of_variable(name: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of the secrets in a variable of the environment.

    That is its value if its name says so, and the password of a URL in any. Values of fewer than
    eight characters and names of files are none.
    """
    if len(value) < AMBIENT_CHARS_MIN:
        return
    if _VARIABLE.search(name) and not _NOT_A_VALUE.search(name) and not value.startswith("/"):
        yield name, value
    elif _HAS_PASSWORD.match(value):
        try:
            password = urlsplit(value).password or ""
        except ValueError:  # an unfinished IPv6 address, or the like
            return
        for each in {password, unquote(password)}:
            if len(each) >= AMBIENT_CHARS_MIN:
                yield name, each


class KnownSecrets:
    """The secrets of one run. Implements `ports.Secrets`; safe from any thread.

    Args:
        key: 32 bytes, of this run alone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._found: tuple[tuple[str, ...], tuple[bytes, ...]] = (), ()
        self._beginnings: tuple[bytes, ...] = ()
        self._pattern: re.Pattern[str] | None = None
        self._bytes_pattern: re.Pattern[bytes] | None = None
        self.longest = 0
        """Bytes of the longest form."""
        self.is_armed = False
        """Whether anything is looked for. Plain, because each frame asks."""
        self.forms_count = 0
        """How many forms are looked for; it never shrinks."""

    def __repr__(self) -> str:
        return f"<KnownSecrets, {len(self._found[0])} forms>"  # never a value

    # --- keyed stand-ins ------------------------------------------------------------------------

    def fingerprint(self, content: bytes) -> str:
        """Hash under the run's key: 32 hexadecimal digits, whatever is registered by then."""
        return blake2b(content, key=self._key, digest_size=16).hexdigest()

    def hide(self, value: bytes) -> str:
        """Stand in for a secret of a request: `hash:` and 16 hexadecimal digits.

        A registered value counts as its name, as in a body.
        """
        if self._names:
            value = self.redact_bytes(value)
        digest = blake2b(value, digest_size=_STAND_IN_BYTES, key=self._key, person=b"dk-secret")
        return "hash:" + digest.hexdigest()

    def body_digest(self, body: bytes) -> str:
        """Hash a request body: 32 hexadecimal digits, "" of an empty one.

        Registered values count as their names: one that was changed since is no other body.
        """
        if not body:
            return ""
        if self._names:
            body = self.redact_bytes(body)
        return blake2b(
            body, digest_size=_DIGEST_BYTES, key=self._key, person=b"dk-body"
        ).hexdigest()

    def body_hash(self) -> BodyHash:
        """Hash a body that comes in pieces; the result is that of `body_digest`."""
        return BodyHash(self, blake2b(digest_size=_DIGEST_BYTES, key=self._key, person=b"dk-body"))

    # --- registering ----------------------------------------------------------------------------

    def register(self, name: str, value: str | bytes) -> bool:
        """Look for this value from now on. False: it is too short, or known by now."""
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if len(text.strip()) < VALUE_CHARS_MIN:
            return False
        marker = f"‹secret {_shown(name)}›"
        with self._lock:
            new = [form for form in _forms(text) if form not in self._names]
            if not new:
                return False
            self._names.update(dict.fromkeys(new, marker))
            # Longest first: a secret that contains another one is replaced as a whole.
            texts = tuple(sorted(self._names, key=len, reverse=True))
            encoded = tuple(_to_bytes(each) for each in texts)
            self.longest = max(map(len, encoded))
            self._pattern = re.compile("|".join(map(re.escape, texts)))
            self._bytes_pattern = re.compile(b"|".join(map(re.escape, encoded)))
            self._beginnings = tuple(each[:_BEGINNING] for each in encoded)
            self._found = texts, encoded
            self.forms_count = len(texts)
            self.is_armed = True
        return True

    def note_variable(self, name: str, value: str) -> None:
        """Register what is secret in a variable of the environment."""
        for found_name, found in secrets_of_variable(name, value):
            self.register(found_name, found)

    # --- looking --------------------------------------------------------------------------------

    def is_in(self, content: bytes) -> bool:
        """Tell whether a registered value stands in these bytes."""
        for form in self._found[1]:  # noqa: SIM110 - `any` with a generator costs twice as much
            if form in content:
                return True
        return False

    def is_in_text(self, text: str) -> bool:
        """Tell whether a registered value stands in this text."""
        for form in self._found[0]:  # noqa: SIM110 - as above
            if form in text:
                return True
        return False

    def may_begin_in(self, content: bytes) -> bool:
        """Tell whether these bytes end in the middle of a registered value."""
        tail = content[1 - self.longest :]
        for form, beginning in zip(self._found[1], self._beginnings, strict=False):
            start = tail.find(beginning)
            while start >= 0:
                if form.startswith(tail[start:]):
                    return True
                start = tail.find(beginning, start + 1)
        return False

    # --- replacing ------------------------------------------------------------------------------

    def redact_text(self, text: str) -> str:
        """Replace registered values by `‹secret NAME›`; the same object if there is none."""
        if not self.is_in_text(text):
            return text
        assert self._pattern is not None, "something was found"
        return self._pattern.sub(lambda found: self._names[found[0]], text)

    def redact_bytes(self, content: bytes) -> bytes:
        """Replace registered values in bytes; the same object if there is none."""
        if not self.is_in(content):
            return content
        assert self._bytes_pattern is not None, "something was found"
        return self._bytes_pattern.sub(self.marker_of, content)

    def redacted(self, value: Any, depth: int = 0) -> Any:
        """Replace registered values anywhere in text, bytes, dicts (keys too), lists and tuples.

        Gives back the same object where there is none; else plain ones, also of subclasses.
        """
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, bytes):
            return self.redact_bytes(value)
        if depth == _DEPTH_MAX:
            return value
        if isinstance(value, dict):
            pairs = [
                (self.redacted(key, depth + 1), self.redacted(item, depth + 1))
                for key, item in value.items()
            ]
            is_same = all(
                new[0] is key and new[1] is item
                for new, (key, item) in zip(pairs, value.items(), strict=True)
            )
            return value if is_same else dict(pairs)
        if isinstance(value, (list, tuple)):
            items = [self.redacted(item, depth + 1) for item in value]
            is_same = all(new is old for new, old in zip(items, value, strict=True))
            if is_same:
                return value
            return tuple(items) if isinstance(value, tuple) else items
        return value

    def marker_of(self, found: re.Match[bytes]) -> bytes:
        """Return what stands in for a hit in bytes."""
        return self._names[found[0].decode("utf-8", "surrogatepass")].encode()

    def matches(self, content: bytes) -> Iterator[re.Match[bytes]]:
        """Yield the hits in bytes, from left to right."""
        return self._bytes_pattern.finditer(content) if self._bytes_pattern else iter(())


class BodyHash:
    """Hashes a body that comes in pieces, with registered values replaced by their names.

    As many bytes as a value may have are held back, so that one on a border is found.
    """

    def __init__(self, known: KnownSecrets, digest: Any) -> None:
        self._known = known
        self._digest = digest
        self._held = b""
        self._is_empty = True

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        if not piece:
            return
        self._is_empty = False
        if not self._known.is_armed and not self._held:
            self._digest.update(piece)
            return
        content = self._held + piece
        border = max(len(content) - self._known.longest + 1, 0)
        done = _feed(self._digest, self._known, content, border)
        self._held = content[done:]

    def hexdigest(self) -> str:
        """Return the digest of what came so far; "" if nothing came."""
        if self._is_empty:
            return ""
        digest = self._digest.copy()
        _feed(digest, self._known, self._held, len(self._held))
        result: str = digest.hexdigest()
        return result


def _feed(digest: Any, known: KnownSecrets, content: bytes, border: int) -> int:
    """Hash content up to `border`, or to the end of a value that begins before it."""
    done = 0
    if known.is_in(content):
        for found in known.matches(content):
            if found.start() >= border:
                break
            digest.update(content[done : found.start()])
            digest.update(known.marker_of(found))
            done = found.end()
    if done < border:
        digest.update(content[done:border])
        done = border
    return done


def _shown(name: str) -> str:
    """Return a name that fits into a line: printable, not long, no marks of ours."""
    kept = "".join(char for char in name if char.isprintable() and char not in "‹›")
    return kept.strip()[:_NAME_CHARS_MAX] or "?"


def _forms(value: str) -> set[str]:
    """Return the ways in which a secret is written.

    As it is and without space around it; inside literals of Python and JSON; in HTML; in a URL; and
    in base64, of both alphabets, wherever it begins in what was encoded.
    """
    forms = set()
    for plain in {value, value.strip()}:
        raw = _to_bytes(plain)
        forms |= {plain, repr(plain)[1:-1], repr(raw)[2:-1]}
        forms |= {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
        forms |= {html.escape(plain), html.escape(plain, quote=False)}
        forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw)}
        for before in range(3):
            coded = _inner_base64(raw, before)
            if len(coded) >= _BASE64_CHARS_MIN:
                forms |= {coded, coded.translate(_BASE64_TO_URL)}
    return {form for form in forms if len(form) >= VALUE_CHARS_MIN}


def _inner_base64(raw: bytes, before: int) -> str:
    """Encode a secret behind `before` unknown bytes; only the characters that it decides alone."""
    coded = base64.b64encode(bytes(before) + raw).decode("ascii")
    first = (8 * before + 5) // 6
    return coded[first : 8 * (before + len(raw)) // 6]


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
