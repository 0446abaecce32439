"""Answers of HTTP that hold secrets: which bodies are sealed, and what of them is registered (H18).

A token that a service hands out must be served again on replay, so it can't be redacted: the body
is encrypted. That is so for answers of addresses that hand out tokens (`/oauth/token`, a login),
and for others from the first name of a token on that stands in them: JSON, forms, XML. What can't
be looked into (an unknown content-encoding, or far too much of it) is sealed, too; sealing costs
nothing but that `durable show` can't show it.

The values found are registered: printed by a cell, they are redacted. The names of fields decide;
`next_page_token` is none. Knows no library.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from durable_kernel.effects.http_chunks import ChunkScanner
from durable_kernel.effects.http_tokens import (
    NAME_HINTS,
    VALUE_CHARS_MIN,
    holds_secret,
    is_secret_target,
    tokens_in,
)
from durable_kernel.ports import Secret

__all__ = ["AnswerGuard", "is_harmless", "is_harmless_text"]

_TEXT_TYPES = (b"json", b"form", b"xml", b"text", b"javascript")
_COOKIE_NAMES = re.compile(r"sess|token|auth|sid|jwt|csrf|xsrf|secret|key", re.IGNORECASE)
_CHUNK = re.compile(rb"[0-9a-fA-F]+(;[^\r\n]*)?\r\n")
_TAIL_BYTES = 64
_KEPT_BYTES_MAX = 1 << 20
_PLAIN_BYTES_MAX = 32 << 20
_LITERAL_OPENINGS = (b"{", b"[", b'"', b"<")


def is_harmless(label: str, content: bytes) -> bool:
    """Tell, at the price of a glance, that an answer which begins so needs no guard yet.

    It is plain text without the name of a token, from an address that hands out none.
    """
    return is_harmless_text(content) and not is_secret_target(label)


def is_harmless_text(content: bytes) -> bool:
    """Tell whether an answer begins as plain text, and names no token. Half of `is_harmless`."""
    if content[:1] not in _LITERAL_OPENINGS or not content.isascii():
        return False
    for hint in NAME_HINTS:
        if hint in content:
            return not holds_secret(content)
    return True


class AnswerGuard:
    """Looks at one answer on its way to disk. Implements `ports.Guard`.

    Args:
        label: of the call; it holds the address.
        head: as `http_wire` draws it.
    """

    def __init__(self, label: str, head: Mapping[str, Any]) -> None:
        self.is_secret = is_secret_target(label)
        self._head = head
        self._is_begun = False
        self._is_text = True
        self._encoding = b""
        self._unpack: Any = None
        self._dechunk: ChunkScanner | None = None
        self._tail = b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def look(self, content: bytes) -> bytes | None:
        """Return what the next parts say in plain; None: they are secret, and all that follow."""
        if not self._is_begun:
            self._begin(content)
        if not self._is_text:
            return None if self.is_secret else content
        plain = content
        if self._encoding or self._dechunk is not None:
            decoded = self._plain(content)
            if decoded is None:
                self.is_secret = True
                return None
            plain = decoded
        text = self._tail + plain if self._tail else plain
        self._tail = text[-_TAIL_BYTES:]
        if not self.is_secret:
            if not holds_secret(text):
                return plain
            self.is_secret = True
            plain = text
        if self._kept_bytes < _KEPT_BYTES_MAX:
            self._kept.append(plain)
            self._kept_bytes += len(plain)
        return None

    def found(self) -> Iterator[tuple[str, str]]:
        """Yield names and values of the tokens so far: in the headers, and in what was sealed."""
        for name, value in self._head["headers"]:
            if isinstance(value, Secret):
                assert isinstance(value.value, bytes), "headers are bytes"
                yield from _secrets_of_header(name.lower().decode("latin-1"), value.value)
        if self._kept:
            yield from tokens_in(b"".join(self._kept))

    # --- decoding -------------------------------------------------------------------------------

    def _begin(self, content: bytes) -> None:
        """Find out how the answer is written. Plain text that begins as such needs no look."""
        self._is_begun = True
        if content[:1] in _LITERAL_OPENINGS and content.isascii():
            return
        for name, value in self._head["headers"]:
            lowered = name.lower()
            if lowered == b"content-type":
                kind = value.lower()
                self._is_text = any(each in kind for each in _TEXT_TYPES)
            elif lowered == b"content-encoding" and value.strip().lower() != b"identity":
                self._encoding = value.strip().lower()
                self._unpack = _unpacker(self._encoding)
            elif lowered == b"transfer-encoding" and _CHUNK.match(content):
                self._dechunk = ChunkScanner()  # aiohttp records chunks; the others undo them

    def _plain(self, content: bytes) -> bytes | None:
        """Undo chunks and the content-encoding. None: it can't be done."""
        if self._dechunk is not None:
            content = b"".join(self._dechunk.scan(content))
        if not self._encoding:
            return content
        if self._unpack is None:
            return None
        try:
            plain: bytes | None = self._unpack(content)
        except Exception:  # noqa: BLE001 - each library has its own; what can't be read is sealed
            return None
        return plain


def _unpacker(encoding: bytes) -> Any:
    """Return what decodes a content-encoding piece by piece; None where nobody here can."""
    if encoding in {b"gzip", b"x-gzip", b"deflate"}:
        return _Inflating()
    # Only a client that has the library asks for these; it is loaded then.
    brotli: Any = sys.modules.get("brotli") or sys.modules.get("brotlicffi")
    if encoding == b"br" and brotli is not None:
        decompressor = brotli.Decompressor()
        return getattr(decompressor, "process", None) or decompressor.decompress
    zstandard: Any = sys.modules.get("zstandard")
    if encoding == b"zstd" and zstandard is not None:
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return None


class _Inflating:
    """Undoes gzip and deflate, with and without zlib's header."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
        self._is_first = True

    def __call__(self, content: bytes) -> bytes | None:
        is_first, self._is_first = self._is_first and not content, False
        try:
            plain = self._decoder.decompress(content, _PLAIN_BYTES_MAX)
        except zlib.error:
            if is_first:
                raise
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            plain = self._decoder.decompress(content, _PLAIN_BYTES_MAX)
        return None if self._decoder.unconsumed_tail else plain


def _secrets_of_header(name: str, value: bytes) -> Iterator[tuple[str, str]]:
    text = value.decode("latin-1")
    if name.startswith("set-cookie"):
        cookie, _, rest = text.partition(";")
        cookie_name, _, text = cookie.partition("=")
        name = cookie_name.strip() or name
        if "httponly" not in rest.lower() and not _COOKIE_NAMES.search(name):
            return
    elif name == "location":
        return
    text = text.strip().strip('"')
    scheme, space, credentials = text.partition(" ")
    text = credentials if space and scheme.isalpha() else text
    if len(text) >= VALUE_CHARS_MIN:
        yield name, text
