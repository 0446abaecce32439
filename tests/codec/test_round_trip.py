"""Round trips: what was encoded comes back, types, bits and order included."""

from __future__ import annotations

import math
import os
import struct
import time
from datetime import UTC, date, datetime, time as time_of_day, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath
from types import EllipsisType
from typing import Any
from uuid import NAMESPACE_DNS, UUID, SafeUUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from durable_kernel.codec import decode, digest, encode, is_storable


def facts(value: Any) -> Any:
    """Reduce a value to what == can compare: types all the way down, and bits."""
    found: Any = value
    match value:
        case float():
            found = struct.pack(">d", value)
        case complex():
            found = struct.pack(">dd", value.real, value.imag)
        case Decimal():
            found = value.as_tuple()
        case list() | tuple():
            found = [facts(item) for item in value]
        case dict():
            found = [(facts(key), facts(item)) for key, item in value.items()]
        case set() | frozenset():
            found = sorted(map(encode, value))
        case slice():
            found = [facts(part) for part in (value.start, value.stop, value.step)]
        case datetime() | time_of_day():
            found = repr(value)
        case UUID():
            found = (value.bytes, value.is_safe)
    return type(value), found


def same(left: Any, right: Any) -> bool:
    return bool(facts(left) == facts(right))


def _at(moment: time_of_day, zone: tzinfo | None, fold: int) -> time_of_day:
    return moment.replace(tzinfo=zone, fold=fold)


ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, OFFSETS),
    st.builds(timezone, OFFSETS, ANY_TEXT),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(ZoneInfo),
)
FLOATS = st.one_of(
    st.floats(),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", struct.pack(">Q", bits))[0]),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**700), 2**700),
    FLOATS,
    ANY_TEXT,
    st.binary(),
    st.just(...),
    st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()),  # such a one cannot be hashed
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.datetimes(timezones=ZONES, allow_imaginary=True),
    st.builds(_at, st.times(), ZONES, st.sampled_from([0, 1])),
    st.builds(lambda parts: PurePosixPath(*parts), st.lists(ANY_TEXT)),
    st.builds(lambda parts: PureWindowsPath(*parts), st.lists(ANY_TEXT)),
    st.builds(range, st.integers(), st.integers(), st.integers().filter(bool)),
)
HASHABLE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4)
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.one_of(HASHABLE, st.binary().map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(HASHABLE, inner),
        st.sets(HASHABLE),
        st.builds(slice, inner, inner, inner),
    ),
    max_leaves=20,
)


@given(VALUES)
def test_every_value_comes_back_with_its_types_bits_and_order(value: Any) -> None:
    """H5: the codec is total over what hooks return."""
    back = decode(encode(value))

    assert same(back, value)
    assert is_storable(value)


@given(VALUES)
def test_the_same_value_has_the_same_bytes(value: Any) -> None:
    again = decode(encode(value))

    assert encode(again) == encode(value)
    assert digest(again) == digest(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=name)
        for name, value in {
            "int beyond 64 bits": 2**64,
            "int below 64 bits": -(2**63) - 1,
            "largest native int": 2**64 - 1,
            "smallest native int": -(2**63),
            "int of many digits": 7**9000,
            "nan with a payload": struct.unpack(">d", b"\x7f\xf8\0\0\0\0\0\7")[0],
            "negative nan": -math.nan,
            "infinity": -math.inf,
            "negative zero": -0.0,
            "lone surrogate": "name\udcff",
            "surrogate pair apart": "\ud83d\ude00",
            "empty containers": [[], (), {}, set(), frozenset(), "", b"", bytearray()],
            "keys of every kind": {None: 1, 2: 3, b"b": 4, (1, (2,)): 5, "t": 6, 1.5: 7, ...: 8},
            "keys out of order": {"b": 1, "a": 2},
            "signalling nan": Decimal("sNaN123"),
            "decimal with trailing zeros": Decimal("-1.500E-30"),
            "decimal infinity": Decimal("-Infinity"),
            "fraction": Fraction(-(7**200), 3**90),
            "complex": complex(-0.0, math.nan),
            "uuid of a safe source": UUID(int=5, is_safe=SafeUUID.safe),
            "uuid of an unsafe source": UUID(int=5, is_safe=SafeUUID.unsafe),
            "uuid": uuid5(NAMESPACE_DNS, "example"),
            "path": Path("a/b"),
            "path with a surrogate": PurePosixPath("/x/\udcff"),
            "windows path": PureWindowsPath("C:\\x\\y"),
            "empty path": PurePosixPath(),
            "range": range(2**70, 5, -3),
            "slice": slice(None, (1, 2), "x"),
            "ellipsis": ...,
            "datetime": datetime(2024, 10, 27, 2, 30, 0, 1, fold=1),
            "first datetime": datetime.min,
            "last datetime": datetime.max.replace(tzinfo=UTC),
            "datetime of a zone": datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
            "datetime of a named offset": datetime(
                2024, 1, 1, tzinfo=timezone(timedelta(seconds=-1, microseconds=3), "odd")
            ),
            "offset zero by name": datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "UTC")),
            "date": date(1, 1, 1),
            "time": time_of_day(23, 59, 59, 999_999, fold=1, tzinfo=UTC),
            "longest timedelta": timedelta.max,
            "shortest timedelta": timedelta.min,
            "struct_time": time.strptime("2024-02-29", "%Y-%m-%d"),
            "struct_time with zone": time.localtime(0),
            "stat_result": Path("/").stat(),
            "terminal_size": os.terminal_size((80, 24)),
            "uname_result": os.uname(),
            "times_result": os.times(),
            "statvfs_result": os.statvfs("/"),
        }.items()
    ],
)
def test_a_value_comes_back(value: Any) -> None:
    """H5."""
    back = decode(encode(value))

    assert same(back, value)
    assert is_storable(value)


