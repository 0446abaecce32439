"""Scalars: numbers, bytearray, UUID, paths, range and Ellipsis as bytes. It knows no container."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType
from typing import Any, Final
from uuid import UUID, SafeUUID

import msgpack

from durable_kernel.codec.layout import Ext, Leaf

__all__ = ["SCALARS", "int_from_bytes", "int_to_bytes"]

_COMPLEX: Final = struct.Struct(">dd")

# A fraction is reduced when it is built, in quadratic time: beyond this many bytes a part, crafted
# bytes could keep a reader busy for minutes. Such a value goes the way of objects.
_FRACTION_PART_BYTES_MAX: Final = 65_536

_UUID_BYTES: Final = 16
_SAFETY_BY_BYTE: Final = {0: SafeUUID.safe, 1: SafeUUID.unsafe}
_BYTE_BY_SAFETY: Final = {SafeUUID.safe: b"\0", SafeUUID.unsafe: b"\1", SafeUUID.unknown: b""}

_PATH_BY_FLAVOUR: Final[dict[bytes, type[PurePath]]] = {
    b"p": PurePosixPath,
    b"w": PureWindowsPath,
    b"P": PosixPath,
    b"W": WindowsPath,
}
_FLAVOUR_BY_PATH: Final = {kind: flavour for flavour, kind in _PATH_BY_FLAVOUR.items()}


def int_to_bytes(number: int) -> bytes:
    """Return the shortest two's complement of any int, big endian, at least one byte."""
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def int_from_bytes(payload: bytes) -> int:
    """Invert `int_to_bytes`. Raises ValueError for no bytes at all."""
    if not payload:
        raise ValueError("an integer of no bytes")
    return int.from_bytes(payload, "big", signed=True)


def _pack_ints(numbers: Sequence[int]) -> bytes:
    packed: bytes = msgpack.packb([int_to_bytes(number) for number in numbers])
    return packed


def _unpack_ints(payload: bytes, count: int) -> list[int]:
    parts = msgpack.unpackb(payload)
    if type(parts) is not list or len(parts) != count:
        raise ValueError(f"not {count} integers")
    return [int_from_bytes(part) for part in parts]


def _pack_complex(number: complex) -> bytes:
    return _COMPLEX.pack(number.real, number.imag)


def _unpack_complex(payload: bytes) -> complex:
    return complex(*_COMPLEX.unpack(payload))


def _pack_decimal(number: Decimal) -> bytes:
    # str() writes the exponent as the current context likes it; the format has one way.
    return str(number).replace("e", "E").encode("ascii")


def _unpack_decimal(payload: bytes) -> Decimal:
    text = payload.decode("ascii")
    number = Decimal(text)
    if number.is_nan() and "NaN" not in text:  # a context without traps turns nonsense into NaN
        raise ValueError("not a decimal number")
    return number


def _pack_fraction(number: Fraction) -> bytes | None:
    parts = (number.numerator, number.denominator)
    if max(part.bit_length() for part in parts) > 8 * (_FRACTION_PART_BYTES_MAX - 1):
        return None
    return _pack_ints(parts)


def _unpack_fraction(payload: bytes) -> Fraction:
    if len(payload) > 2 * _FRACTION_PART_BYTES_MAX + 16:
        raise ValueError("a fraction longer than any that is written")
    return Fraction(*_unpack_ints(payload, 2))


def _pack_range(numbers: range) -> bytes:
    return _pack_ints((numbers.start, numbers.stop, numbers.step))


def _unpack_range(payload: bytes) -> range:
    return range(*_unpack_ints(payload, 3))


def _unpack_ellipsis(payload: bytes) -> EllipsisType:
    if payload:
        raise ValueError("an ellipsis with a payload")
    return ...


def _pack_uuid(identifier: UUID) -> bytes:
    return identifier.bytes + _BYTE_BY_SAFETY[identifier.is_safe]


def _unpack_uuid(payload: bytes) -> UUID:
    if len(payload) == _UUID_BYTES:
        return UUID(bytes=payload)
    return UUID(bytes=payload[:-1], is_safe=_SAFETY_BY_BYTE[payload[-1]])


def _pack_path(path: PurePath) -> bytes:
    return _FLAVOUR_BY_PATH[type(path)] + str(path).encode("utf-8", "surrogatepass")


def _unpack_path(payload: bytes) -> PurePath:
    kind = _PATH_BY_FLAVOUR[payload[:1]]
    if issubclass(kind, Path) and not isinstance(Path(), kind):
        # Written on the other system. A path of that flavour cannot touch this one's disk.
        kind = PureWindowsPath if kind is WindowsPath else PurePosixPath
    return kind(payload[1:].decode("utf-8", "surrogatepass"))


def _same(payload: Any) -> bytes:
    return bytes(payload)


SCALARS: Final = (
    Leaf(Ext.INT, (int,), int_to_bytes, int_from_bytes),
    Leaf(Ext.BYTEARRAY, (bytearray,), _same, bytearray),
    Leaf(Ext.COMPLEX, (complex,), _pack_complex, _unpack_complex),
    Leaf(Ext.DECIMAL, (Decimal,), _pack_decimal, _unpack_decimal),
    Leaf(Ext.FRACTION, (Fraction,), _pack_fraction, _unpack_fraction),
    Leaf(Ext.RANGE, (range,), _pack_range, _unpack_range),
    Leaf(Ext.ELLIPSIS, (EllipsisType,), lambda _: b"", _unpack_ellipsis),
    Leaf(Ext.UUID, (UUID,), _pack_uuid, _unpack_uuid),
    Leaf(Ext.PATH, tuple(_FLAVOUR_BY_PATH), _pack_path, _unpack_path),
)
