"""Layout: the table of the format and the numbers in the code are the same."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, time as time_of_day, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
import pytest

from durable_kernel.codec import decode, encode, layout
from durable_kernel.codec.layout import Ext

WORDS = {"numpy scalar": "numpy_scalar"}
NOON = datetime(2024, 2, 29, 12, 0, 0, 7)


def test_the_table_and_the_codes_agree() -> None:
    table = re.findall(
        r"^    0x([0-9a-f]{2})  (\w+(?: \w+)?)  ", layout.__doc__ or "", re.MULTILINE
    )

    drawn = {int(code, 16): WORDS.get(name, name).upper() for code, name in table}

    assert drawn == {int(code): code.name for code in Ext}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, "a"), "d6019201a161"),
        ({2, 1}, "c70302920102"),
        (frozenset({3}), "d5039103"),
        (slice(1, None), "d6049301c0c0"),
        (
            time.struct_time(tuple(range(9))),
            "c72c0593ab7374727563745f74696d659900010203040506070882a7746d5f7a6f6e65c0a9746d5f676d746f6666c0",
        ),
        (2**64, "c70910010000000000000000"),
        (bytearray(b"a"), "d41161"),
        (1 - 2j, "d8123ff0000000000000c000000000000000"),
        (Decimal("-1.5E+9"), "c707132d312e35452b39"),
        (Fraction(-1, 3), "c7071492c401ffc40103"),
        (range(1, 9, 2), "c70a1593c40101c40109c40102"),
        (..., "c70016"),
        (UUID(int=1), "d81700000000000000000000000000000001"),
        (PurePosixPath("/a"), "c70318702f61"),
        (NOON, "d72000e2d282fedbb007"),
        (NOON.replace(tzinfo=UTC, fold=1), "d72090e2d282fedbb007"),
        (NOON.replace(tzinfo=timezone(timedelta(hours=-7))), "c7092020e2d282fedbb007e4"),
        (
            NOON.replace(tzinfo=ZoneInfo("Europe/Berlin")),
            "c7152040e2d282fedbb0074575726f70652f4265726c696e",
        ),
        (date(2024, 2, 29), "d621000b4681"),
        (time_of_day(12, 30), "d7220000000a7a358200"),
        (timedelta(days=-1), "c70523ebe228a000"),
        (np.float32(1.5), "c70b3192a33c6634c4040000c03f"),
        ("\udcff", "a3edb3bf"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "",
)
def test_bytes_stay_as_they_were_published(value: Any, expected: str) -> None:
    """A journal outlives the version that wrote it."""
    assert encode(value).hex() == expected
    assert repr(decode(bytes.fromhex(expected))) == repr(value)


def test_a_tuple_can_be_read_by_any_msgpack_reader() -> None:
    extension = msgpack.unpackb(encode((1, "a")))

    assert (extension.code, msgpack.unpackb(extension.data)) == (Ext.TUPLE, [1, "a"])
