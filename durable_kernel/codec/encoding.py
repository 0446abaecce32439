"""Encoding: one value to its canonical bytes. What cannot be carried fails here, when it is made.

Trees of plain scalars, lists and dicts go to msgpack's C packer whole; everything else is written
item by item, exact type by exact type: a subclass of a builtin is never flattened. The value is
only read: no method of a user's class is called. Aliases are not kept: a list that stands twice
inside a value comes back as two equal lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final, Self

import msgpack
from blake3 import blake3

from durable_kernel.codec.arrays import ARRAYS
from durable_kernel.codec.frames import FRAMES
from durable_kernel.codec.layout import DEPTH_MAX, Ext, Leaf
from durable_kernel.codec.moments import MOMENTS
from durable_kernel.codec.records import record_fields, record_name
from durable_kernel.codec.scalars import SCALARS
from durable_kernel.codec.sealing import Sealed, Sealer
from durable_kernel.errors import OutcomeNotStorableError

__all__ = [
    "digest",
    "encode",
    "encode_small_tree",
    "is_small_tree",
    "is_storable",
    "small_tree_packer",
    "type_name",
]

_NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes})
_NUMBERS: Final = frozenset({int, float})
_ROWS: Final = frozenset({list})
_TREE: Final = _NATIVE | {list, dict}
_LEAF_BY_TYPE: Final[Mapping[type, Leaf]] = {
    kind: leaf for leaf in (*SCALARS, *MOMENTS) for kind in leaf.kinds
}
_SETS: Final[Mapping[type, Ext]] = {set: Ext.SET, frozenset: Ext.FROZENSET}
_LONG_COLUMN: Final = 64
"""Items from which on it pays to ask first whether a list is a column of numbers."""
_SMALL: Final = 48
"""Items up to which a look at each of them is cheaper than loops in C over all."""
_CONTAINERS_MAX: Final = 64
"""Of a small tree; a tree of so many has fewer than DEPTH_MAX levels."""

_FOREIGN: Final = (*ARRAYS, *FRAMES)
_PARTLY_CARRIED: Final = frozenset({Ext.DATETIME, Ext.TIME, Ext.FRACTION})
_KEY_SHOWN_CHARS_MAX: Final = 40
_DEEP_PATH_SEGMENTS: Final = 3


def encode(
    value: object,
    *,
    sealer: Sealer | None = None,
    store_object: Callable[[object], bytes] | None = None,
    call: str = "the call",
) -> bytes:
    """Return the bytes of a value; equal values of equal types give equal bytes, but for secrets.

    `store_object` gets each part that the format does not carry, and returns the bytes of class
    *object* that stand for it; what it raises passes through. `call` names the effect in errors.
    Raises OutcomeNotStorableError, with type and place, for a part that nobody carries, for a
    cycle, for more than 100 levels of nesting, and for an open `Sealed` without a sealer.
    """
    packed = encode_small_tree(value) if is_small_tree(value) else None
    if packed is not None:
        return packed
    encoder = _Encoder(sealer, store_object)
    parts: list[bytes] = []
    try:
        encoder.write(value, parts, 0)
    except _NotCarriedError as found:
        raise OutcomeNotStorableError(call, found.type_name, found.sentence()) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def encode_small_tree(value: object, packer: msgpack.Packer | None = None) -> bytes | None:
    """Return what `encode` does for a value of which `is_small_tree` holds, or None.

    `packer` is what `small_tree_packer` made: whoever encodes often keeps one.
    """
    try:
        packed: bytes = (packer or small_tree_packer()).pack(value)
    except (OverflowError, ValueError):
        return None  # an int beyond 64 bits, a lone surrogate, more than 4 GiB: one by one
    return packed


def small_tree_packer() -> msgpack.Packer:
    """Make what `encode_small_tree` may use again and again, of one thread at a time."""
    return msgpack.Packer(strict_types=True)


def digest(value: object) -> str:
    """Return the BLAKE3 of the canonical bytes, 64 hex digits: the identity of a value.

    Raises OutcomeNotStorableError as `encode` does. A `Sealed` has no digest: it would be a means
    to guess the secret; use `keyed_hash`.
    """
    return blake3(encode(value)).hexdigest()


def is_small_tree(value: Any) -> bool:
    """Tell whether a value is a small tree of plain values, as most records are.

    That is lists and dicts of None, bool, int, float, str and bytes, of no subclass and no other.
    """
    return _is_flat(value) or _is_small(value)


def _is_flat(value: Any) -> bool:
    """Tell, mostly in C, of a dict of scalars, of lists of those, and of lists of rows of those.

    As the head of an answer is, and what stands beside it. False says nothing of other trees.
    """
    if type(value) is not dict or len(value) > _SMALL:
        return type(value) in _NATIVE
    for item in value.values():
        if type(item) in _NATIVE:
            continue
        if type(item) is not list or len(item) > _SMALL:
            return False
        kinds = set(map(type, item))
        if kinds <= _NATIVE:
            continue
        if kinds != _ROWS or not _NATIVE.issuperset(map(type, chain.from_iterable(item))):
            return False
        if max(map(len, item)) > _SMALL:
            return False
    return _NATIVE.issuperset(map(type, value))


def _is_small(value: Any) -> bool:
    containers = 0
    items = [value]
    for item in items:  # the list grows while it is walked: one loop is cheaper than recursion
        kind = type(item)
        if kind in _NATIVE:
            continue
        containers += 1
        if (kind is not list and kind is not dict) or len(item) > _SMALL:
            return False
        if containers > _CONTAINERS_MAX:
            return False
        items += item
        if kind is dict:
            items += item.values()
    return True


def is_storable(value: object) -> bool:
    """Tell cheaply whether `encode` carries the value, given a sealer but no `store_object`.

    Structure is looked at, not content: of a frame only the types of its columns.
    """
    return _is_carried(value, 0)


def type_name(value: object) -> str:
    """Return the full name of a value's class, without asking the class or its metaclass."""
    kind = type(value)
    name: str = type.__dict__["__qualname__"].__get__(kind)
    module = type.__dict__["__module__"].__get__(kind)
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name


