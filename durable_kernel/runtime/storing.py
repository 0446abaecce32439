"""Storing: outcomes and parts on their way into records and back.

Joins ports, codec, history and the blob store.

Secrets become sealed values, large values become blobs, and what a record says about an error
becomes `ErrorFacts` again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from durable_kernel.codec import Sealed
from durable_kernel.history import (
    INLINE_BYTES_MAX,
    Announced,
    CallHistory,
    Choice,
    Output,
    Part,
    Record,
    RecordCodec,
    Resolved,
    Settled,
    blob_list,
    blob_ref,
)
from durable_kernel.journal import BlobStore
from durable_kernel.ports import REPEAT_NEVER, Call, Ending, ErrorFacts, Outcome, Repeat, Secret

__all__ = ["RecordedParts", "Storing"]

_SECRET_HOLDERS = frozenset({dict, list, tuple})
_DEPTH_MAX = 100
_ENDINGS = {each.value: each for each in Ending}


class RecordedParts:
    """The parts of a recorded stream, as often as they are asked for; one record in memory."""

    def __init__(self, records: Sequence[Part], blobs: BlobStore) -> None:
        self._records = records
        self._blobs = blobs

    def __bool__(self) -> bool:
        return bool(self._records)

    def __iter__(self) -> Iterator[bytes]:
        for record in self._records:
            content = self._blobs.read(blob_ref(record.blob)) if record.blob else record.content
            start = 0
            for size in record.sizes:
                yield content[start : start + size]
                start += size


class Storing:
    """Packs records that hold values of any size, and rebuilds outcomes from them."""

    def __init__(self, records: RecordCodec, blobs: BlobStore) -> None:
        self.records = records
        self._blobs = blobs

    # --- into the journal -------------------------------------------------------------------------

    def announced(
        self, lane: str, ordinal: int, call: Call, repeat: Repeat, wall_ns: int
    ) -> tuple[int, bytes]:
        """Pack the announcement of a call that may be repeated as `repeat` says."""
        return self.records.pack(
            Announced(
                ordinal=ordinal,
                lane=lane,
                kind=call.kind,
                label=call.label,
                wall_ns=wall_ns,
                act=int(call.act),
                identity=call.identity,
                details=call.details,
                repeat_s=_recorded_seconds(repeat),
                repeat_why=repeat.why if call.act and repeat is not REPEAT_NEVER else "",
            )
        )

    def settled(
        self, lane: str, ordinal: int, outcome: Outcome, generators: Any, pace: int = 0
    ) -> tuple[int, bytes]:
        """Pack an outcome; a value above INLINE_BYTES_MAX is put into a blob first."""
        facts = outcome.error
        error = (
            [facts.type_path, facts.message, list(facts.args), dict(facts.extra)] if facts else None
        )
        value = _seal(outcome.value)

        def record(inline: Any, blob: list[Any] | None) -> Record:
            return Settled(
                lane=lane,
                ordinal=ordinal,
                ending=int(outcome.ending),
                value=inline,
                error=error,
                blob=blob,
                generators=generators,
                pace=pace,
            )

        packed = self.records.pack(record(value, None))
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        return self.records.pack(record(None, self._put(self.records.encode(value))))

    def resolved(self, record: Resolved) -> tuple[int, bytes]:
        """Pack a user's decision; a large answer becomes a blob."""
        record = replace(record, value=_seal(record.value))
        packed = self.records.pack(record)
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        blob = self._put(self.records.encode(record.value))
        return self.records.pack(replace(record, value=None, blob=blob))

    def part(self, lane: str, ordinal: int, pieces: list[bytes]) -> tuple[int, bytes]:
        """Pack consecutive parts of a stream."""
        content = b"".join(pieces)
        sizes = [len(piece) for piece in pieces]
        if len(content) <= INLINE_BYTES_MAX:
            return self.records.pack(Part(lane=lane, ordinal=ordinal, sizes=sizes, content=content))
        blob = self._put(content)
        return self.records.pack(Part(lane=lane, ordinal=ordinal, sizes=sizes, blob=blob))

    def output(self, kind: str, content: Any, metadata: Any, late: int | None) -> tuple[int, bytes]:
        """Pack an output message; a large one becomes a blob."""
        packed = self.records.pack(Output(kind=kind, content=content, metadata=metadata, late=late))
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        blob = self._put(self.records.encode(content))
        return self.records.pack(Output(kind=kind, metadata=metadata, blob=blob, late=late))

    def head(self, value: Any) -> Any:
        """Return a head as it may be stored: secrets sealed."""
        return _seal(value)

    # --- out of the journal -----------------------------------------------------------------------

    def outcome(self, call: CallHistory) -> Outcome:
        """Rebuild the outcome of a complete call: settled, answered, or marked failed."""
        if call.settled is not None:
            settled = call.settled
            value = self._value(settled.value, settled.blob)
            return Outcome(_ENDINGS[settled.ending], value, _facts(settled.error))
        assert call.resolved is not None, "only complete calls have an outcome"
        if call.resolved.choice == Choice.FAIL:
            return Outcome(Ending.FAILED)
        return Outcome.of_value(self._value(call.resolved.value, call.resolved.blob))

    def head_of(self, call: CallHistory) -> Any:
        return _open(call.head.value) if call.head is not None else None

    def parts_of(self, call: CallHistory) -> Iterable[bytes]:
        """Give all recorded parts of a call, with their boundaries. Blobs are read as they come."""
        return RecordedParts(call.parts, self._blobs) if call.parts else ()

    def content_of(self, output: Output) -> Any:
        """Return the content of an output message, from its blob if it was large."""
        return self._value(output.content, output.blob)

    def _value(self, inline: Any, blob: list[Any] | None) -> Any:
        stored = self.records.decode(self._blobs.read(blob_ref(blob))) if blob else inline
        return _open(stored)

    def _put(self, data: bytes) -> list[Any]:
        return blob_list(self._blobs.put(data, compress=_looks_like_text(data)))


