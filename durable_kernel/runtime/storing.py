"""Storing: outcomes and parts on their way into records and back.

Joins ports, codec, history and the blob store.

Secrets become sealed values, large values become blobs, and what a record says about an error
becomes `ErrorFacts` again. Whatever is packed here holds no registered value in clear: what replay
needs is sealed, what is only shown is redacted (H18).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from durable_kernel.codec import KnownSecrets, Sealed, is_small_tree
from durable_kernel.history import (
    INLINE_BYTES_MAX,
    Announced,
    Called,
    CallHistory,
    Cell,
    Choice,
    Head,
    Loaded,
    Observed,
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
from durable_kernel.ports import (
    REPEAT_NEVER,
    Call,
    Ending,
    ErrorFacts,
    Outcome,
    Repeat,
    Secret,
    machinery,
)
from durable_kernel.runtime.steps import LiveStep
from durable_kernel.runtime.watching import must_watch, register_answer

__all__ = ["RecordedParts", "Storing", "announcement", "is_plain_value"]

_SECRET_HOLDERS = frozenset({dict, list, tuple})
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_DEPTH_MAX = 100
_ENDINGS = {each.value: each for each in Ending}


class RecordedParts:
    """The parts of a recorded stream, as often as they are asked for; one record in memory."""

    def __init__(self, parts: Sequence[Part], blobs: BlobStore, records: RecordCodec) -> None:
        self._parts = parts
        self._blobs = blobs
        self._records = records

    @property
    def are_sealed(self) -> bool:
        """Tell whether any of them is."""
        return any(part.sealed for part in self._parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for record in self._parts:
            content = self._content_of(record)
            start = 0
            for size in record.sizes:
                yield content[start : start + size]
                start += size

    def _content_of(self, part: Part) -> bytes:
        stored: Any = self._blobs.read(blob_ref(part.blob)) if part.blob else part.content
        if part.sealed:
            sealed: Any = self._records.decode(stored) if part.blob else stored
            stored = sealed.value
        content: bytes = stored
        return content


class Storing:
    """Packs records that hold values of any size, and rebuilds outcomes from them."""

    def __init__(
        self, records: RecordCodec, blobs: BlobStore, secrets: KnownSecrets | None = None
    ) -> None:
        self.records = records
        self.secrets = secrets or KnownSecrets(bytes(32))  # a reader has no use for them
        self._blobs = blobs
        self._without: tuple[Call | None, int] = None, 0  # the last call that held none of n forms
        self._small_details: Any = None  # of the last call: a hook that can, gives the same again

    # --- into the journal -------------------------------------------------------------------------

    def pack(self, record: Record) -> tuple[int, bytes]:
        """Pack a record, registered values redacted, or sealed where replay needs them."""
        packed = self.records.pack(record)
        if self.secrets.is_armed and self.secrets.is_in(packed[1]):
            return self._without_secrets(record)
        return packed

    def redacted_call(self, call: Call) -> Call:
        """Return a call as it is recorded and compared, registered values redacted.

        So a secret in an address that was changed since is no other call.
        """
        secrets = self.secrets
        if not secrets.is_armed:
            return call
        known, forms_count = self._without
        if call is known and forms_count == secrets.forms_count:
            return call
        forms_count = secrets.forms_count
        texts = (call.label, *call.identity.values())
        if not any(type(each) is not str or secrets.is_in_text(each) for each in texts):
            self._without = call, forms_count
            return call
        label, identity = secrets.redact_text(call.label), secrets.redacted(call.identity)
        return replace(call, label=label, identity=identity)

    def announced(
        self, lane: str, ordinal: int, call: Call, repeat: Repeat, wall_ns: int
    ) -> tuple[int, bytes]:
        """Pack the announcement of a call that may be repeated as `repeat` says."""
        return self.pack(announcement(lane, ordinal, call, repeat, wall_ns))

    def whole(self, step: LiveStep, value: Any) -> tuple[int, bytes] | None:
        """Pack a finished observation in one record, a `Called`; None if it is not a plain one.

        Secrets, large values and answers that have to be watched have records of their own. Of its
        head `is_small_tree` holds.
        """
        call, head, pieces, soft = step.call, step.told, step.pieces, step.soft
        content = b""
        if pieces:
            content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if must_watch(self.secrets, call.label, head, content):
            return None
        identity, details = call.identity, call.details
        values = [step.ordinal, step.lane, call.kind, call.label, step.wall_ns, identity, details]
        values += [value, head, list(map(len, pieces)) or None, content, soft or None]
        self.records.cut_defaults(Called, values)
        packed = None
        looked_at = details is self._small_details or is_small_tree(details)
        if looked_at and is_small_tree([identity, value, soft]):
            self._small_details = details
            packed = self.records.pack_small(Called, values)
        elif _seal(value) is not value:
            return None
        if packed is None:
            with machinery():  # as for any outcome: what is packed now may be an object
                packed = self.records.pack_fields(Called, values)
        is_large = len(packed[1]) > 2 * INLINE_BYTES_MAX
        is_secret = self.secrets.is_armed and self.secrets.is_in(packed[1])
        return None if is_large or is_secret else packed

    def column(self, lane: str, kind: str, values: list[Any]) -> tuple[int, bytes]:
        """Pack soft observations of one kind."""
        fields = [lane, kind, values]
        packed = self.records.pack_small(Observed, fields) if is_small_tree(values) else None
        return packed or self.records.pack_fields(Observed, fields)

    def settled(
        self,
        lane: str,
        ordinal: int,
        outcome: Outcome,
        generators: Any,
        pace: int = 0,
        found: Sequence[tuple[str, str]] = (),
    ) -> tuple[int, bytes]:
        """Pack an outcome; a value above INLINE_BYTES_MAX is put into a blob first.

        `found`: names and values of the secrets that the answer told.
        """
        if type(outcome.value) in _SCALARS and not (generators or pace or found):
            plain = self._settled_plainly(lane, ordinal, outcome)
            if plain is not None:
                return plain
        facts = outcome.error
        error = (
            [facts.type_path, facts.message, list(facts.args), dict(facts.extra)] if facts else None
        )
        value = _seal(outcome.value)
        is_sealed = False

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
                sealed=is_sealed,
                secrets=[[name, Sealed(each)] for name, each in found] if found else None,
            )

        packed = self.records.pack(record(value, None))
        if self.secrets.is_armed and self._holds_secret(packed):
            value, is_sealed = Sealed(self.records.encode([value, error])), True
            error = self.secrets.redacted(error)
            packed = self.records.pack(record(value, None))
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        return self.records.pack(record(None, self._put(self.records.encode(value))))

    def _settled_plainly(
        self, lane: str, ordinal: int, outcome: Outcome
    ) -> tuple[int, bytes] | None:
        """Pack a scalar as `settled` would, without a record; None where there is more to it."""
        if outcome.ending is not Ending.VALUE or outcome.error is not None:
            return None
        value = outcome.value
        values = [ordinal, lane] if value is None else [ordinal, lane, 0, value]
        packed = self.records.pack_small(Settled, values)
        if packed is None or len(packed[1]) > INLINE_BYTES_MAX or self._holds_secret(packed):
            return None
        return packed

    def resolved(self, record: Resolved) -> tuple[int, bytes]:
        """Pack a user's decision; a large answer becomes a blob."""
        record = replace(record, value=_seal(record.value))
        packed = self.records.pack(record)
        if self._holds_secret(packed):
            sealed = Sealed(self.records.encode(record.value))
            record = replace(record, value=sealed, sealed=True)
            packed = self.records.pack(record)
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        blob = self._put(self.records.encode(record.value))
        return self.records.pack(replace(record, value=None, blob=blob))

    def part(
        self, lane: str, ordinal: int, sizes: list[int], joined: bytes, *, is_sealed: bool
    ) -> tuple[int, bytes]:
        """Pack consecutive parts of a stream, joined."""
        content: bytes | Sealed = Sealed(joined) if is_sealed else joined
        blob = None
        if len(joined) > INLINE_BYTES_MAX:
            blob = self._put(self.records.encode(content) if is_sealed else joined)
            content = b""
        return self.records.pack(
            Part(
                lane=lane,
                ordinal=ordinal,
                sizes=sizes,
                content=content,
                blob=blob,
                sealed=is_sealed,
            )
        )

    def output(self, kind: str, content: Any, metadata: Any, late: int | None) -> tuple[int, bytes]:
        """Pack an output message; a large one becomes a blob."""
        packed = self.records.pack(Output(kind=kind, content=content, metadata=metadata, late=late))
        if self._holds_secret(packed):
            content, metadata = self.secrets.redacted([content, metadata])
            packed = self.records.pack(
                Output(kind=kind, content=content, metadata=metadata, late=late)
            )
        if len(packed[1]) <= INLINE_BYTES_MAX:
            return packed
        blob = self._put(self.records.encode(content))
        return self.records.pack(Output(kind=kind, metadata=metadata, blob=blob, late=late))

    def loaded(self, name: str, path: str, source: bytes) -> tuple[int, bytes]:
        """Pack project code that is loaded. Sealed where a registered value stands in it."""
        content: bytes | Sealed = source
        name, path = self.secrets.redact_text(name), self.secrets.redact_text(path)
        if self.secrets.is_armed and self.secrets.is_in(source):
            content = Sealed(source)
        is_sealed, blob = content is not source, None
        if len(source) > INLINE_BYTES_MAX:
            blob = self._put(self.records.encode(content) if is_sealed else source)
            content = b""
        return self.records.pack(
            Loaded(
                name=name,
                path=path,
                digest=self.digest(source),
                source=content,
                blob=blob,
                sealed=is_sealed,
            )
        )

    def digest(self, source: bytes) -> str:
        """Hash a source under the run's key."""
        return self.secrets.fingerprint(source)

    def head(self, value: Any) -> Any:
        """Return a head as it may be stored: secrets sealed."""
        return _seal(value)

    # --- out of the journal -----------------------------------------------------------------------

    def outcome(self, call: CallHistory) -> Outcome:
        """Rebuild the outcome of a complete call: settled, answered, or marked failed."""
        if call.settled is not None:
            settled = call.settled
            for name, secret in settled.secrets or ():
                self.secrets.register(name, secret.value)
            value, error = self._value(settled.value, settled.blob), settled.error
            if settled.sealed:
                value, error = self._unsealed(value)
            return Outcome(_ENDINGS[settled.ending], value, _facts(error))
        assert call.resolved is not None, "only complete calls have an outcome"
        if call.resolved.choice == Choice.FAIL:
            return Outcome(Ending.FAILED)
        answer = self._value(call.resolved.value, call.resolved.blob)
        if call.resolved.sealed:
            answer = self._unsealed(answer)
        register_answer(self.secrets, call.announced.label, answer)
        return Outcome.of_value(answer)

    def head_of(self, call: CallHistory) -> Any:
        """Return what a stream told first.

        Raises SealedSecretError if that, or what followed, was sealed with another key: whoever
        gets the head reads on.
        """
        sealed = next((part for part in call.parts if part.sealed), None)
        if sealed is not None:
            for _ in RecordedParts([sealed], self._blobs, self.records):
                break
        if call.head is None:
            return None
        value = _open(call.head.value)
        return self._unsealed(value) if call.head.sealed else value

    def parts_of(self, call: CallHistory) -> Iterable[bytes]:
        """Give all recorded parts of a call, with their boundaries. Blobs are read as they come."""
        return RecordedParts(call.parts, self._blobs, self.records) if call.parts else ()

    def source_of(self, loaded: Loaded) -> bytes:
        """Return recorded project code. Raises SealedSecretError where the key is missing."""
        content: Any = loaded.source
        if loaded.blob:
            content = self._blobs.read(blob_ref(loaded.blob))
            if loaded.sealed:
                content = self.records.decode(content)
        return bytes(content.value) if loaded.sealed else bytes(content)

    def content_of(self, output: Output) -> Any:
        """Return the content of an output message, from its blob if it was large."""
        return self._value(output.content, output.blob)

    def _value(self, inline: Any, blob: list[Any] | None) -> Any:
        stored = self.records.decode(self._blobs.read(blob_ref(blob))) if blob else inline
        return _open(stored)

    def _unsealed(self, secret: Secret) -> Any:
        """Decode what was sealed as a whole."""
        assert isinstance(secret.value, bytes), "an encoding is bytes"
        return _open(self.records.decode(secret.value))

    def _holds_secret(self, packed: tuple[int, bytes]) -> bool:
        return self.secrets.is_in(packed[1])

    def _without_secrets(self, record: Record) -> tuple[int, bytes]:
        redacted = self.secrets.redacted
        match record:
            case Observed():  # readings and entropy: replay needs them, and nobody chose them
                changed: Record = record
            case Cell():
                changed = replace(
                    record,
                    source=redacted(record.source),
                    request=redacted(record.request),
                    sealed_source=Sealed(record.source),
                )
            case Head():
                sealed = Sealed(self.records.encode(record.value))
                changed = replace(record, value=sealed, sealed=True)
            case _:
                values = {
                    each.name: redacted(getattr(record, each.name)) for each in fields(record)
                }
                changed = replace(record, **values)
        return self.records.pack(changed)

    def _put(self, data: bytes) -> list[Any]:
        return blob_list(self._blobs.put(data, compress=_looks_like_text(data)))


