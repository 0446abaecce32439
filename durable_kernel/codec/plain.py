"""Plain: any value as JSON, for `show`, `log --json` and REST. Nothing is executed.

One way only; secrets stay secret. What JSON has no word for becomes an object of one telling key;
text that UTF-8 cannot hold is escaped, so that the result can be printed. A value of a class that
is not known here is named, never asked for its `repr`.
"""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType
from typing import Any, Final
from uuid import UUID

from durable_kernel.codec.decoding import StoredObject
from durable_kernel.codec.encoding import encode, is_storable, type_name
from durable_kernel.codec.layout import DEPTH_MAX
from durable_kernel.codec.records import record_fields, record_name
from durable_kernel.codec.sealing import Sealed
from durable_kernel.errors import OutcomeNotStorableError

__all__ = ["plain"]

_JSON_INT_BITS_MAX: Final = 64
"""Beyond, an int is hexadecimal: Python refuses to write thousands of digits."""

_LINE_BREAKS: Final = str.maketrans("", "", "\t\n\r")


def plain(value: object) -> Any:
    """Return None, bool, int, finite float, str, list and dict with str keys, for `json.dumps`.

    bytes: text where they are printable UTF-8, else {"base64": …}. Sealed: "‹sealed›". Arrays and
    frames: dtype and shape. A dict with other keys than str: {"pairs": [[key, value], …]}.
    """
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    render = _RENDER.get(kind)
    if render is not None:
        return render(value)
    if depth >= DEPTH_MAX:
        return "…"
    render_container = _RENDER_CONTAINER.get(kind)
    if render_container is not None:
        return render_container(value, depth + 1)
    return _plain_record(value, depth + 1) if record_name(kind) else _summary(value)


def _plain_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if all(type(key) is str for key in value):
        return {_text(key): _plain(item, depth) for key, item in value.items()}
    pairs = [[_plain(key, depth), _plain(item, depth)] for key, item in value.items()]
    return {"pairs": pairs}


def _plain_items(value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
    return [_plain(item, depth) for item in value]


def _plain_set(value: set[Any] | frozenset[Any], depth: int) -> list[Any]:
    return _plain_items(_in_order(value), depth)


def _plain_slice(value: slice, depth: int) -> dict[str, Any]:
    return {"slice": _plain_items([value.start, value.stop, value.step], depth)}


def _plain_record(value: tuple[Any, ...], depth: int) -> dict[str, Any]:
    visible, hidden = record_fields(value)
    fields = {"fields": _plain(visible, depth), **_plain_dict(hidden, depth)}
    return {str(record_name(type(value))): fields}


def _in_order(items: set[Any] | frozenset[Any]) -> list[Any]:
    """Return a set's items in the order of the format, where they have one."""
    try:
        return sorted(items, key=encode)
    except OutcomeNotStorableError:  # a secret among them, or an object that nobody loaded
        return list(items)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _int(number: int) -> int | dict[str, str]:
    return number if number.bit_length() <= _JSON_INT_BITS_MAX else {"int": hex(number)}


def _float(number: float) -> float | dict[str, str]:
    return number if math.isfinite(number) else {"float": repr(number)}


def _bytes(content: bytes | bytearray) -> str | dict[str, str]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _base64(content)
    return text if text.translate(_LINE_BREAKS).isprintable() else _base64(content)


def _base64(content: bytes | bytearray) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode("ascii")}


def _fraction(number: Fraction) -> dict[str, Any]:
    return {"fraction": [_int(number.numerator), _int(number.denominator)]}


def _range(numbers: range) -> dict[str, Any]:
    return {"range": [_int(part) for part in (numbers.start, numbers.stop, numbers.step)]}


def _stored(stored: StoredObject) -> dict[str, Any]:
    return {"object": stored.digest, "size": stored.size}


def _moment(moment: date | time) -> str:
    try:
        return _text(moment.isoformat())
    except (OverflowError, ValueError):  # next to year 1 or 9999 its zone has no offset to print
        return repr(moment)


def _as_text(value: object) -> str:
    return _text(str(value))


_RENDER: Final[Mapping[type, Callable[[Any], Any]]] = {
    int: _int,
    float: _float,
    str: _text,
    bytes: _bytes,
    bytearray: _bytes,
    complex: _as_text,
    Decimal: _as_text,
    Fraction: _fraction,
    UUID: _as_text,
    range: _range,
    EllipsisType: lambda _: "...",
    date: _moment,
    datetime: _moment,
    time: _moment,
    timedelta: _as_text,
    PosixPath: _as_text,
    PurePosixPath: _as_text,
    PureWindowsPath: _as_text,
    WindowsPath: _as_text,
    Sealed: str,
    StoredObject: _stored,
}

_RENDER_CONTAINER: Final[Mapping[type, Callable[[Any, int], Any]]] = {
    dict: _plain_dict,
    frozenset: _plain_set,
    list: _plain_items,
    set: _plain_set,
    slice: _plain_slice,
    tuple: _plain_items,
}


def _summary(value: Any) -> Any:
    """Name what is not rendered: arrays and frames with their shape, all else by its class."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and type(value) is numpy.ndarray:
        return {"array": str(value.dtype), "shape": list(value.shape)}
    if numpy is not None and issubclass(type(value), numpy.generic) and is_storable(value):
        return _plain_numpy(value)
    if pandas is not None and type(value) is pandas.DataFrame:
        return {"frame": [str(dtype) for dtype in value.dtypes], "shape": list(value.shape)}
    if pandas is not None and type(value) is pandas.Series:
        return {"series": str(value.dtype), "shape": list(value.shape)}
    return {"type": _text(type_name(value))}


def _plain_numpy(value: Any) -> Any:
    # item() of a datetime64 loses nanoseconds; all other kinds have a Python value.
    return _as_text(value) if value.dtype.kind in "mM" else _plain(value.item(), 0)
