"""docs/journal-format.md says what the store's files hold: their fields, contexts and versions."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from zlib import crc32

import msgpack
import pytest
from blake3 import blake3

from durable_kernel.history import Outline, RecordCodec
from durable_kernel.journal import Journal
from durable_kernel.store import RunPlace, Store, known_summary
from durable_kernel.store.files import TAG_BYTES
from durable_kernel.store.index import COMPLETE_NAME, SORTS
from durable_kernel.store.keys import META, TRUST
from durable_kernel.store.meta import _TYPES, META_NAME, VERSION, Meta
from durable_kernel.store.trust import TRUST_NAME
from tests.store.support import opened, store_at, write

DOCUMENT = Path(__file__).parents[2] / "docs" / "journal-format.md"
NAMES = {str: "str", int: "int", dict: "dict", type(None): "None"}


def begun(store: Store, place: RunPlace) -> None:
    """Give the run a journal with one frame."""
    Journal.create(place.folder, run_id=place.run_id, key=store.run_key(place.run_id)).close()
    write(store, place, [opened()])


def section(title: str) -> str:
    """Return the text under a heading, up to the next one."""
    (text,) = re.findall(
        rf"^### {title}\n(.*?)(?=^#|\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(text)


def rows(title: str) -> dict[str, str]:
    """Return field and type of the section's table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section(title), re.MULTILINE))


def test_the_table_of_meta_is_the_class() -> None:
    documented = rows("META")

    assert set(documented) == {each.name for each in fields(Meta)}
    for name, types in _TYPES.items():
        assert documented[name] == " or ".join(NAMES[each] for each in types), name
    assert f"| `version` | int | {VERSION} |" in section("META")


@pytest.mark.parametrize(("name", "context"), [(META_NAME, META), (TRUST_NAME, TRUST)])
def test_a_signed_file_is_what_the_document_draws(tmp_path: Path, name: str, context: str) -> None:
    store = store_at(tmp_path)
    place = store.create(run_id="run")
    begun(store, place)
    store.trust(place)

    raw = (place.folder / name).read_bytes()

    body, tag, crc = raw[: -TAG_BYTES - 4], raw[-TAG_BYTES - 4 : -4], raw[-4:]
    user_key = (tmp_path / "key").read_bytes()
    material = len(user_key).to_bytes(4, "little") + user_key + b"run"
    key = blake3(material, derive_key_context=context).digest()
    assert f"Context `{context}`" in section(name)
    assert tag == blake3(body, key=key).digest()
    assert crc == crc32(raw[:-4]).to_bytes(4, "little")
    assert set(msgpack.unpackb(body)) == set(rows(name))


def test_state_and_the_index_hold_what_the_document_says(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(run_id="run", kernel_id="k")
    begun(store, place)
    known_summary(place, lambda each: Outline.of(store.frames(each), RecordCodec()), None)

    state = msgpack.unpackb((place.folder / "STATE").read_bytes())

    assert set(state) == set(re.findall(r"`(\w+)` \(", section("STATE"))) | {"summary"}
    for sort in SORTS:
        assert f"`index/{sort}/`" in section("Index")
    assert f"`index/{COMPLETE_NAME}`" in section("Index")
    (entry,) = (tmp_path / "index" / "kernel").iterdir()
    assert entry.name == blake3(b"k").digest()[:16].hex()
    assert entry.read_text() == "run\n"