def _recorded_seconds(repeat: Repeat) -> float | None:
    """Return the time of a Repeat as records hold it; whole seconds take a byte or three."""
    seconds = repeat.seconds_max
    if seconds == float("inf"):
        return None
    return int(seconds) if seconds == int(seconds) else seconds


def _looks_like_text(data: bytes) -> bool:
    """Tell text from numbers, which are stored raw: compressing them costs time for nothing."""
    sample = data[:4096]
    return sample.count(0) == 0 and sum(byte > 126 for byte in sample) * 10 < len(sample)  # noqa: PLR2004 - ASCII's end


def _seal(value: Any) -> Any:
    kind = type(value)
    if kind in _SECRET_HOLDERS:
        return _mapped(value, _seal) if _holds(value, Secret) else value
    return Sealed(value.value) if kind is Secret else value


def _open(value: Any) -> Any:
    kind = type(value)
    if kind in _SECRET_HOLDERS:
        return _mapped(value, _open) if _holds(value, Sealed) else value
    return Secret(value.value) if kind is Sealed else value


def _holds(value: Any, kind: type, depth: int = 0) -> bool:
    """Tell whether a value of `kind` stands anywhere in a container. Most hold none.

    Not deeper than any record may be: what contains itself is refused when it is encoded.
    """
    items = value.values() if type(value) is dict else value
    kinds = set(map(type, items))
    if kind in kinds:
        return True
    if depth == _DEPTH_MAX or kinds.isdisjoint(_SECRET_HOLDERS):
        return False
    return any(_holds(item, kind, depth + 1) for item in items if type(item) in _SECRET_HOLDERS)


def _mapped(value: Any, change: Any) -> Any:
    """Apply `change` to each item.

    Gives back the same object when nothing changed, so that large values are not copied.
    """
    if isinstance(value, dict):
        changed = {key: change(item) for key, item in value.items()}
        return changed if any(changed[key] is not value[key] for key in changed) else value
    items = [change(item) for item in value]
    is_same = all(new is old for new, old in zip(items, value, strict=True))
    return value if is_same else type(value)(items)


def _facts(error: list[Any] | None) -> ErrorFacts | None:
    if error is None:
        return None
    type_path, message, args, extra = error
    return ErrorFacts(type_path, message, tuple(args), extra)
