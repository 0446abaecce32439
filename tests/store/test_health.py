"""Health: each thing that can be wrong with a store has its sentence; looking changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from durable_kernel.history import Record, RecordCodec
from durable_kernel.journal import Journal, RunLock
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.health import Check, Verdict, file_system_of, store_checks
from tests.store.support import SECOND_NS, START_NS, cell, opened, post, store_at

NOW_NS = START_NS + 3600 * SECOND_NS


def begun(store: Store, run_id: str, *records: Record) -> RunPlace:
    place = store.create(run_id=run_id)
    with Journal.create(place.folder, run_id=run_id, key=store.run_key(run_id)) as journal:
        journal.append([RecordCodec().pack(each) for each in records], sync=True)
    return store.begin(place)


def checked(store: Store, now_ns: int = NOW_NS) -> dict[str, Check]:
    return {each.name: each for each in store_checks(store, now_ns, lambda _sentence: None)}


def test_a_store_that_is_not_there_yet_is_well_and_stays_away(tmp_path: Path) -> None:
    found = checked(store_at(tmp_path / "home"))

    assert {each.verdict for each in found.values()} <= {Verdict.OK, Verdict.WARN}
    assert "made with the first run" in found["store"].found
    assert not (tmp_path / "home").exists()


def test_a_store_with_a_good_run_is_well(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run", opened())

    found = checked(store)

    wrong = {name: each for name, each in found.items() if each.verdict is not Verdict.OK}
    assert set(wrong) <= {"file system", "disk"}, wrong


def test_what_others_may_read_is_named(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run", opened())
    (place.folder / "META").chmod(0o644)

    check = checked(store)["rights"]

    assert check.verdict is Verdict.WARN
    assert str(place.folder / "META") in check.found
    assert "chmod" in check.advice


def test_a_damaged_run_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "good", opened())
    (begun(store, "bad", opened()).folder / "META").write_bytes(b"damaged")

    check = checked(store)["journals"]

    assert check.verdict is Verdict.WARN
    assert check.found.startswith("run bad is damaged")


def test_a_run_in_doubt_is_named(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run", opened(), cell(), post())

    assert checked(store)["doubts"].found == "run run is in doubt"


def test_a_run_that_is_open_is_named_with_its_process(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    lock = RunLock.acquire(begun(store, "run", opened()).folder)

    check = checked(store)["locks"]

    lock.release()
    assert f"run (pid {os.getpid()}" in check.found


def test_a_clock_behind_the_newest_record_is_told(tmp_path: Path) -> None:
    """H15: ages and times for repetition are counted with it."""
    store = store_at(tmp_path)
    begun(store, "run", opened(NOW_NS + 120 * SECOND_NS))

    assert checked(store)["clock"].found == "120 s behind the newest record"


def test_a_key_that_is_gone_is_told_and_none_is_made(tmp_path: Path) -> None:
    begun(store_at(tmp_path), "run", opened())
    (tmp_path / "key").unlink()

    found = checked(store_at(tmp_path))

    assert found["key"].verdict is Verdict.WARN
    assert "run run is not signed with your key" in found["trust"].found
    assert not (tmp_path / "key").exists()


def test_a_key_that_others_may_read_is_a_failure(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run", opened())
    (tmp_path / "key").chmod(0o644)

    assert checked(store_at(tmp_path))["key"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/me/runs", "nfs4"), ("/home", "nfs4"), ("/homestead", "ext4"), ("/mnt/a b/c", "cifs")],
)
def test_the_longest_mount_point_above_a_path_counts(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n//s/x /mnt/a\\040b cifs rw 0 0\n"
    )

    assert file_system_of(Path(path), mounts) == kind
