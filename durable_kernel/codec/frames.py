"""Frames: pandas' DataFrame and Series as Arrow streams, only where the user has loaded pyarrow.

Arrow does not hold all that a frame can be: one is written only if Arrow gives back the same frame,
types included, which is tried each time. Any other (columns of objects, attributes, subclasses,
labels that Arrow renames) goes the way of objects. To encode imports nothing, to decode both.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgpack

from durable_kernel.codec.layout import Ext, Foreign

__all__ = ["FRAMES"]

_ARROW_MAJOR_MIN: Final = 15
"""Readers before 14.0.1 unpickle one kind of extension type (CVE-2023-47248)."""

_NAME_TYPES: Final = frozenset({type(None), str, int})
_COLUMN: Final = "values"
_OBJECT: Final = "object"


def _pandas() -> Any:
    """Return pandas if user code has loaded it, and a pyarrow that is safe to read with."""
    pandas, arrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    is_safe = arrow is not None and _is_safe(arrow)
    return pandas if is_safe else None


def _is_safe(arrow: Any) -> bool:
    version = str(getattr(arrow, "__version__", "0"))  # absent while it is being imported
    return int(version.partition(".")[0]) >= _ARROW_MAJOR_MIN


def _is_plain(frame: Any) -> bool:
    return (
        not frame.attrs
        and frame.flags.allows_duplicate_labels
        and all(dtype != _OBJECT for dtype in frame.dtypes)
        and _has_plain_labels(frame.index)
        and _has_plain_labels(frame.columns)
    )


def _has_plain_labels(index: Any) -> bool:
    levels = index.levels if index.nlevels > 1 else [index]
    return all(
        level.dtype != _OBJECT or all(type(label) is str for label in level) for level in levels
    )


def _is_same(frame: Any, back: Any) -> bool:
    # equals() takes two labels of unlike types for the same, and does not look at names.
    return bool(
        back.equals(frame)
        and list(back.dtypes) == list(frame.dtypes)
        and _is_same_index(frame.index, back.index)
        and _is_same_index(frame.columns, back.columns)
    )


def _is_same_index(index: Any, back: Any) -> bool:
    return (
        type(index) is type(back)
        and index.dtype == back.dtype
        and list(index.names) == list(back.names)
        and getattr(index, "freq", None) == getattr(back, "freq", None)
    )


def _to_arrow(frame: Any) -> bytes | None:
    arrow = sys.modules["pyarrow"]
    try:
        table = arrow.Table.from_pandas(frame, nthreads=1)
        sink = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        content: bytes = sink.getvalue().to_pybytes()
        back = _from_arrow(content)
    except (arrow.ArrowException, NotImplementedError, TypeError, ValueError):
        return None  # a type of column that Arrow does not know
    return content if _is_same(frame, back) else None


def _from_arrow(content: bytes) -> Any:
    import pandas as pd  # noqa: F401, PLC0415 - to_pandas() looks for it
    import pyarrow as pa  # noqa: PLC0415 - only a run that used it has frames

    if not _is_safe(pa):
        raise ValueError(f"a frame, to be read with pyarrow {_ARROW_MAJOR_MIN} or later")
    try:
        table = pa.ipc.open_stream(content).read_all()
        table.validate(full=True)
        return table.to_pandas(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


# --- frames and series ----------------------------------------------------------------------------


def _carries_frame(value: Any) -> bool:
    pandas = _pandas()
    is_frame = pandas is not None and type(value) is getattr(pandas, "DataFrame", None)
    return is_frame and _is_plain(value)


def _carries_series(value: Any) -> bool:
    pandas = _pandas()
    is_series = pandas is not None and type(value) is getattr(pandas, "Series", None)
    return (
        is_series
        and type(value.name) in _NAME_TYPES
        and not value.attrs
        and _is_plain(value.to_frame(_COLUMN))
    )


def _pack_series(value: Any) -> bytes | None:
    content = _to_arrow(value.to_frame(_COLUMN))
    if content is None:
        return None
    try:
        packed: bytes = msgpack.packb([value.name, content])
    except (OverflowError, ValueError):
        return None  # a name beyond 64 bits, or with a lone surrogate
    return packed


def _unpack_series(payload: bytes) -> Any:
    name, content = msgpack.unpackb(payload)
    return _from_arrow(content)[_COLUMN].rename(name)


FRAMES: Final = (
    Foreign(Ext.FRAME, _carries_frame, _to_arrow, _from_arrow),
    Foreign(Ext.SERIES, _carries_series, _pack_series, _unpack_series),
)
