"""Arrays: numpy's values come back bit by bit; what numpy would have to pickle does not pass."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from durable_kernel.codec import decode, digest, encode, is_storable
from durable_kernel.errors import CodecError, OutcomeNotStorableError

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.byte_string_dtypes(),
    hnp.unicode_string_dtypes(),
)
ARRAY_EXT = 0x30


def same(left: Any, right: Any) -> bool:
    return (
        type(left) is type(right)
        and left.dtype == right.dtype
        and left.shape == right.shape
        and left.flags.f_contiguous == right.flags.f_contiguous
        and left.tobytes() == right.tobytes()
    )


def npy(header: bytes, content: bytes = b"") -> bytes:
    payload = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content
    return bytes(msgpack.packb(msgpack.ExtType(ARRAY_EXT, payload)))


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0)), st.booleans())
def test_an_array_comes_back(array: np.ndarray[Any, Any], is_turned: bool) -> None:
    array = array.T if is_turned else array

    back = decode(encode(array))

    assert same(back, array)
    assert back.flags.writeable
    assert is_storable(array)


@given(DTYPES.flatmap(hnp.from_dtype))
def test_a_scalar_comes_back(scalar: Any) -> None:
    back = decode(encode(scalar))

    assert type(back) is type(scalar)
    assert back.dtype == scalar.dtype
    assert back.tobytes() == scalar.tobytes()


@pytest.mark.parametrize(
    "dtype",
    [
        [("name", "<U5"), ("at", "<M8[ns]"), ("share", ">f4")],
        [("point", "<f8", (2, 3)), ("inner", [("a", "|i1"), ("b", "|b1")])],
        "V3",
    ],
)
def test_an_array_of_structures_comes_back(dtype: Any) -> None:
    array = np.zeros(3, dtype)

    back = decode(encode(array))

    assert same(back, array)


def test_a_view_has_the_bytes_of_its_copy() -> None:
    whole = np.arange(20).reshape(4, 5)
    view = whole[::2, 1:4]

    assert encode(view) == encode(view.copy())
    assert digest(view) != digest(view.T)


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array(["text", None], dtype=object),
        np.zeros(2, [("a", object)]),
        np.zeros(2, np.dtype([("a", "|i1"), ("b", "<i4")], align=True)),
        np.zeros(2, np.longdouble),
        np.longdouble(1),
        np.longlong(1) if np.dtype(np.longlong).type is not np.int64 else np.longdouble(2),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2, np.dtype("i4", metadata={"unit": "m"})),
        np.zeros(2, np.dtype([])),
    ],
    ids=lambda value: f"{type(value).__name__} of {value.dtype}",
)
def test_what_npy_does_not_hold_goes_the_way_of_objects(value: Any) -> None:
    encoded = encode(value, store_object=lambda _: b"object")

    assert not is_storable(value)
    assert decode(encoded, load_object=bytes.decode) == "object"
    with pytest.raises(OutcomeNotStorableError):
        encode(value)


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        (b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}", bytes(8)),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}", bytes(8)),
        (b"{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}", bytes(8)),
        (b"{'descr': '<f8', 'shape': (1,)}", bytes(8)),
        (b"{'descr': 'a8', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        (b"{'descr': '<U0', 'fortran_order': False, 'shape': (10000000000,)}", b""),
        (b"{'descr': ('<f8', 'x'), 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        (b"__import__('os').abort()", b""),
        (b"-" * 9_000 + b"1", b""),
        (b"(" * 9_000, b""),
        (b"\xff\x00", b""),
        (b"", b""),
    ],
)
def test_a_crafted_array_is_refused(header: bytes, content: bytes) -> None:
    """H19: nothing of a foreign run is executed, nor allocated on its word."""
    with pytest.raises(CodecError):
        decode(npy(header, content))


@pytest.mark.parametrize("form", ["O", "|O8", "a5", "<f8,<f8", "<f4", 7, None, "<M8[lightyears]"])
def test_a_crafted_scalar_is_refused(form: Any) -> None:
    payload = msgpack.packb([form, bytes(8)])

    with pytest.raises(CodecError):
        decode(msgpack.packb(msgpack.ExtType(0x31, payload)))


def test_to_encode_imports_no_library_and_to_decode_imports_what_is_met() -> None:
    program = f"""
import sys
from durable_kernel.codec import decode, encode, is_storable, plain
value = [1.5, {{"a": (1, b"x")}}, ...]
assert decode(encode(value)) == value and is_storable(value) and plain(value)
assert not is_storable(object())
assert not {{"numpy", "pandas", "pyarrow"}} & set(sys.modules)
assert decode({encode(np.arange(3))!r}).tolist() == [0, 1, 2]
assert "numpy" in sys.modules
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
