"""META: readable by all, signed by one, replaced whole."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import msgpack
import pytest
from blake3 import blake3

from durable_kernel.errors import (
    JournalCorruptError,
    JournalVersionError,
    RunNotFoundError,
    UntrustedRunError,
    UsageError,
)
from durable_kernel.store.files import TAG_BYTES, encode_signed
from tests.store.support import store_at


def test_meta_can_be_read_without_a_key_and_is_the_owners_alone(tmp_path: Path) -> None:
    place = store_at(tmp_path).create(name="nightly", parameters={"alpha": 0.5, "days": [1, 2]})
    path = place.folder / "META"

    raw = path.read_bytes()
    fields = msgpack.unpackb(raw[: -TAG_BYTES - 4])

    assert fields["run_id"] == place.run_id
    assert fields["parameters"] == {"alpha": 0.5, "days": [1, 2]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert place.folder.stat().st_mode & 0o777 == 0o700


def test_what_was_created_reads_back(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    odd = tmp_path / "caf\udce9.ipynb"  # a file name that is not UTF-8

    made = store.create(name="n", notebook=odd, kernel_id="k", parameters={"big": 2**63})

    assert store.get(made.run_id) == made
    assert made.meta.notebook == str(odd)
    assert made.is_signed


def test_every_altered_byte_of_meta_is_noticed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(run_id="run")
    path = place.folder / "META"
    whole = path.read_bytes()

    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])

        with pytest.raises(JournalCorruptError, match="damaged or altered"):
            store.get("run")
        with pytest.raises(JournalCorruptError):
            store.check_place(place)


def test_every_cut_of_meta_is_noticed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    path = store.create(run_id="run").folder / "META"
    whole = path.read_bytes()

    for size_bytes in range(len(whole)):
        path.write_bytes(whole[:size_bytes])

        with pytest.raises(JournalCorruptError):
            store.get("run")


def test_a_meta_forged_with_a_right_checksum_is_not_trusted(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(run_id="run", parameters={"amount": 1})
    path = place.folder / "META"
    raw = path.read_bytes().replace(b"\xa6amount\x01", b"\xa6amount\x09")
    path.write_bytes(raw[:-4] + crc32(raw[:-4]).to_bytes(4, "little"))

    found = store.get("run")

    assert found.meta.parameters == {"amount": 9}
    assert not found.is_signed
    with pytest.raises(UntrustedRunError):
        store.check_place(found)


def test_the_meta_of_one_run_does_not_fit_another(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    raw = (store.create(run_id="one").folder / "META").read_bytes()
    (store.create(run_id="two").folder / "META").write_bytes(raw)

    with pytest.raises(JournalCorruptError, match="belongs to run 'one'"):
        store.get("two")


def test_a_meta_of_another_version_is_named_so(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    path = store.create(run_id="run").folder / "META"
    path.write_bytes(encode_signed({"version": 7, "run_id": "run"}, bytes(32)))

    with pytest.raises(JournalVersionError, match="format 7"):
        store.get("run")


@pytest.mark.parametrize("fields", [{"version": 1}, {"version": 1, "run_id": 5}])
def test_a_meta_of_the_wrong_shape_is_damage(tmp_path: Path, fields: dict[str, object]) -> None:
    store = store_at(tmp_path)
    path = store.create(run_id="run").folder / "META"
    path.write_bytes(encode_signed(fields, bytes(32)))

    with pytest.raises(JournalCorruptError, match="run_id is a"):
        store.get("run")


def test_bytes_that_are_no_map_are_damage(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    path = store.create(run_id="run").folder / "META"
    for body in (b"\xc1", b"\x93\x01", b"\x01"):
        signed = body + blake3(body, key=bytes(32)).digest()
        path.write_bytes(signed + crc32(signed).to_bytes(4, "little"))

        with pytest.raises(JournalCorruptError, match="map"):
            store.get("run")


def test_one_unreadable_meta_does_not_hide_the_other_runs(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for run_id in ("one", "two", "three"):
        store.create(run_id=run_id)
    (store.runs / "two" / "META").write_bytes(b"rubbish that is long enough to be read as a file")
    (store.runs / "three" / "META").unlink()

    damage = {place.run_id: place.damage for place in store.all()}

    assert damage["one"] == ""
    assert "damaged or altered" in damage["two"]
    assert "missing" in damage["three"]


def test_a_place_can_be_had_though_its_meta_is_damaged(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    (store.create(run_id="run").folder / "META").write_bytes(b"")

    place = store.place("run")

    assert place.damage
    assert place.meta.run_id == "run"
    assert not place.is_signed
    with pytest.raises(RunNotFoundError):
        store.place("other")


@pytest.mark.parametrize("value", [object(), 2**70, {1, 2}])
def test_parameters_that_cannot_be_stored_are_refused(tmp_path: Path, value: object) -> None:
    store = store_at(tmp_path)

    with pytest.raises(UsageError, match=r"parameters of run .* cannot be stored"):
        store.create(run_id="run", parameters={"x": value})

    assert not store.exists("run")
