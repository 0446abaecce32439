"""Names: values of a notebook's names as bytes, and back into the names of another process.

One pickle holds all of them, so what they have in common they still have. What belongs to the
notebook itself is not copied but found again in the process that loads:

    the namespace            functions of cells get that of the process as their globals
    a class of an earlier    found by its name; what it holds that is neither function nor
    cell                     descriptor is set again
    a client that an         the one that the cells before made, if it is in the same state
    earlier cell made        (`facts_of`), as a connection is nobody's state
    views of one array       views of one array

What a pickler would give back as something else (an open file as text, a memoryview as bytes) is
refused. Loading executes code: only for authentic runs.
"""

from __future__ import annotations

import io
import logging
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any

import cloudpickle

from durable_kernel.checkpoint.changed import Before, Changed, address_of, shared_owner
from durable_kernel.errors import DurableError

__all__ = ["KeptNamesError", "Refused", "load_names", "store_names"]

_PROTOCOL = 5
_REASON_CHARS_MAX = 120
_ATTRIBUTES = (
    *("__kwdefaults__", "__dict__", "__qualname__", "__module__", "__annotations__", "__doc__"),
)
FactsOf = Callable[[Any], Any]
"""The state of something that can't be carried and need not be; None: it is no such thing."""
Reduce = Callable[[Any], Any]
"""How something is made again that says of itself that it can't be; None: it is no such thing."""


class KeptNamesError(DurableError):
    """What a cell left can't be brought back. Says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class Refused:
    """A name whose value can't be kept, and why."""

    name: str
    reason: str


def store_names(
    namespace: Mapping[str, Any],
    changed: Changed,
    before: Before,
    emit: Callable[[bytes], None],
    *,
    facts_of: FactsOf,
    reduce: Reduce = lambda _thing: None,
    bytes_max: int,
) -> list[Refused]:
    """Write the values of the changed names in pieces. Returns those that could not be written.

    A refused name is left out, and so are none of the others. Raises what `emit` raises.
    """
    values = {name: namespace[name] for name in changed.names}
    refused: list[Refused] = []
    known = _Known(namespace, before, changed.shared, facts_of, reduce)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a __reduce__ warns of is nobody's now
        while True:
            sink = _Sink(emit, bytes_max)
            reason = _try_to_store(values, known, sink)
            if reason is None:
                sink.flush()
                return refused
            if sink.is_full:
                return [Refused(name, reason) for name in values]
            culprits = list(_culprits(values, known, bytes_max)) or [
                Refused(name, reason) for name in values
            ]
            refused += culprits
            values = {name: values[name] for name in values.keys() - {one.name for one in culprits}}


def load_names(stored: io.BufferedIOBase, namespace: Any, *, facts_of: FactsOf) -> dict[str, Any]:
    """Read what `store_names` wrote, and bind it. Returns the names with their values.

    `namespace` is as the cells before left it. Raises KeptNamesError where that is not what it was,
    or the values can't be made; then no name is bound.
    """
    try:
        values: dict[str, Any] = _Unpickler(stored, namespace, facts_of).load()
    except DurableError:  # also those of the disk that it reads from
        raise
    except Exception as error:
        raise KeptNamesError(_reason(error)) from error
    namespace.update(values)
    return values


class _FullError(Exception):
    """The bound is reached."""


