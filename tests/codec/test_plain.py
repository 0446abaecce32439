"""Plain: any value becomes JSON that can be printed, and says what it was."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from durable_kernel.codec import StoredObject, plain


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([None, True, 1, 1.5, "ü"], [None, True, 1, 1.5, "ü"]),
        ((1, [2]), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        ({"a": {"b": ()}}, {"a": {"b": []}}),
        ({1: "x", "k": b"\xff"}, {"pairs": [[1, "x"], ["k", {"base64": "/w=="}]]}),
        (b"text\r\n", "text\r\n"),
        (bytearray(b"\x00"), {"base64": "AA=="}),
        ("a\udcff", "a\\udcff"),
        (2**64 - 1, 2**64 - 1),
        (-(2**80), {"int": "-0x100000000000000000000"}),
        (math.nan, {"float": "nan"}),
        (-math.inf, {"float": "-inf"}),
        (Decimal("1.50"), "1.50"),
        (Fraction(1, 3), {"fraction": [1, 3]}),
        (1 + 2j, "(1+2j)"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00+00:00"),
        (datetime.min.replace(tzinfo=ZoneInfo("Europe/Berlin")), "0001-01-01T00:00:00+00:53:28"),
        (date(2024, 1, 1), "2024-01-01"),
        (timedelta(days=1), "1 day, 0:00:00"),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (PurePosixPath("/x/\udcff"), "/x/\\udcff"),
        (range(3), {"range": [0, 3, 1]}),
        (slice(1, None), {"slice": [1, None, None]}),
        (..., "..."),
        (StoredObject("ab", 7), {"object": "ab", "size": 7}),
        (np.zeros((2, 3)), {"array": "float64", "shape": [2, 3]}),
        (np.float32(1.5), 1.5),
        (np.bool_(True), True),
        (np.float64("nan"), {"float": "nan"}),
        (np.datetime64("2024-01-01T00:00:00.000000001"), "2024-01-01T00:00:00.000000001"),
        (pd.Series([1.5]), {"series": "float64", "shape": [1]}),
        (pd.DataFrame({"a": [1]}), {"frame": ["int64"], "shape": [1, 1]}),
        (NotImplemented, {"type": "NotImplementedType"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_as(value: Any, expected: Any) -> None:
    shown = plain(value)

    assert shown == expected
    assert json.loads(json.dumps(shown, allow_nan=False)) == expected
    json.dumps(shown, ensure_ascii=False).encode()


def test_a_record_of_fields_is_named() -> None:
    shown = plain(time.gmtime(0))

    assert shown["struct_time"]["fields"][:3] == [1970, 1, 1]
    assert shown["struct_time"]["tm_zone"] in {"UTC", "GMT"}


def test_a_class_that_is_not_known_is_named_not_asked() -> None:
    assert plain(Text("x")) == {"type": f"{__name__}.Text"}


def test_a_value_without_end_is_cut() -> None:
    value: list[Any] = []
    value.append(value)

    assert "…" in json.dumps(plain(value), ensure_ascii=False)


def test_an_int_of_many_digits_can_be_shown() -> None:
    json.dumps(plain([7**9000, Fraction(1, 7**9000), range(7**9000)]))
