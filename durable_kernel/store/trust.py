"""Trust: what would run, and the note that the user accepted exactly these bytes (H1).

TRUST is a signed file (`files.py`) in the run's folder: run id, last lsn, last tag, and the digest
of the whole prefix. The journal checks the digest when it opens the run and goes on in a new epoch
under the user's own key; what was appended later by another hand is refused as before.

Truncation at a frame's border before trusting can't be seen: nothing says how long a run was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from durable_kernel.errors import JournalCorruptError, JournalVersionError, UntrustedRunError
from durable_kernel.history import Opened, Outline, RecordCodec
from durable_kernel.history.views import when
from durable_kernel.journal import Anchor
from durable_kernel.journal.reader import Reading
from durable_kernel.store.files import decode_signed, encode_signed
from durable_kernel.store.meta import Meta

TRUST_NAME = "TRUST"
TRUST_BYTES_MAX = 1 << 20
VERSION = 1


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """What accepting a run means. `cells` are the sources that would be executed, in order.

    `acts` are the labels of acts that those cells began, `in_doubt` of those without an outcome.
    `origin` has a line for each process that wrote the run, as it described itself. `anchor` is
    None when the journal holds nothing yet: then there is nothing to accept.
    """

    run_id: str
    frames: int
    cells: tuple[str, ...]
    acts: tuple[str, ...]
    in_doubt: tuple[str, ...]
    origin: tuple[str, ...]
    anchor: Anchor | None
    forked_from: str | None = None
    secrets_of: str | None = None

    def put_on(self, bare: Meta, begun_ns: int) -> Meta:
        """Return a META that was lost, with what the journal still tells of it."""
        return replace(
            bare, begun_ns=begun_ns, forked_from=self.forked_from, secrets_of=self.secrets_of
        )


def examine(folder: Path, run_id: str) -> TrustFacts:
    """Read a run without a key. What is shown and what would be signed come from one pass.

    Raises JournalCorruptError, JournalVersionError, CodecError, and UntrustedRunError when the
    frames belong to another run id.
    """
    # is_measuring hashes the whole journal as a foreign prefix; no object codec: nothing executes.
    reading = Reading(folder, run_id=run_id, is_measuring=True)
    outline = Outline.of(reading.frames(), RecordCodec())
    positions = outline.positions
    doubtful = [each for position in positions for each in position.pending.values() if each.act]
    return TrustFacts(
        run_id=run_id,
        frames=reading.lsn,
        cells=tuple(position.cell.source for position in positions),
        acts=tuple(each.label for position in positions for each in position.acts),
        in_doubt=tuple(each.label for each in doubtful),
        origin=tuple(_origin_of(each) for each in outline.openers),
        anchor=reading.measured() if reading.segment else None,
        forked_from=outline.lineage.parent,
        secrets_of=outline.lineage.secrets_of,
    )


def _origin_of(opener: Opened) -> str:
    return f"{opener.host}, {when(opener.wall_ns)}, Python {opener.python or 'unknown'}"


def advice_of(run_id: str) -> str:
    """Say what to do about a note of trust that can't be read."""
    return (
        "Nothing was executed. Only the note is concerned that you trusted this run: the journal "
        "is untouched, and nothing of it is lost. Restore TRUST from a backup, or "
        f"`durable trust {run_id}` shows again what would run and writes it anew."
    )


def encode_trust(facts: TrustFacts, wall_ns: int, key: bytes) -> bytes:
    """Return TRUST's bytes."""
    assert facts.anchor is not None, "nothing to accept: the caller looks first"
    fields = {
        "version": VERSION,
        "run_id": facts.run_id,
        "lsn": facts.anchor.lsn,
        "tag": facts.anchor.tag,
        "digest": facts.anchor.digest,
        "trusted_ns": wall_ns,
    }
    return encode_signed(fields, key)


def decode_trust(path: Path, raw: bytes, run_id: str, key: bytes) -> Anchor:
    """Return the accepted prefix.

    Raises UntrustedRunError, JournalCorruptError, JournalVersionError.
    """
    signed = decode_signed(path, raw, advice_of(run_id))
    # First the signature: fields of another hand are not looked at.
    if not signed.is_signed_with(key):
        raise UntrustedRunError(run_id, path, 0)
    fields = signed.fields
    if fields.get("version") != VERSION:
        raise JournalVersionError(path, int(fields.get("version") or 0), VERSION)
    if fields["run_id"] != run_id:
        raise JournalCorruptError(
            path, 0, f"it belongs to run {fields['run_id']!r}", advice_of(run_id)
        )
    return Anchor(fields["lsn"], fields["tag"], fields["digest"])