class _Sink:
    """A file that hands on what is written, in large pieces, up to a bound."""

    _PIECE_BYTES = 8 << 20

    def __init__(self, emit: Callable[[bytes], None] | None, bytes_max: int) -> None:
        self._emit = emit
        self._left = bytes_max
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.is_full = False

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._left -= len(piece)
        if self._left < 0:
            self.is_full = True
            raise _FullError("together they are larger than is kept")
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= self._PIECE_BYTES:
            self.flush()
        return len(piece)

    def flush(self) -> None:
        joined, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
        if joined and self._emit is not None:
            self._emit(joined)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a pickler finds again instead of copying it."""

    namespace: Mapping[str, Any]
    before: Before
    shared: frozenset[int]
    facts_of: FactsOf
    reduce: Reduce

    def is_old_class(self, kind: type) -> bool:
        """Tell whether an earlier cell defined this class, and its name still leads to it."""
        if kind.__module__ != self.namespace.get("__name__"):
            return False
        first = kind.__qualname__.partition(".")[0]
        if self.before.classes.get(first) is not self.namespace.get(first):
            return False
        return _found(self.namespace, kind.__qualname__) is kind

    def old_name_of(self, value: Any) -> str | None:
        """Return the name that has led to this very value since before the cell."""
        wanted = address_of(value)
        for name, address in self.before.addresses.items():
            if address == wanted and self.namespace.get(name) is value:
                return name
        return None


def _try_to_store(values: Mapping[str, Any], known: _Known, sink: _Sink) -> str | None:
    """Pickle. Returns the reason why that is impossible, None if it was done."""
    pickler = _Pickler(sink, known)
    try:
        pickler.dump(dict(values))
    except DurableError:  # the disk's, not the value's
        raise
    except Exception as error:  # noqa: BLE001 - __reduce__ and its kin are foreign code
        return _reason(error)
    return None


def _culprits(values: Mapping[str, Any], known: _Known, bytes_max: int) -> Iterator[Refused]:
    """Yield the names whose value alone can't be pickled."""
    for name, value in values.items():
        reason = _try_to_store({name: value}, known, _Sink(None, bytes_max))
        if reason is not None:
            yield Refused(name, reason)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_CHARS_MAX else text[:_REASON_CHARS_MAX] + "…"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, but for what belongs to the notebook itself."""

    def __init__(self, file: Any, known: _Known) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._known = known

    def persistent_id(self, obj: Any) -> Any:
        known = self._known
        if obj is known.namespace:
            return ("namespace",)
        if isinstance(obj, type):
            return None
        facts = known.facts_of(obj)
        if facts is None:
            return None
        name = known.old_name_of(obj)
        return None if name is None else ("as before", name, facts)

    def reducer_override(self, obj: Any) -> Any:
        known = self._known
        kind = type(obj)
        if kind is FunctionType:
            if obj.__globals__ is known.namespace:
                return _reduced_function(obj)
        elif kind is CellType:
            return CellType, ()  # its function sets it
        elif isinstance(obj, type):
            if known.is_old_class(obj):
                return _reduced_class(obj, known.namespace)
            return _untracked(super().reducer_override(obj))
        elif isinstance(obj, io.IOBase) and obj not in (sys.stdout, sys.stderr):
            raise pickle.PicklingError(f"cannot pickle an open file ({kind.__qualname__})")
        elif kind is memoryview:
            raise pickle.PicklingError("cannot pickle a memoryview")
        elif isinstance(obj, logging.Handler):
            raise pickle.PicklingError("cannot pickle a handler of logging")
        elif hasattr(kind, "__array_interface__") and hasattr(obj, "_mmap"):
            raise pickle.PicklingError("cannot pickle a mapped file")
        elif (reduced := known.reduce(obj)) is not None:
            return reduced
        else:
            owner = shared_owner(obj)
            if owner is not None and id(owner) in known.shared:
                return _reduced_view(obj, owner)
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    """Finds again what the pickler did not copy."""

    def __init__(self, file: Any, namespace: Any, facts_of: FactsOf) -> None:
        super().__init__(file)
        self._namespace = namespace
        self._facts_of = facts_of

    def find_class(self, module: str, name: str) -> Any:
        if module == self._namespace.get("__name__"):
            found = _found(self._namespace, name)
            if found is None:
                raise KeptNamesError(f"there is no {name} any more")
            return found
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "namespace":
            return self._namespace
        _, name, facts = pid
        value = self._namespace.get(name)
        if value is None or self._facts_of(value) != facts:
            raise KeptNamesError(
                f"{name} is not as it was when the cell was interrupted, and can't be stored itself"
            )
        return value


# --- how things are made again --------------------------------------------------------------------


def _reduced_function(function: FunctionType) -> Any:
    """Make it with empty cells: a function may close over itself, and two over one variable."""
    cells = [(cell, [cell.cell_contents]) for cell in function.__closure__ or () if _is_set(cell)]
    state = (function.__defaults__, cells, {name: getattr(function, name) for name in _ATTRIBUTES})
    made_of = (function.__code__, function.__globals__, function.__name__, function.__closure__)
    return _function, made_of, state, None, None, _set_function


def _function(code: Any, namespace: Any, name: str, closure: Any) -> FunctionType:
    return FunctionType(code, namespace, name, None, closure)


def _set_function(function: FunctionType, state: Any) -> None:
    function.__defaults__, cells, attributes = state
    for cell, (content,) in cells:
        cell.cell_contents = content
    function.__dict__.update(attributes.pop("__dict__"))
    for name, value in attributes.items():
        setattr(function, name, value)


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is cell.cell_contents
    except ValueError:
        return False


def _untracked(reduced: Any) -> Any:
    """Let a class by value be made anew: by its tracking id it could be another notebook's."""
    if not isinstance(reduced, tuple) or not reduced[0].__name__.startswith("_make_skeleton"):
        return reduced
    make, args, *rest = reduced
    return (make, (*args[:-2], None, args[-1]), *rest)


def _reduced_class(kind: type, namespace: Any) -> Any:
    """Find the class again by name, with what a method may have written into it."""
    held = {
        name: value
        for name, value in vars(kind).items()
        if not (name.startswith("__") or hasattr(type(value), "__get__"))
    }
    return _class, (namespace, kind.__qualname__), held, None, None, _set_class


def _class(namespace: Any, name: str) -> Any:
    found = _found(namespace, name)
    if not isinstance(found, type):
        raise KeptNamesError(f"there is no class {name} any more")
    return found


def _set_class(kind: type, held: Mapping[str, Any]) -> None:
    for name, value in held.items():
        setattr(kind, name, value)


def _reduced_view(view: Any, owner: Any) -> Any:
    """Say where in its owner's memory an array lies."""
    flat = owner.reshape(-1, order="A")
    if flat.base is not owner or view.dtype.hasobject:
        raise pickle.PicklingError("it shares its memory with another array in a way that is lost")
    start = view.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    place = (view.shape, view.dtype, start, view.strides, view.flags.writeable)
    return _view, (owner, *place)


def _view(owner: Any, shape: Any, dtype: Any, start: int, strides: Any, is_writeable: bool) -> Any:  # noqa: FBT001 - pickled as positions
    flat = owner.reshape(-1, order="A")
    view = type(owner)(shape, dtype, flat, start, strides)
    view.flags.writeable = is_writeable
    return view


def _found(names: Mapping[str, Any], dotted: str) -> Any:
    """Look a dotted name up; None for one that leads nowhere."""
    first, *parts = dotted.split(".")
    found: Any = names.get(first)
    for part in parts:
        found = getattr(found, part, None)
    return found
