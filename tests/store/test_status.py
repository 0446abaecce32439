"""What `ls` tells of a run, and when it believes STATE."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_kernel.errors import UntrustedRunError
from durable_kernel.history import Outline, Record, RecordCodec
from durable_kernel.store import RunPlace, RunSummary, Store, known_summary, summary
from tests.store.support import (
    START_NS,
    cell,
    committed,
    finished,
    opened,
    post,
    settled,
    store_at,
    write,
)

DONE = [opened(), cell(0), post(), settled(), committed(0)]


class Reader:
    """Reads a run's journal, and counts how often it was asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads = 0

    def __call__(self, place: RunPlace) -> Outline:
        self.reads += 1
        return Outline.of(self.store.frames(place), RecordCodec())


def summed(store: Store, place: RunPlace, holder: str | None = None) -> RunSummary:
    return summary(place, Reader(store)(place), holder)


@pytest.mark.parametrize(
    ("records", "holder", "status"),
    [
        ([opened()], None, "new"),
        (DONE, None, "idle"),
        ([*DONE, finished()], None, "finished"),
        ([*DONE[:-1], committed(status="error")], None, "failed"),
        ([opened(), cell(0)], None, "interrupted"),
        ([opened(), cell(0)], "pid 1", "running"),
        ([opened(), cell(0), post()], None, "in doubt"),
        ([opened(), cell(0), post()], "pid 1", "running"),  # on its way
        ([opened(), cell(0), post(), opened(START_NS + 1)], "pid 1", "in doubt"),  # parked
    ],
)
def test_the_status_is_one_word(
    tmp_path: Path, records: list[Record], holder: str | None, status: str
) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, records)

    assert summed(store, place, holder).status == status


def test_a_summary_counts_what_a_run_did(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(name="n", notebook=tmp_path / "nb.ipynb")
    write(store, place, [*DONE, cell(1), post(), settled(), post(1, START_NS + 9)])

    found = summed(store, place)

    assert (found.name, found.notebook) == ("n", str(tmp_path / "nb.ipynb"))
    assert (found.cells, found.calls, found.acts, found.in_doubt) == (2, 3, 3, 1)
    assert found.created_ns == place.meta.created_ns
    assert found.last_activity_ns == START_NS + 9
    assert found.size_bytes > 65536  # the ballast counts: it is on the disk
    assert not found.is_finished


def test_the_pid_is_that_of_the_living_writer(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, [opened(pid=1), opened(pid=2)])

    assert summed(store, place, "pid 2").kernel_pid == 2
    assert summed(store, place, None).kernel_pid is None


def test_a_run_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)

    first = known_summary(place, read, None)
    second = known_summary(place, read, None)

    assert first == second
    assert read.reads == 1
    assert (place.folder / "STATE").stat().st_mode & 0o777 == 0o600


def test_a_run_that_grew_is_read_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)
    known_summary(place, read, None)

    write(store, place, [finished()])

    assert known_summary(place, read, None).is_finished
    assert read.reads == 2


def test_a_run_that_grows_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)

    def read_then_grow(place: RunPlace) -> Outline:
        outline = read(place)
        write(store, place, [finished()])
        return outline

    known_summary(place, read_then_grow, None)

    assert known_summary(place, read, None).is_finished


def test_a_run_with_a_living_writer_is_always_read(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)
    known_summary(place, read, None)

    found = known_summary(place, read, "pid 4711")

    assert read.reads == 2
    assert found.kernel_pid == 4711
    assert known_summary(place, read, None).kernel_pid is None


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03", b"\x01"])
def test_a_damaged_state_is_made_anew(tmp_path: Path, content: bytes) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)
    whole = known_summary(place, read, None)
    (place.folder / "STATE").write_bytes(content)

    assert known_summary(place, read, None).calls == whole.calls
    assert read.reads == 2


def test_what_meta_says_is_told_anew(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()
    write(store, place, DONE)
    read = Reader(store)
    known_summary(place, read, None)

    archived = store.archive(place)

    assert known_summary(archived, read, None).archived_ns == archived.meta.archived_ns
    assert read.reads == 1


def test_a_broken_run_is_one_line_and_no_error(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(run_id="journal")
    write(store, place, DONE)
    segment = place.folder / "seg-00000001.dkj"
    raw = segment.read_bytes()
    segment.write_bytes(raw[:140] + b"\0\0\0" + raw[143:])
    (store.create(run_id="meta").folder / "META").write_bytes(b"")

    found = {each.run_id: known_summary(each, Reader(store), None) for each in store.all()}

    assert {each.status for each in found.values()} == {"broken"}
    assert "seg-00000001.dkj" in found["journal"].damage
    assert "META" in found["meta"].damage


def test_a_foreign_run_is_broken_until_it_is_read_without_a_key(tmp_path: Path) -> None:
    write(store_at(tmp_path), store_at(tmp_path).create(run_id="run"), DONE)
    (tmp_path / "key").unlink()
    store = store_at(tmp_path)
    place = store.get("run")

    def read_openly(place: RunPlace) -> Outline:
        return Outline.of(store.frames(place, is_verified=False), RecordCodec())

    with pytest.raises(UntrustedRunError):
        Reader(store)(place)
    assert known_summary(place, Reader(store), None).status == "broken"
    assert known_summary(place, read_openly, None).status == "idle"
