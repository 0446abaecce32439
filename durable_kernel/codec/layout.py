"""Layout: the numbers of the format, and how a type declares its bytes. It knows no value.

The format is msgpack. None, bool, 64-bit int, float, str, bytes, list and dict are msgpack's own (a
str with lone surrogates is written in UTF-8 with them passed through). Everything else is an
extension:

    code  meaning           payload
    ----  ----------------  -----------------------------------------------------------------------
    0x01  tuple             msgpack array of the items
    0x02  set               msgpack array, items ordered by their encoded bytes
    0x03  frozenset         as set
    0x04  slice             msgpack array: start, stop, step
    0x05  record            msgpack array: class name, visible fields, hidden fields (a map)
    0x10  int               two's complement, big endian; only beyond 64 bits
    0x11  bytearray         the bytes
    0x12  complex           real, imaginary: two big-endian doubles
    0x13  Decimal           its text, ASCII
    0x14  Fraction          msgpack array of two: numerator, denominator, each as 0x10
    0x15  range             msgpack array of three: start, stop, step, each as 0x10
    0x16  Ellipsis          nothing
    0x17  UUID              16 bytes, and one more for is_safe where that is known
    0x18  path              flavour (1 byte), then the text
    0x20  datetime          moment, zone
    0x21  date              u32, proleptic ordinal
    0x22  time              moment, zone
    0x23  timedelta         microseconds, as 0x10
    0x30  array             npy 1.0, never of objects
    0x31  numpy scalar      msgpack array: dtype, the bytes
    0x32  frame             Arrow IPC stream, pandas metadata inside
    0x33  series            msgpack array: its name, a frame of one column "values"
    0x40  sealed            12-byte nonce, AES-256-GCM ciphertext, 16-byte tag
    0x41  object            what `store_object` returned; only `load_object` may look at it

    moment = u64, big endian: 1 bit fold, 3 bits form of the zone, 60 bits microseconds
             (datetime: since 0001-01-01 on its own clock; time: since midnight)
    zone   = form 0 none: nothing · 1 UTC: nothing · 2 fixed: i8 quarters of an hour
             3 fixed: msgpack array, microseconds and name or nil · 4 ZoneInfo: its key, UTF-8

The same value always has the same bytes, but for `sealed`, whose nonce is random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

__all__ = ["DEPTH_MAX", "Ext", "Foreign", "Leaf"]

DEPTH_MAX: Final = 100
"""Containers inside containers. JSON of real services stays below 30; Python's stack holds this."""


class Ext(IntEnum):
    """Extension codes. A number is never given a second meaning."""

    TUPLE = 0x01
    SET = 0x02
    FROZENSET = 0x03
    SLICE = 0x04
    RECORD = 0x05
    INT = 0x10
    BYTEARRAY = 0x11
    COMPLEX = 0x12
    DECIMAL = 0x13
    FRACTION = 0x14
    RANGE = 0x15
    ELLIPSIS = 0x16
    UUID = 0x17
    PATH = 0x18
    DATETIME = 0x20
    DATE = 0x21
    TIME = 0x22
    TIMEDELTA = 0x23
    ARRAY = 0x30
    NUMPY_SCALAR = 0x31
    FRAME = 0x32
    SERIES = 0x33
    SEALED = 0x40
    OBJECT = 0x41


@dataclass(frozen=True, slots=True)
class Leaf:
    """A type whose values hold no other values of ours: how it becomes bytes, and back.

    `pack` returns None for a value of the type that the format does not carry (a foreign tzinfo).
    `unpack` raises ValueError, or another error of malformed input, on bytes that `pack` never
    wrote.
    """

    code: Ext
    kinds: tuple[type, ...]
    pack: Callable[[Any], bytes | None]
    unpack: Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A type of a library that may not be loaded.

    To encode imports nothing, to decode imports the library.     `carries` looks at the type and
    its structure only. `pack` may still return None, as in `Leaf`.
    """

    code: Ext
    carries: Callable[[Any], bool]
    pack: Callable[[Any], bytes | None]
    unpack: Callable[[bytes], Any]
