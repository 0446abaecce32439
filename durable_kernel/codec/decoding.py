"""Decoding: bytes to the value that was encoded, or CodecError. No byte is ever executed here.

Bytes of class *object* are handed to `load_object`, which the caller gives only for an authentic
run (H19); without it they become a `StoredObject`, of which only name and size are known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from blake3 import blake3

from durable_kernel.codec.arrays import ARRAYS
from durable_kernel.codec.frames import FRAMES
from durable_kernel.codec.layout import DEPTH_MAX, Ext
from durable_kernel.codec.moments import MOMENTS
from durable_kernel.codec.records import record_class
from durable_kernel.codec.scalars import SCALARS
from durable_kernel.codec.sealing import Sealed, Sealer
from durable_kernel.errors import CodecError, SealedSecretError

__all__ = ["StoredObject", "decode"]

_UNPACK_BY_CODE: Final[Mapping[int, Callable[[bytes], Any]]] = {
    **{int(leaf.code): leaf.unpack for leaf in (*SCALARS, *MOMENTS)},
    **{int(foreign.code): foreign.unpack for foreign in (*ARRAYS, *FRAMES)},
}

_CONTAINERS: Final = frozenset({Ext.TUPLE, Ext.SET, Ext.FROZENSET, Ext.SLICE, Ext.RECORD})

_MALFORMED: Final = (
    ArithmeticError,  # a date out of range, a fraction over zero
    AttributeError,  # an int where bytes belong
    ImportError,  # an array, where numpy is not installed
    LookupError,  # an unknown flavour, a time zone that this machine does not know
    MemoryError,  # a literal nested too deeply for the parser
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,  # a list as a key
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An outcome of class *object* that nobody loaded.

    `digest` is the BLAKE3 of its bytes in hex, `size` their number.
    """

    digest: str
    size: int


def decode(
    data: bytes,
    *,
    sealer: Sealer | None = None,
    load_object: Callable[[bytes], object] | None = None,
) -> Any:
    """Return the value that `encode` was given, types included.

    Secrets that `sealer` does not open come back as closed `Sealed`. What `load_object` raises
    passes through; every other failure is a CodecError, which is also a ValueError.
    """
    return _Decoder(sealer, load_object).decode(data)


class _Decoder:
    """Reads one value. Extensions nest by calling back; `_depth` bounds that."""

    __slots__ = ("_depth", "_is_loading", "_load_object", "_sealer")

    def __init__(
        self, sealer: Sealer | None, load_object: Callable[[bytes], object] | None
    ) -> None:
        self._sealer = sealer
        self._load_object = load_object
        self._depth = 0
        self._is_loading = False

    def decode(self, data: bytes) -> Any:
        try:
            return self._unpack(data)
        except CodecError:
            raise
        except _MALFORMED as error:
            if self._is_loading:
                raise
            raise CodecError(str(error) or type(error).__name__) from error

    def _unpack(self, data: bytes) -> Any:
        return msgpack.unpackb(
            data,
            ext_hook=self._extension,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=2,  # an extension of msgpack that we never write: its class may not come in
        )

    def _extension(self, code: int, payload: bytes) -> Any:
        unpack = _UNPACK_BY_CODE.get(code)
        if unpack is not None:
            return unpack(payload)
        match code:
            case Ext.SEALED:
                return self._unseal(payload)
            case Ext.OBJECT:
                return self._load(payload)
            case _:
                return self._container(code, payload)

    def _container(self, code: int, payload: bytes) -> Any:
        if code not in _CONTAINERS:
            raise CodecError(f"extension {code:#04x} is unknown")
        if self._depth >= DEPTH_MAX:
            raise CodecError(f"it is nested more than {DEPTH_MAX} levels deep")
        self._depth += 1
        items = self._unpack(payload)
        self._depth -= 1
        if type(items) is not list:
            raise CodecError(f"extension {code:#04x} holds no array")
        match code:
            case Ext.TUPLE:
                return tuple(items)
            case Ext.SET:
                return set(items)
            case Ext.FROZENSET:
                return frozenset(items)
            case Ext.SLICE:
                start, stop, step = items
                return slice(start, stop, step)
            case _:
                return _record(*items)

    def _unseal(self, box: bytes) -> Sealed:
        if self._sealer is None:
            return Sealed.closed(box)
        try:
            return Sealed(self._sealer.unseal(box))
        except SealedSecretError:
            return Sealed.closed(box)

    def _load(self, blob: bytes) -> object:
        if self._load_object is None:
            return StoredObject(blake3(blob).hexdigest(), len(blob))
        self._is_loading = True  # left set by an exception: it is the loader's, not malformed bytes
        value = self._load_object(blob)
        self._is_loading = False
        return value


def _record(name: object, visible: list[Any], hidden: dict[str, Any]) -> Any:
    kind = record_class(name)
    if kind is None or type(visible) is not list or type(hidden) is not dict:
        raise CodecError("a record of unknown class")
    return kind(visible, hidden)
