"""Sealing: answers that replay needs and nobody else may read (Set-Cookie, getpass, tokens).

A `Sealed` holds such a value in memory; a `Sealer` turns it into AES-256-GCM bytes under the key of
one run, and back. Without that key a reader gets a closed `Sealed`, which can be shown, copied and
written again, not opened. Nothing here prints a value, and a `Sealed` refuses to be pickled: a
checkpoint would hold it in clear text.
"""

from __future__ import annotations

import hmac

# Taken at import, before entropy is hooked: a recorded nonce would be served again on replay, and a
# nonce used twice opens AES-GCM.
from os import urandom as _system_entropy
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from durable_kernel.errors import SealedSecretError

__all__ = ["Sealed", "Sealer"]

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = (
    12  # NIST SP 800-38D, 8.2.2: random 96 bits, good for 2**32 seals under one key
)
_TAG_BYTES: Final = 16
_CONTEXT: Final = (
    b"durable_kernel codec sealed 1"  # a ciphertext of another use never opens as ours
)
_MASK: Final = "‹sealed›"


class Sealed:
    """A secret answer. Frozen; equal where the secrets are equal; shown as ‹sealed› everywhere.

    `Sealed(value)` is open. A closed one comes from `decode` without the right key.
    """

    __slots__ = ("_box", "_value")
    _box: bytes | None
    _value: str | bytes | None

    def __init__(self, value: str | bytes) -> None:
        if type(value) not in {str, bytes}:
            raise TypeError(f"a secret is a str or bytes, not {type(value).__name__}")
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "_box", None)

    @classmethod
    def closed(cls, box: bytes) -> Self:
        """Hold sealed bytes that are not opened."""
        sealed = cls(b"")
        object.__setattr__(sealed, "_value", None)
        object.__setattr__(sealed, "_box", box)
        return sealed

    @property
    def is_open(self) -> bool:
        return self._value is not None

    @property
    def value(self) -> str | bytes:
        """The secret. Raises SealedSecretError if it is closed."""
        if self._value is None:
            raise SealedSecretError("it was sealed with a key that is not at hand")
        return self._value

    @property
    def box(self) -> bytes | None:
        """The sealed bytes of a closed secret, None of an open one."""
        return self._box

    def __eq__(self, other: object) -> bool:
        if type(other) is not Sealed:
            return NotImplemented
        mine, theirs = self._comparable(), other._comparable()
        return mine[0] == theirs[0] and hmac.compare_digest(mine[1], theirs[1])

    def __hash__(self) -> int:
        return hash(self._comparable())

    def _comparable(self) -> tuple[str, bytes]:
        if self._value is None:
            return "closed", self._box or b""
        return type(self._value).__name__, _to_bytes(self._value)

    def __repr__(self) -> str:
        return _MASK

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a sealed secret is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a sealed secret is frozen")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a sealed secret is never pickled: the pickle would hold it in clear text")


class Sealer:
    """Seals and opens secrets with one key of 32 bytes, derived by the caller for one run."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a sealing key has {_KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, value: str | bytes) -> bytes:
        """Return nonce, ciphertext and tag. Two seals of one value differ; the length shows."""
        nonce = _system_entropy(_NONCE_BYTES)
        kind = b"s" if isinstance(value, str) else b"b"
        return nonce + self._cipher.encrypt(nonce, kind + _to_bytes(value), _CONTEXT)

    def unseal(self, box: bytes) -> str | bytes:
        """Return the secret. Raises SealedSecretError for another key, or for changed bytes."""
        if len(box) <= _NONCE_BYTES + _TAG_BYTES:
            raise SealedSecretError("its bytes are incomplete")
        try:
            clear = self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], _CONTEXT)
        except InvalidTag:
            raise SealedSecretError("the key does not open it, or its bytes were changed") from None
        kind, content = clear[:1], clear[1:]
        return content.decode("utf-8", "surrogatepass") if kind == b"s" else content


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
