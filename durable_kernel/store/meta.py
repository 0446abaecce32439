"""META: what one run is called, what it belongs to, and where it lived when it was last opened.

A signed file (`files.py`) in the run's folder, replaced as a whole. Everybody can read it, so it
holds no secret of ours; `parameters` are kept exactly as the user gave them, secrets included.
Its signature protects names and places. What may be executed rests on the frames' tags alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from durable_kernel.errors import JournalCorruptError, JournalVersionError, UsageError
from durable_kernel.store.files import SignedFile, decode_signed, encode_signed
from durable_kernel.store.places import Location

META_NAME = "META"
VERSION = 1

FILE_BYTES_MAX = 16 << 20

_TEXT_OR_NONE = (str, type(None))
_TYPES: Mapping[str, tuple[type, ...]] = {
    "run_id": (str,),
    "name": _TEXT_OR_NONE,
    "notebook": _TEXT_OR_NONE,
    "kernel_id": _TEXT_OR_NONE,
    "created_ns": (int,),
    "kernel_bound_ns": (int,),
    "notebook_bound_ns": (int,),
    "archived_ns": (int, type(None)),
    "begun_ns": (int, type(None)),
    "parameters": (dict,),
    "machine_id": (str,),
    "boot_id": (str,),
    "device": (int,),
    "inode": (int,),
    "path": (str,),
    "key_id": _TEXT_OR_NONE,
    "forked_from": _TEXT_OR_NONE,
    "secrets_of": _TEXT_OR_NONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """One run's META. Times are wall clock in ns; `notebook` and `path` are real absolute paths."""

    run_id: str
    created_ns: int
    name: str | None = None
    notebook: str | None = None
    kernel_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kernel_bound_ns: int = 0  # of several runs that name one kernel, the last bound has it
    notebook_bound_ns: int = 0
    archived_ns: int | None = None  # when the user began afresh; a key no longer finds this run
    begun_ns: int | None = None  # when its journal got its first frame: from then on it has some
    machine_id: str = ""
    boot_id: str = ""
    device: int = 0
    inode: int = 0
    path: str = ""
    key_id: str | None = None  # names the key that signed this, for people; proves nothing
    forked_from: str | None = None  # the run that this one's past was copied from
    secrets_of: str | None = None  # whose keys seal and hide here: what was copied needs them
    version: int = VERSION

    @property
    def location(self) -> Location:
        return Location(self.machine_id, self.boot_id, self.device, self.inode, self.path)

    def moved_to(self, found: Location) -> Meta:
        return replace(
            self,
            machine_id=found.machine_id,
            boot_id=found.boot_id,
            device=found.device,
            inode=found.inode,
            path=found.path,
        )


def advice_of(run_id: str) -> str:
    """Say what to do about a META that can't be read. Nothing of the run is lost by it."""
    return (
        "Nothing was executed. Only META is concerned: the journal of this run is untouched, and "
        "nothing of it is lost. Restore META from a backup; or "
        f"`durable trust ={run_id}` shows what would run and writes "
        "a new one (the damaged one is kept); or `durable run --fresh` starts another run."
    )


def encode_meta(meta: Meta, key: bytes) -> bytes:
    """Return META's bytes. Raises UsageError for a parameter that msgpack does not carry."""
    try:
        return encode_signed(asdict(meta), key)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"the parameters of run {meta.run_id} cannot be stored ({error}): they are numbers, "
            "text, true, false, null, and lists and maps of those."
        ) from error


def decode_meta(path: Path, raw: bytes) -> tuple[Meta, SignedFile]:
    """Read META's bytes; the signature is left to the caller.

    Raises JournalCorruptError, or JournalVersionError for another version of META.
    """
    advice = advice_of(path.parent.name)
    signed = decode_signed(path, raw, advice)
    version = signed.fields.get("version")
    if version != VERSION:
        found = version if isinstance(version, int) else 0
        raise JournalVersionError(path, found, VERSION)
    for name, allowed in _TYPES.items():
        found_type = type(signed.fields.get(name))
        if found_type not in allowed:
            raise JournalCorruptError(path, 0, f"{name} is a {found_type.__name__}", advice)
    known: dict[str, Any] = {each.name: signed.fields.get(each.name) for each in fields(Meta)}
    return Meta(**known), signed