class _NotCarriedError(Exception):
    """A part cannot be carried. It collects the way up to the result, innermost step first."""

    def __init__(self, type_name: str, reason: str, *, is_too_deep: bool = False) -> None:
        super().__init__(type_name, reason)
        self.type_name, self.reason, self.is_too_deep = type_name, reason, is_too_deep
        self._way_up: list[tuple[str, int]] = []

    def inside(self, container: object, step: str) -> Self:
        self._way_up.append((step, id(container)))
        return self

    def sentence(self) -> str:
        """Say why and where. Only a value that is too deep is searched for a cycle."""
        way = self._way_up[::-1]
        steps = [step for step, _ in way]
        if not self.is_too_deep:
            return f"{self.reason}, at result{''.join(steps)}" if steps else self.reason
        seen: set[int] = set()
        for depth, (_, container) in enumerate(way):
            if container in seen:
                return f"it contains itself, at result{''.join(steps[:depth])}"
            seen.add(container)
        return f"{self.reason}, at result{''.join(steps[:_DEEP_PATH_SEGMENTS])}…"


class _Encoder:
    """Writes one value. Bytes are collected in a list, and joined once per extension."""

    __slots__ = ("_packer", "_sealer", "_store_object")

    def __init__(
        self, sealer: Sealer | None, store_object: Callable[[object], bytes] | None
    ) -> None:
        self._sealer = sealer
        self._store_object = store_object
        self._packer = msgpack.Packer(strict_types=True)

    def write(self, value: Any, parts: list[bytes], depth: int) -> None:
        """Append the bytes of a value to `parts`."""
        kind = type(value)
        if kind in _NATIVE:
            parts.append(self._native(value))
        elif kind is list:
            self._write_list(value, parts, depth, value)
        elif kind is dict:
            self._write_dict(value, parts, depth)
        else:
            parts.append(self._extension(value, depth))

    def _native(self, value: Any) -> bytes:
        try:
            packed: bytes = self._packer.pack(value)
        except OverflowError:
            return self._ext(Ext.INT, _LEAF_BY_TYPE[int].pack(value), value)
        except UnicodeEncodeError:
            loose: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
            return loose
        except ValueError:
            raise _NotCarriedError(type_name(value), "it is larger than 4 GiB") from None
        return packed

    def _tree(self, value: list[Any] | dict[Any, Any], depth: int) -> bytes | None:
        """Pack a container in one C call if it holds only scalars, lists and dicts, else None.

        msgpack takes more than it gives back (a bytearray comes back as bytes), so every level is
        looked at, at C speed too. Packing comes before the deeper levels, because it ends a cycle.
        """
        kinds = None if _starts_with_numbers(value) else _kinds_in(value)
        if kinds is not None and not kinds <= _TREE:
            return None
        try:
            packed: bytes = self._packer.pack(value)
        except (OverflowError, TypeError, ValueError):
            return None  # an int beyond 64 bits, a lone surrogate, a foreign type: one by one
        if kinds is None:
            if _adds_up(value):
                return packed
            kinds = _kinds_in(value)
        return packed if kinds <= _NATIVE or _is_tree(value, kinds, depth) else None

    def _write_list(
        self, value: list[Any], parts: list[bytes], depth: int, container: object
    ) -> None:
        """Append a list. `container` is what the user sees in its place, a tuple for instance."""
        _check_depth(container, depth)
        tree = self._tree(value, depth)
        if tree is not None:
            parts.append(tree)
            return
        items = value[:]  # another thread may go on appending, and the count is written first
        parts.append(self._packer.pack_array_header(len(items)))
        for index, item in enumerate(items):
            try:
                self.write(item, parts, depth + 1)
            except _NotCarriedError as found:
                raise found.inside(container, f"[{index}]") from None

    def _write_dict(self, value: dict[Any, Any], parts: list[bytes], depth: int) -> None:
        _check_depth(value, depth)
        tree = self._tree(value, depth)
        if tree is not None:
            parts.append(tree)
            return
        items = value.copy()
        parts.append(self._packer.pack_map_header(len(items)))
        for key, item in items.items():
            try:
                self.write(key, parts, depth + 1)
            except _NotCarriedError as found:
                raise found.inside(value, " (a key)") from None
            try:
                self.write(item, parts, depth + 1)
            except _NotCarriedError as found:
                raise found.inside(value, f"[{_shown(key)}]") from None

    def _extension(self, value: Any, depth: int) -> bytes:
        """Return the bytes of a value that msgpack has no type for."""
        kind = type(value)
        leaf = _LEAF_BY_TYPE.get(kind)
        if leaf is not None:
            return self._ext(leaf.code, leaf.pack(value), value)
        if kind is tuple:
            return self._ext(Ext.TUPLE, self._packed_list(value, list(value), depth), value)
        if kind in _SETS:
            return self._ext(_SETS[kind], self._packed_set(value, depth), value)
        if kind is slice:
            fields = [value.start, value.stop, value.step]
            return self._ext(Ext.SLICE, self._packed_list(value, fields, depth), value)
        if (name := record_name(kind)) is not None:
            fields = [name, *record_fields(value)]
            return self._ext(Ext.RECORD, self._packed_list(value, fields, depth), value)
        if kind is Sealed:
            return self._ext(Ext.SEALED, self._seal(value), value)
        for foreign in _FOREIGN:
            if foreign.carries(value):
                return self._ext(foreign.code, foreign.pack(value), value)
        return self._object(value)

    def _packed_list(self, value: object, items: list[Any], depth: int) -> bytes:
        parts: list[bytes] = []
        self._write_list(items, parts, depth, value)
        return b"".join(parts)

    def _packed_set(self, value: Iterable[Any], depth: int) -> bytes:
        _check_depth(value, depth)
        encoded: list[bytes] = []
        for item in list(value):
            parts: list[bytes] = []
            try:
                self.write(item, parts, depth + 1)
            except _NotCarriedError as found:
                raise found.inside(value, " (an item)") from None
            encoded.append(b"".join(parts))
        encoded.sort()
        header: bytes = self._packer.pack_array_header(len(encoded))
        return header + b"".join(encoded)

    def _seal(self, secret: Sealed) -> bytes:
        if secret.box is not None:
            return secret.box
        if self._sealer is None:
            raise _NotCarriedError(type_name(secret), "a secret is only written under a key")
        return self._sealer.seal(secret.value)

    def _object(self, value: object) -> bytes:
        if self._store_object is None:
            raise _NotCarriedError(type_name(value), "the journal's own format has no such type")
        return self._framed(Ext.OBJECT, self._store_object(value), value)

    def _ext(self, code: Ext, payload: bytes | None, value: object) -> bytes:
        """Frame a payload; without one the value goes the way of objects."""
        return self._object(value) if payload is None else self._framed(code, payload, value)

    def _framed(self, code: Ext, payload: bytes, value: object) -> bytes:
        try:
            framed: bytes = self._packer.pack_ext_type(int(code), payload)
        except ValueError:
            raise _NotCarriedError(type_name(value), "it is larger than 4 GiB") from None
        return framed


