"""Refusals: what cannot be carried fails by name and place, what cannot be read harmlessly."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import datetime, timedelta, tzinfo
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, strategies as st

from durable_kernel.codec import StoredObject, decode, encode, is_storable, plain
from durable_kernel.errors import CodecError, DurableError, OutcomeNotStorableError

Point = namedtuple("Point", "x y")  # noqa: PYI024 - as users write them


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Names(list[str]):
    pass


class Level(IntEnum):
    LOW = 1


class Elsewhere(tzinfo):
    def utcoffset(self, moment: datetime | None, /) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None, /) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None, /) -> str:
        return "elsewhere"


class Hostile:
    """Every question to it is a failure."""

    def _refuse(self, *_: object) -> Any:
        pytest.fail("a method of a user's class was called")

    __repr__ = __str__ = __eq__ = __len__ = __iter__ = __float__ = __index__ = _refuse
    __radd__ = __add__ = __getattr__ = __bool__ = __format__ = _refuse

    def __hash__(self) -> int:
        return self._refuse()  # type: ignore[no-any-return]

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._refuse()


NOT_CARRIED: dict[str, Any] = {
    "an object": object(),
    "a str subclass": Text("x"),
    "an int subclass": Number(1),
    "a list subclass": Names(["x"]),
    "an enum": Level.LOW,
    "a named tuple": Point(1, 2),
    "an ordered dict": OrderedDict(a=1),
    "a default dict": defaultdict(int),
    "a counter": Counter("a"),
    "a deque": deque([1]),
    "a function": len,
    "a class": int,
    "a memoryview": memoryview(b"x"),
    "an extension of msgpack": msgpack.ExtType(1, b"x"),
    "a timestamp of msgpack": msgpack.Timestamp(1),
    "NotImplemented": NotImplemented,
    "a foreign zone": datetime(2024, 1, 1, tzinfo=Elsewhere()),
    "a fraction of a megabyte": Fraction(1, 2**1_000_000),
    "a placeholder": StoredObject("00", 1),
}


@pytest.mark.parametrize("value", NOT_CARRIED.values(), ids=NOT_CARRIED)
def test_a_value_of_another_type_is_never_flattened(value: Any) -> None:
    """H5, H19: it goes to the object codec, or fails where it was made."""
    for holder in (value, [value], (value,), {"k": value}, [0] * 100 + [value], [[[value]]]):
        given_away: list[object] = []

        def store(part: object, seen: list[object] = given_away) -> bytes:
            seen.append(part)
            return b"object"

        encode(holder, store_object=store)

        assert [id(part) for part in given_away] == [id(value)]
        assert not is_storable(holder)
        with pytest.raises(OutcomeNotStorableError):
            encode(holder)


def test_the_error_names_call_type_and_place() -> None:
    value = [0, {"rows": (1, {"k": {7: Elsewhere()}})}]

    with pytest.raises(OutcomeNotStorableError) as caught:
        encode(value, call="step fit()")

    assert caught.value.call == "step fit()"
    assert caught.value.type_name.endswith("Elsewhere")
    assert "at result[1]['rows'][1]['k'][7]" in str(caught.value)


def test_keys_and_items_that_cannot_be_carried_are_named() -> None:
    for value, place in (
        ({"a": {Level.LOW: 1}}, "['a'] (a key)"),
        ([{Level.LOW}], "[0] (an item)"),
    ):
        with pytest.raises(OutcomeNotStorableError) as caught:
            encode(value)

        assert place in str(caught.value)


def test_a_key_is_shown_shortly() -> None:
    for key, place in (("k" * 100, "…]"), (7**9000, "[int]"), ((1,), "[tuple]")):
        with pytest.raises(OutcomeNotStorableError) as caught:
            encode({key: Level.LOW})

        assert place in str(caught.value)
        assert len(str(caught.value)) < 400


def test_no_method_of_a_users_class_is_called() -> None:
    """H28: code of the user's inside an effect would run unrecorded."""
    hostile = Hostile()

    for value in (hostile, [1.5] * 100 + [hostile], [hostile] * 100, {"k": (hostile,)}):
        with pytest.raises(OutcomeNotStorableError, match="Hostile"):
            encode(value)
        assert is_storable(value) is False
        json.dumps(plain(value))


def _cycles() -> dict[str, Any]:
    one: list[Any] = []
    one.append(one)
    twice: list[Any] = []
    twice += [twice, twice]
    mixed: dict[str, Any] = {}
    mixed["k"] = [({"j": mixed},)]
    return {
        "a list in itself": one,
        "a list twice in itself": twice,
        "a dict behind a tuple": mixed,
    }


@pytest.mark.parametrize("value", _cycles().values(), ids=_cycles())
def test_a_cycle_is_named_as_one(value: Any) -> None:
    with pytest.raises(OutcomeNotStorableError, match="it contains itself, at result"):
        encode(value)

    assert not is_storable(value)
    json.dumps(plain([value] if len(value) == 1 else 0))


@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {v: 1}]
)
def test_a_hundred_levels_pass_and_one_more_does_not(wrap: Any) -> None:
    value: Any = ()
    for _ in range(99):
        value = (value,) if not isinstance(value, dict) and wrap(0) == {0: 1} else wrap(value)

    assert decode(encode(value)) == value
    assert is_storable(value)
    with pytest.raises(OutcomeNotStorableError, match="more than 100 levels"):
        encode([value])
    assert not is_storable([value])


