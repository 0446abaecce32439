"""The object codec: values that only pickle can carry, for outcomes of class *object* (H19).

The one place in the package that pickles. `runtime` injects it into the record codec of a run whose
every frame verified under the user's own key; nothing else ever loads what it wrote.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import cloudpickle

from durable_kernel.errors import OutcomeNotStorableError

__all__ = ["load_object", "store_object"]

_PROTOCOL = 5
_CELLS = "__main__"


def store_object(value: object) -> bytes:
    """Pickle by protocol 5; a class that a cell defined is carried by name, and by value beside it.

    Raises OutcomeNotStorableError, whatever the pickler or a method of the value raised.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=_PROTOCOL).dump(value)
    except Exception as error:  # noqa: BLE001 - __reduce__ and its kin are foreign code
        reason = f"{type(error).__name__}: {error}"
        raise OutcomeNotStorableError("the call", type(value).__qualname__, reason) from None
    return buffer.getvalue()


def load_object(data: bytes) -> object:
    """Unpickle. Executes code: only for authentic runs."""
    return pickle.loads(data)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, but for classes of cells: a value that is replayed is of the replayed class.

    By value alone it would be of a twin, and `isinstance`, `except` and `==` would say no.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and _found(obj.__module__, obj.__qualname__) is obj:
            by_value = cloudpickle.dumps(obj, protocol=_PROTOCOL)
            return _class_of_a_cell, (obj.__qualname__, by_value)
        return super().reducer_override(obj)


def _class_of_a_cell(name: str, by_value: bytes) -> Any:
    """Find the class that a replayed cell defined. Where there is none: as it was stored."""
    found = _found(_CELLS, name)
    return found if isinstance(found, type) else pickle.loads(by_value)


def _found(module: str, name: str) -> Any:
    """Look a dotted name up among the names of cells; None for one that leads nowhere."""
    found: Any = sys.modules[_CELLS] if module == _CELLS else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