def _check_depth(value: object, depth: int) -> None:
    if depth >= DEPTH_MAX:
        reason = f"it is nested more than {DEPTH_MAX} levels deep"
        raise _NotCarriedError(type_name(value), reason, is_too_deep=True)


def _starts_with_numbers(value: list[Any] | dict[Any, Any]) -> bool:
    return len(value) >= _LONG_COLUMN and type(value) is list and type(value[0]) in _NUMBERS


def _adds_up(items: Iterable[Any]) -> bool:
    """Tell whether items that the strict packer took are all numbers: only numbers add up.

    Four times cheaper than to look at each type, and no method of a user's class can run here.
    """
    try:
        sum(items)
    except TypeError:
        return False
    return True


def _kinds_in(value: list[Any] | dict[Any, Any]) -> set[type]:
    kinds = set(map(type, value))
    if type(value) is dict:
        kinds.update(map(type, value.values()))
    return kinds


def _is_tree(value: list[Any] | dict[Any, Any], kinds: set[type], depth: int) -> bool:
    """Tell whether all below a container of `kinds` is scalar, list or dict, in 100 levels."""
    level = list(value.values()) if isinstance(value, dict) else value
    for _ in range(depth + 1, DEPTH_MAX):
        if kinds <= _NATIVE or not kinds <= _TREE:
            return kinds <= _NATIVE
        level = _items_of_all(level, kinds)
        kinds = set(map(type, level))
    return kinds <= _NATIVE