def announcement(lane: str, ordinal: int, call: Call, repeat: Repeat, wall_ns: int) -> Announced:
    """Make the record that announces a call."""
    return Announced(
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


def _recorded_seconds(repeat: Repeat) -> float | None:
    """Return the time of a Repeat as records hold it; whole seconds take a byte or three."""
    seconds = repeat.seconds_max
    if seconds == float("inf"):
        return None
    return int(seconds) if seconds == int(seconds) else seconds


def is_plain_value(settled: Settled) -> bool:
    """Tell whether `value` is all that came back, as it stands: `Storing.outcome` adds nothing."""
    value = settled.value
    kind = type(value)
    return not (
        settled.ending  # Ending.VALUE is 0
        or settled.blob
        or settled.sealed
        or settled.secrets
        or settled.generators is not None
        or kind is Sealed
        or (kind in _SECRET_HOLDERS and _holds(value, Sealed))
    )


def _looks_like_text(data: bytes) -> bool:
    """Tell text from numbers, which are stored raw: compressing them costs time for nothing.

    Some zeros are in text, too: msgpack writes how long it is in four bytes.
    """
    sample = data[:4096]
    is_ascii = sum(byte > 126 for byte in sample) * 10 < len(sample)  # noqa: PLR2004 - ASCII's end
    return is_ascii and sample.count(0) * 100 < len(sample)


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


def _holds(value: Any, kind: type) -> bool:
    """Tell whether a value of `kind` stands anywhere in a container. Most hold none.

    Not deeper than any record may be: what contains itself is refused when it is encoded.
    """
    level = [value]
    for _ in range(_DEPTH_MAX):
        level = [
            item
            for held in level
            if type(held) in _SECRET_HOLDERS
            for item in (held.values() if type(held) is dict else held)
        ]
        kinds = set(map(type, level))
        if kind in kinds:
            return True
        if kinds.isdisjoint(_SECRET_HOLDERS):
            return False
    return False


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
