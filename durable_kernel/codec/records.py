"""Records: field tuples of the standard library that hooks return (struct_time, stat_result …).

Only the classes named here: their constructors are C, take fields, and run no code. Every other
named tuple goes the way of objects, because to decode it is to import the class that the bytes
name.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final

__all__ = ["record_class", "record_fields", "record_name"]

_CLASS_BY_NAME: Final[dict[str, type[tuple[Any, ...]]]] = {
    "stat_result": os.stat_result,
    "statvfs_result": os.statvfs_result,
    "struct_time": time.struct_time,
    "terminal_size": os.terminal_size,
    "times_result": os.times_result,
    "uname_result": os.uname_result,
}
_NAME_BY_CLASS: Final = {kind: name for name, kind in _CLASS_BY_NAME.items()}


def record_name(kind: type) -> str | None:
    """Return the name under which values of exactly this class are written, if they are."""
    return _NAME_BY_CLASS.get(kind)


def record_class(name: object) -> type[Any] | None:
    """Return the class that is written under this name, if there is one."""
    return _CLASS_BY_NAME.get(name) if isinstance(name, str) else None


def record_fields(value: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Return the fields that iteration shows, and those that only have a name (st_mtime_ns)."""
    # A struct sequence reduces to (class, (fields, hidden by name)); nothing else names the hidden.
    reduced: Any = value.__reduce__()
    visible, hidden = reduced[1]
    return list(visible), dict(hidden)