def _items_of_all(level: list[Any], kinds: set[type]) -> list[Any]:
    """Return what the lists and dicts of one level hold, keys too, in C loops."""
    # Not gc.get_referents: from 3.13 on it does not see into the __dict__ of an instance.
    is_mixed = len(kinds) > 1
    items: list[Any] = []
    if list in kinds:
        lists = [each for each in level if type(each) is list] if is_mixed else level
        items += chain.from_iterable(lists)
    if dict in kinds:
        dicts = [each for each in level if type(each) is dict] if is_mixed else level
        items += chain.from_iterable(dicts)
        items += chain.from_iterable(map(dict.values, dicts))
    return items


def _shown(key: object) -> str:
    """Return a key for an error message; only of types whose repr is Python's own."""
    if type(key) in _NATIVE:
        if isinstance(key, int) and key.bit_length() > _KEY_SHOWN_CHARS_MAX:
            return "int"  # its decimal digits may be too many for repr
        text = repr(key)
        return text if len(text) <= _KEY_SHOWN_CHARS_MAX else f"{text[:_KEY_SHOWN_CHARS_MAX]}…"
    return type_name(key)


def _is_carried(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _NATIVE or kind is Sealed:
        return True
    items = _items_of(value)
    if items is not None:
        return depth < DEPTH_MAX and (
            _NATIVE.issuperset(map(type, items))
            or all(_is_carried(item, depth + 1) for item in items)
        )
    leaf = _LEAF_BY_TYPE.get(kind)
    if leaf is not None:
        return leaf.code not in _PARTLY_CARRIED or leaf.pack(value) is not None
    return any(foreign.carries(value) for foreign in _FOREIGN)


def _items_of(value: Any) -> list[Any] | None:
    """Return what a container of ours holds, None for anything else."""
    kind = type(value)
    if kind is dict:
        return [*value, *value.values()]
    if kind in {list, tuple, set, frozenset}:
        return list(value)
    if kind is slice:
        return [value.start, value.stop, value.step]
    if record_name(kind) is not None:
        return list(record_fields(value))
    return None
