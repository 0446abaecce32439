"""Arrays: numpy's arrays as npy, its scalars as dtype and bytes.

To encode never imports numpy, to decode does. Carried are the dtypes whose bytes are the value:
bool, integers, floats, complex, str, bytes, datetime64, timedelta64, raw void, and structures of
these without padding. Not carried, hence objects: object and registered foreign dtypes, long double
(its padding is random), dtypes with metadata, subclasses of ndarray. The header is parsed here, as
a Python literal of known keys, so that no byte of the payload is ever executed and nothing is
allocated before the shape was checked against the bytes that are there.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import sys
from io import BytesIO
from typing import Any, Final

import msgpack

from durable_kernel.codec.layout import Ext, Foreign

__all__ = ["ARRAYS"]

_PLAIN_KINDS: Final = frozenset("?biufcSUMmV")
_LONG_DOUBLES: Final = frozenset("gG")
_PLAIN_DESCR: Final = re.compile(r"[<>|][biufcSUMmV]\d{1,9}(\[\w{1,20}\])?", re.ASCII)
_NPY_START: Final = b"\x93NUMPY\x01\x00"
_NPY_LENGTH: Final = struct.Struct("<H")
_NPY_KEYS: Final = frozenset({"descr", "fortran_order", "shape"})
_NPY_HEADER_BYTES_MAX: Final = 10_000  # numpy's own bound for a header that is not trusted


def _numpy() -> Any:
    """Return numpy if user code has loaded it."""
    return sys.modules.get("numpy")


def _is_plain(numpy: Any, dtype: Any) -> bool:
    """Tell whether the bytes of this dtype are the value, and its description brings it back."""
    if dtype.hasobject or dtype.metadata is not None or not dtype.itemsize:
        return False
    if dtype.fields is not None:
        fields = [field[0] for field in dtype.fields.values()]
        return (
            sum(field.itemsize for field in fields) == dtype.itemsize
            and all(_is_plain(numpy, field) for field in fields)
            and _described_alike(numpy, dtype)
        )
    if dtype.subdtype is not None:
        return _is_plain(numpy, dtype.subdtype[0])
    return (
        dtype.kind in _PLAIN_KINDS
        and dtype.char not in _LONG_DOUBLES
        and numpy.dtype(dtype.str) == dtype
    )


def _described_alike(numpy: Any, dtype: Any) -> bool:
    form = numpy.lib.format
    return bool(form.descr_to_dtype(form.dtype_to_descr(dtype)) == dtype)


# --- arrays ---------------------------------------------------------------------------------------


def _carries_array(value: Any) -> bool:
    numpy = _numpy()
    return (
        numpy is not None
        and type(value) is getattr(numpy, "ndarray", None)
        and _is_plain(numpy, value.dtype)
    )


def _pack_array(value: Any) -> bytes | None:
    form = _numpy().lib.format
    header = form.header_data_from_array_1_0(value)
    buffer = BytesIO()
    try:
        form.write_array_header_1_0(buffer, header)
    except (ValueError, UnicodeError):
        return None  # so many or such field names that this version of npy does not hold them
    if buffer.tell() > _NPY_HEADER_BYTES_MAX:
        return None
    content: bytes = value.tobytes("F" if header["fortran_order"] else "C")
    return buffer.getvalue() + content


def _unpack_array(payload: bytes) -> Any:
    import numpy as np  # noqa: PLC0415 - only a run that used numpy has arrays

    start = len(_NPY_START) + _NPY_LENGTH.size
    if not payload.startswith(_NPY_START) or len(payload) < start:
        raise ValueError("an array that is not npy 1.0")
    header_bytes = _NPY_LENGTH.unpack_from(payload, len(_NPY_START))[0]
    if header_bytes > _NPY_HEADER_BYTES_MAX:
        raise ValueError("an npy header longer than any that is written")
    content = memoryview(payload)[start + header_bytes :]
    dtype, shape, order = _parse_header(np, payload[start : start + header_bytes])
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
    return np.ndarray(shape, dtype, buffer=content, order=order).copy(order=order)


def _parse_header(np: Any, text: bytes) -> tuple[Any, tuple[int, ...], Any]:
    header = ast.literal_eval(text.decode("latin-1").strip())
    if type(header) is not dict or header.keys() != _NPY_KEYS:
        raise ValueError("an npy header with other keys")
    shape, is_fortran = header["shape"], header["fortran_order"]
    is_shape = type(shape) is tuple and all(type(axis) is int and axis >= 0 for axis in shape)
    if not is_shape or type(is_fortran) is not bool:
        raise ValueError("an npy header without a shape")
    if not _is_descr(header["descr"]):
        raise ValueError("an npy header with a dtype that is never written")
    dtype = np.lib.format.descr_to_dtype(header["descr"])
    if not _is_plain(np, dtype):
        raise ValueError("an npy header with a dtype that is never written")
    return dtype, shape, "F" if is_fortran else "C"


def _is_descr(descr: object) -> bool:
    """Tell whether numpy may be asked for this dtype: it takes aliases and warns about old ones."""
    match descr:
        case str():
            return _PLAIN_DESCR.fullmatch(descr) is not None
        case list():
            return all(type(field) is tuple and _is_field(field) for field in descr)
        case (inner, tuple()):
            return _is_descr(inner)
        case _:
            return False


def _is_field(field: tuple[Any, ...]) -> bool:
    match field:
        case (str(), inner) | (str(), inner, tuple()):
            return _is_descr(inner)
        case _:
            return False


# --- scalars --------------------------------------------------------------------------------------


def _carries_scalar(value: Any) -> bool:
    numpy = _numpy()
    generic = getattr(numpy, "generic", None)
    if generic is None or not issubclass(type(value), generic):
        return False
    if type(value) in {numpy.str_, numpy.bytes_}:
        return True
    dtype = value.dtype
    # The class must come back from the dtype: not so for subclasses, nor for the C types that are a
    # second name of a fixed width (longlong).
    return (
        dtype.fields is None
        and dtype.kind != "V"
        and _is_plain(numpy, dtype)
        and numpy.dtype(dtype.str).type is type(value)
    )


def _pack_scalar(value: Any) -> bytes:
    numpy = _numpy()
    if type(value) is numpy.str_:
        form, content = "U", str(value).encode("utf-8", "surrogatepass")
    elif type(value) is numpy.bytes_:
        form, content = "S", bytes(value)
    else:
        form, content = value.dtype.str, value.tobytes()
    packed: bytes = msgpack.packb([form, content])
    return packed


def _unpack_scalar(payload: bytes) -> Any:
    import numpy as np  # noqa: PLC0415 - only a run that used numpy has its scalars

    form, content = msgpack.unpackb(payload)
    if form == "U":
        return np.str_(content.decode("utf-8", "surrogatepass"))
    if form == "S":
        return np.bytes_(content)
    if not _PLAIN_DESCR.fullmatch(form):
        raise ValueError("a scalar of a dtype that is never written")
    dtype = np.dtype(form)
    if len(content) != dtype.itemsize:
        raise ValueError(f"a scalar of {dtype} in {len(content)} bytes")
    return np.frombuffer(content, dtype)[0]


ARRAYS: Final = (
    Foreign(Ext.NUMPY_SCALAR, _carries_scalar, _pack_scalar, _unpack_scalar),
    Foreign(Ext.ARRAY, _carries_array, _pack_array, _unpack_array),
)
