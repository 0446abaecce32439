"""Records as payloads of frames, and back: `RecordCodec`.

A payload is the array of a record's fields with its trailing defaults cut off. Knows no file, and
none of what a record means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

from durable_kernel import codec
from durable_kernel.errors import JournalVersionError
from durable_kernel.history.records import (
    Announced,
    Branched,
    Called,
    Cell,
    Committed,
    Crossed,
    Cut,
    Finished,
    Forked,
    Head,
    Kept,
    Loaded,
    Noted,
    Observed,
    Opened,
    Output,
    Part,
    Record,
    Resolved,
    Resumed,
    Reused,
    Settled,
    Shutdown,
    Turned,
    Unsettled,
    Withdrawn,
)
from durable_kernel.journal import BlobRef, Frame

__all__ = ["RecordCodec", "blob_list", "blob_ref"]

_ALL: tuple[type[Record], ...] = (
    Opened,
    Cell,
    Resumed,
    Observed,
    Announced,
    Head,
    Part,
    Settled,
    Output,
    Crossed,
    Noted,
    Committed,
    Resolved,
    Branched,
    Shutdown,
    Finished,
    Unsettled,
    Withdrawn,
    Turned,
    Reused,
    Called,
    Loaded,
    Forked,
    Kept,
    Cut,
)
_TYPES: dict[int, type[Record]] = {each.CODE: each for each in _ALL}


def _defaults(record_type: type[Record]) -> list[Any]:
    result: list[Any] = []
    for each in fields(record_type):
        if each.default is not MISSING:
            result.append(each.default)
        elif each.default_factory is not MISSING:
            result.append(each.default_factory())
        else:
            result.append(MISSING)
    return result


_NAMES = {cls: tuple(each.name for each in fields(cls)) for cls in _TYPES.values()}
_VALUES: dict[type[Record], Callable[[Any], tuple[Any, ...]]] = {
    cls: attrgetter(*names) for cls, names in _NAMES.items()
}
_VALUES[Noted] = lambda record: (record.sentence,)  # `attrgetter` of one name gives the bare value
_VALUES[Cut] = lambda record: (record.by,)
_LAST_DEFAULTS = {cls: _defaults(cls)[::-1] for cls in _TYPES.values()}


class RecordCodec:
    """Record <-> (frame type, payload). Holds what the value codec needs.

    Args:
        sealer: encrypts sealed answers; None reads them as closed.
        store_object: the injected writer of class *object* (H19); None refuses such a value.
        load_object: its reader; None leaves a placeholder.
    """

    def __init__(
        self,
        *,
        sealer: codec.Sealer | None = None,
        store_object: Callable[[object], bytes] | None = None,
        load_object: Callable[[bytes], object] | None = None,
    ) -> None:
        self._sealer = sealer
        self._store_object = store_object
        self._load_object = load_object

    def pack(self, record: Record) -> tuple[int, bytes]:
        """Encode a record. Raises OutcomeNotStorableError for a value that nothing carries."""
        kind = type(record)
        values = list(_VALUES[kind](record))
        self.cut_defaults(kind, values)
        return self.pack_fields(kind, values)

    @staticmethod
    def cut_defaults(kind: type[Record], values: list[Any]) -> None:
        """Remove trailing defaults from the fields of a record, which are all there."""
        for default in _LAST_DEFAULTS[kind]:
            if values[-1] is not default and not _same(values[-1], default):
                break
            values.pop()

    def pack_fields(self, kind: type[Record], values: list[Any]) -> tuple[int, bytes]:
        """Encode a record that was not made: its fields in order, trailing defaults cut off."""
        return kind.CODE, self.encode(values)

    def pack_small(self, kind: type[Record], values: list[Any]) -> tuple[int, bytes] | None:
        """Do the same for fields of which `is_small_tree` holds; None where that takes longer."""
        payload = codec.encode_small_tree(values)
        return None if payload is None else (kind.CODE, payload)

    def unpack(self, frame: Frame) -> Record:
        """Decode a frame. Raises JournalVersionError for a type that this build does not know."""
        kind = _TYPES.get(frame.type)
        if kind is None:
            raise JournalVersionError(f"frame {frame.lsn}", frame.type, max(_TYPES))
        values = self.decode(frame.payload)
        assert isinstance(values, list)
        return kind(**dict(zip(_NAMES[kind], values, strict=False)))

    def encode(self, value: object) -> bytes:
        return codec.encode(value, sealer=self._sealer, store_object=self._store_object)

    def decode(self, data: bytes) -> Any:
        return codec.decode(data, sealer=self._sealer, load_object=self._load_object)


_COMPARABLE = frozenset({bool, int, str, bytes, dict, type(None)})


def _same(value: object, default: object) -> bool:
    """Tell whether a value is its plain default; comparing arrays would give no truth value."""
    return type(value) is type(default) and type(value) in _COMPARABLE and value == default


def blob_ref(listed: list[Any]) -> BlobRef:
    """Read a blob reference as records carry it: [digest, size, codec]."""
    digest, size, coding = listed
    return BlobRef(digest, size, coding)


def blob_list(ref: BlobRef) -> list[Any]:
    """Write a blob reference as records carry it."""
    return [ref.digest, ref.size, ref.codec]
