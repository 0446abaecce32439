"""The object codec: values that only pickle can carry, for outcomes of class *object* (H19).

The one place in the package that pickles. `runtime` injects it into the record codec of a run whose
every frame verified under the user's own key; nothing else ever loads what it wrote.
"""

from __future__ import annotations

import io
import pickle

import cloudpickle

from durable_kernel.errors import OutcomeNotStorableError

__all__ = ["load_object", "store_object"]

_PROTOCOL = 5


def store_object(value: object) -> bytes:
    """Pickle by protocol 5; cloudpickle, so that classes defined in a cell are carried by value.

    Raises OutcomeNotStorableError, whatever the pickler or a method of the value raised.
    """
    buffer = io.BytesIO()
    try:
        cloudpickle.Pickler(buffer, protocol=_PROTOCOL).dump(value)
    except Exception as error:  # noqa: BLE001 - __reduce__ and its kin are foreign code
        reason = f"{type(error).__name__}: {error}"
        raise OutcomeNotStorableError("the call", type(value).__qualname__, reason) from None
    return buffer.getvalue()


def load_object(data: bytes) -> object:
    """Unpickle. Executes code: only for authentic runs."""
    return pickle.loads(data)
