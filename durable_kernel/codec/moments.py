"""Moments: date, time, datetime and timedelta as bytes, to the microsecond, with fold and zone.

A naive or UTC datetime takes 10 bytes in a column and one of a fixed offset 12; the tag of a
ZoneInfo adds its key. A tzinfo of another library is not carried. It reads no clock.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import IntEnum
from typing import Final
from zoneinfo import ZoneInfo

import msgpack

from durable_kernel.codec.layout import Ext, Leaf
from durable_kernel.codec.scalars import int_from_bytes, int_to_bytes

__all__ = ["MOMENTS"]

_HEAD: Final = struct.Struct(">Q")
_ORDINAL: Final = struct.Struct(">I")
_QUARTERS: Final = struct.Struct(">b")
_FOLD_BIT: Final = 1 << 63
_FORM_SHIFT: Final = 60
_FORM_MASK: Final = 0b111
_MICROSECONDS_MASK: Final = (1 << _FORM_SHIFT) - 1

_MICROSECOND: Final = timedelta(microseconds=1)
_QUARTER: Final = timedelta(minutes=15)
_DAY: Final = timedelta(days=1)
_ORIGIN: Final = datetime(1, 1, 1)  # noqa: DTZ001 - of a clock on a wall; its zone is added after
_SECOND: Final = 1_000_000


class _Form(IntEnum):
    """How the zone is written."""

    NONE = 0
    UTC = 1
    QUARTERS = 2
    OFFSET = 3
    KEY = 4


def _pack_zone(zone: tzinfo | None) -> tuple[_Form, bytes] | None:
    """Return the form and the tail, or None for a zone that the format does not carry."""
    if zone is None:
        return _Form.NONE, b""
    if zone is UTC:
        return _Form.UTC, b""
    if type(zone) is timezone:
        # Its arguments: the offset, and the name if one was given. tzname() would hide which.
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined] # CPython's own, for pickling
        if not name and not offset % _QUARTER:
            return _Form.QUARTERS, _QUARTERS.pack(offset // _QUARTER)
        return _Form.OFFSET, msgpack.packb(
            [offset // _MICROSECOND, name[0] if name else None], unicode_errors="surrogatepass"
        )
    if type(zone) is ZoneInfo and zone.key:
        return _Form.KEY, zone.key.encode()
    return None


def _unpack_zone(form: int, tail: bytes) -> tzinfo | None:
    match form:
        case _Form.NONE | _Form.UTC:
            if tail:
                raise ValueError("a zone where none belongs")
            return UTC if form else None
        case _Form.QUARTERS:
            return timezone(_QUARTERS.unpack(tail)[0] * _QUARTER)
        case _Form.OFFSET:
            microseconds, name = msgpack.unpackb(tail, unicode_errors="surrogatepass")
            offset = timedelta(microseconds=microseconds)
            return timezone(offset) if name is None else timezone(offset, name)
        case _Form.KEY:
            return ZoneInfo(tail.decode())
        case _:
            raise ValueError(f"zone of form {form}")


def _pack_head(microseconds: int, moment: datetime | time) -> bytes | None:
    zone = _pack_zone(moment.tzinfo)
    if zone is None:
        return None
    form, tail = zone
    return _HEAD.pack(microseconds | form << _FORM_SHIFT | (_FOLD_BIT if moment.fold else 0)) + tail


def _unpack_head(payload: bytes) -> tuple[int, tzinfo | None, int]:
    head = _HEAD.unpack_from(payload)[0]
    zone = _unpack_zone(head >> _FORM_SHIFT & _FORM_MASK, payload[_HEAD.size :])
    return head & _MICROSECONDS_MASK, zone, 1 if head & _FOLD_BIT else 0


def _pack_datetime(moment: datetime) -> bytes | None:
    since_midnight = (moment.hour * 60 + moment.minute) * 60 + moment.second
    seconds = (moment.toordinal() - 1) * 86_400 + since_midnight
    return _pack_head(seconds * _SECOND + moment.microsecond, moment)


def _unpack_datetime(payload: bytes) -> datetime:
    microseconds, zone, fold = _unpack_head(payload)
    moment = _ORIGIN + timedelta(microseconds=microseconds)
    return moment.replace(tzinfo=zone, fold=fold) if zone or fold else moment


def _pack_time(moment: time) -> bytes | None:
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    return _pack_head(seconds * _SECOND + moment.microsecond, moment)


def _unpack_time(payload: bytes) -> time:
    microseconds, zone, fold = _unpack_head(payload)
    since_midnight = timedelta(microseconds=microseconds)
    if since_midnight >= _DAY:
        raise ValueError("a time of day beyond midnight")
    moment = (_ORIGIN + since_midnight).time()
    return moment.replace(tzinfo=zone, fold=fold)


def _pack_date(day: date) -> bytes:
    return _ORDINAL.pack(day.toordinal())


def _unpack_date(payload: bytes) -> date:
    return date.fromordinal(_ORDINAL.unpack(payload)[0])


def _pack_timedelta(span: timedelta) -> bytes:
    return int_to_bytes(span // _MICROSECOND)


def _unpack_timedelta(payload: bytes) -> timedelta:
    # By days and rest: a single huge number of microseconds would go through a float.
    days, microseconds = divmod(int_from_bytes(payload), 86_400 * _SECOND)
    return timedelta(days=days, microseconds=microseconds)


MOMENTS: Final = (
    Leaf(Ext.DATETIME, (datetime,), _pack_datetime, _unpack_datetime),
    Leaf(Ext.DATE, (date,), _pack_date, _unpack_date),
    Leaf(Ext.TIME, (time,), _pack_time, _unpack_time),
    Leaf(Ext.TIMEDELTA, (timedelta,), _pack_timedelta, _unpack_timedelta),
)