def test_a_deep_value_of_plain_lists_is_refused_too() -> None:
    value: Any = 1
    for _ in range(101):
        value = [value]

    with pytest.raises(OutcomeNotStorableError, match="more than 100 levels"):
        encode(value)


# --- objects (H19) --------------------------------------------------------------------------------


class Bomb:
    """Its pickle makes a folder when loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_an_object_is_loaded_only_by_a_loader(tmp_path: Path) -> None:
    """H19: `show`, `log`, export and import never unpickle."""
    folder = tmp_path / "executed"
    encoded = encode([1, Bomb(folder)], store_object=pickle.dumps)

    seen = decode(encoded)
    shown = plain(seen)

    assert not folder.exists()
    assert isinstance(seen[1], StoredObject)
    assert shown[1] == {"object": seen[1].digest, "size": seen[1].size}
    decode(encoded, load_object=pickle.loads)
    assert folder.exists()


def test_an_object_comes_back_through_its_loader() -> None:
    encoded = encode({"at": Point(1, 2)}, store_object=pickle.dumps)

    assert decode(encoded, load_object=pickle.loads) == {"at": Point(1, 2)}


def test_what_the_object_codec_raises_passes_through() -> None:
    def refuse(_: object) -> Any:
        raise TypeError("not mine")

    encoded = encode([Point(1, 2)], store_object=lambda _: b"object")

    with pytest.raises(TypeError, match="not mine"):
        encode(Point(1, 2), store_object=refuse)
    with pytest.raises(TypeError, match="not mine"):
        decode(encoded, load_object=refuse)


# --- damaged bytes --------------------------------------------------------------------------------


def ext(code: int, payload: bytes) -> bytes:
    return bytes(msgpack.packb(msgpack.ExtType(code, payload)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xa1\xff",
        b"\x01\x02",
        msgpack.packb({"a": 1})[:-1],
        b"\x81\x90\x01",
        ext(0x7F, b"x"),
        ext(0x01, b"\x81\x01\x02"),
        ext(0x02, b"\x91\x90"),
        ext(0x04, b"\x91\x01"),
        ext(0x05, encode(["nothing", [1], {}])),
        ext(0x05, encode(["struct_time", [1], {}])),
        ext(0x10, b""),
        ext(0x12, b"x"),
        ext(0x13, b"one"),
        ext(0x14, msgpack.packb([b"\x01", b"\x00"])),
        ext(0x14, msgpack.packb([1, 2])),
        ext(0x15, msgpack.packb([b"\x01", b"\x01", b"\x00"])),
        ext(0x16, b"x"),
        ext(0x17, b"x"),
        ext(0x18, b"?x"),
        ext(0x20, bytes(3)),
        ext(0x20, b"\xff" * 8),
        ext(0x20, b"\x40" + bytes(7) + b"../../etc/passwd"),
        ext(0x21, bytes(4)),
        ext(0x22, b"\x0f" + b"\xff" * 7),
        ext(0x23, b"\x7f" * 20),
        ext(0x32, b"x"),
        ext(0x33, b"x"),
    ],
    ids=lambda data: data.hex()[:20],
)
def test_bytes_that_were_never_written_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError) as caught:
        decode(data)

    assert isinstance(caught.value, DurableError)
    assert isinstance(caught.value, ValueError)


def test_an_extension_of_a_later_version_is_named() -> None:
    with pytest.raises(CodecError, match="extension 0x7f is unknown"):
        decode(ext(0x7F, b"\x90"))


def test_extensions_nested_without_end_are_refused() -> None:
    data = b"\x90"
    for _ in range(500):
        data = ext(0x01, b"\x91" + data)

    with pytest.raises(CodecError, match="100 levels"):
        decode(data)


def test_a_fraction_that_would_take_minutes_to_reduce_is_refused() -> None:
    part = b"\x55" * 10_000_000

    with pytest.raises(CodecError, match="fraction"):
        decode(ext(0x14, msgpack.packb([part, part])))


SEEDS = [
    encode(value)
    for value in (
        [1, "text", b"bytes", 2.5, None, True, {"a": [1, 2]}],
        {(1, 2): {3, 4}, frozenset({5}): 2**70, ...: slice(1)},
        [datetime(2024, 1, 1), timedelta(1), Fraction(1, 3), 1j, range(3), Path("a")],
    )
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@given(st.one_of(st.binary(), damaged(), st.builds(ext, st.integers(0, 0x45), st.binary())))
def test_any_bytes_are_a_value_or_an_error_and_can_be_shown(data: bytes) -> None:
    try:
        value = decode(data)
    except CodecError:
        return

    json.dumps(plain(value), allow_nan=False).encode()


def test_a_column_costs_a_fixed_number_of_python_calls() -> None:
    """DESIGN §17: ten thousand observations go to C in one piece."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    columns: list[Any] = [
        [1.5] * 10_000,
        list(range(10_000)),
        ["x"] * 10_000,
        [{"a": [1]}] * 10_000,
    ]
    for column in columns:
        sys.setprofile(count)
        try:
            encode(column)
        finally:
            sys.setprofile(None)

    assert calls < 50 * len(columns)