def test_hidden_fields_of_a_stat_result_come_back() -> None:
    stat = Path(__file__).stat()

    back = decode(encode(stat))

    assert type(back) is os.stat_result
    assert (back.st_mtime_ns, back.st_blocks) == (stat.st_mtime_ns, stat.st_blocks)
    assert same(back.st_mtime, stat.st_mtime)


def test_a_bytearray_inside_a_long_column_of_numbers_stays_a_bytearray() -> None:
    """H5: msgpack takes a bytearray for bytes, so a column has to be proved before it goes to C."""
    for intruder in (bytearray(b"1234567"), 2**80, "\udcff", None, True, (1,), [bytearray()]):
        for column in ([1.5] * 100, list(range(100)), ["x"] * 100):
            value: list[Any] = [*column, intruder, *column]

            back = decode(encode(value))

            assert same(back, value)


def test_the_dict_of_an_instance_is_looked_into() -> None:
    """From 3.13 on the garbage collector's view of such a dict is empty."""

    class Holder:
        def __init__(self) -> None:
            self.buffer = bytearray(b"x")
            self.parts = [{"k": bytearray(b"y")}]

    value = vars(Holder())

    assert same(decode(encode(value)), value)


def test_sets_have_one_order_whatever_the_order_of_insertion() -> None:
    names = [f"name {number}" for number in range(200)]

    other_way_round = {"name 0"}
    other_way_round.update(names[::-1])

    assert encode(set(names)) == encode(other_way_round)


def test_dicts_keep_their_order_and_differ_by_it() -> None:
    forth, back = {"a": 1, "b": 2}, {"b": 2, "a": 1}

    assert list(decode(encode(back))) == ["b", "a"]
    assert digest(forth) != digest(back)


def test_equal_values_of_different_types_have_different_digests() -> None:
    values: list[Any] = [1, 1.0, True, "1", b"1", bytearray(b"1"), Decimal(1), Fraction(1), 1 + 0j]
    values += [[1], (1,), {1}, frozenset({1}), {1: None}, range(1, 2), slice(1)]

    digests = {digest(value) for value in values}

    assert len(digests) == len(values)


def test_the_bytes_of_a_decimal_do_not_depend_on_the_context() -> None:
    number = Decimal("1E+400")

    with localcontext() as context:
        context.capitals = 0
        lower = encode(number)

    assert lower == encode(number)


def test_a_later_change_of_the_value_does_not_reach_the_bytes() -> None:
    """H5: `files = os.listdir(d); files.clear()` must leave the names in the journal."""
    files = ["a", "b"]

    encoded = encode(files)
    files.clear()

    assert decode(encoded) == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "bytes_each_max"),
    [
        ([index * 1.1 for index in range(1000)], 9),
        (list(range(1000)), 3),
        ([datetime(2024, 1, 1) + timedelta(minutes=n) for n in range(1000)], 10),
        ([datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=n) for n in range(1000)], 10),
        ([datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-7)))] * 1000, 12),
        ([timedelta(milliseconds=n) for n in range(1000)], 10),
        ([date(2024, 1, 1)] * 1000, 6),
        ([UUID(int=n) for n in range(1000)], 18),
    ],
    ids=["float", "int", "datetime", "UTC", "offset", "timedelta", "date", "uuid"],
)
def test_a_value_in_a_column_stays_within_its_bytes(column: list[Any], bytes_each_max: int) -> None:
    """DESIGN §17: at most 12 bytes for a clock read."""
    header_bytes = 5

    encoded = encode(column)

    assert len(encoded) <= bytes_each_max * len(column) + header_bytes


def test_a_path_of_the_other_system_comes_back_as_a_pure_path() -> None:
    there = encode(PosixPath("a")).replace(b"Pa", b"Wa")

    back: PurePath = decode(there)

    assert type(back) is PureWindowsPath


def test_ellipsis_is_itself() -> None:
    assert decode(encode(...)) is ...
    assert type(...) is EllipsisType
