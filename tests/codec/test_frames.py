"""Frames: pandas through Arrow where it is loaded, and never anything but the same frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from durable_kernel.codec import decode, encode, is_storable
from durable_kernel.errors import CodecError

pytest.importorskip("pyarrow")
from pandas.testing import assert_frame_equal, assert_series_equal

FRAME = pd.DataFrame(
    {
        "count": [1, 2, 3],
        "share": [1.5, float("nan"), -0.0],
        "name": ["x", "ü", "z"],
        "at": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
        "kind": pd.Categorical(["u", "v", "u"]),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
    }
)


def stored(value: object) -> bytes:
    return b"object"


CARRIED: dict[str, pd.DataFrame] = {
    "of many types": FRAME,
    "indexed by two": FRAME.set_index(["count", "name"]),
    "with a zone": pd.DataFrame({"at": pd.date_range("2024", periods=3, tz="Europe/Berlin")}),
    "of durations": pd.DataFrame({"took": pd.to_timedelta([1, 2], unit="s")}),
    "of periods": pd.DataFrame({"month": pd.period_range("2024", periods=2, freq="M")}),
    "with a step": pd.DataFrame({"x": [1, 2]}, index=pd.RangeIndex(3, 7, 2, name="q")),
    "without rows": FRAME.drop(columns="kind").iloc[:0],
    "of named columns": pd.DataFrame({"x": [1]}).rename_axis(columns="c"),
}
NOT_CARRIED: dict[str, Any] = {
    "of objects": pd.DataFrame({"x": [1, "a"]}, dtype=object),
    "of mixed labels": pd.DataFrame([[1, 2]], columns=["a", 1]),
    "of equal labels": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "of numbered columns": pd.DataFrame(np.eye(2)),
    "of complex numbers": pd.DataFrame({"x": [1j]}),
    "with a frequency": pd.DataFrame({"x": [1, 2]}, index=pd.date_range("2024", periods=2)),
}


@pytest.mark.parametrize("frame", CARRIED.values(), ids=CARRIED)
def test_a_frame_comes_back(frame: pd.DataFrame) -> None:
    back = decode(encode(frame))

    assert is_storable(frame)
    assert_frame_equal(back, frame, check_exact=True, check_freq=True)


@pytest.mark.parametrize("name", ["count", 7, None])
def test_a_series_comes_back_with_its_name(name: Any) -> None:
    series = FRAME["share"].rename(name)

    back = decode(encode(series))

    assert_series_equal(back, series, check_exact=True)


@pytest.mark.parametrize("frame", NOT_CARRIED.values(), ids=NOT_CARRIED)
def test_a_frame_that_arrow_would_change_goes_the_way_of_objects(frame: pd.DataFrame) -> None:
    encoded = encode(frame, store_object=stored)

    assert decode(encoded, load_object=bytes.decode) == "object"


def test_a_frame_with_attributes_goes_the_way_of_objects() -> None:
    frame = FRAME.copy()
    frame.attrs["source"] = "here"

    encoded = encode([frame, frame["share"]], store_object=stored)

    assert not is_storable(frame)
    assert decode(encoded, load_object=bytes.decode) == ["object", "object"]


def test_damaged_arrow_bytes_are_refused() -> None:
    encoded = encode(FRAME)

    for cut in range(20, len(encoded) - 20, 101):
        damaged = encoded[:cut] + bytes(8) + encoded[cut + 8 :]
        try:
            decode(damaged)
        except CodecError:
            continue
