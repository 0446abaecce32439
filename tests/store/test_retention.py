"""Retention: what may be deleted, what never is, and that a sweep can end anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from durable_kernel.errors import JournalError, UsageError
from durable_kernel.history import Branched, Outline, Output, Record, RecordCodec, blob_list
from durable_kernel.journal import Journal, RunLock
from durable_kernel.journal.copying import blob_files
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.retention import Policy, plan_sweep
from durable_kernel.store.sweeping import Swept, sweep
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.store.support import SECOND_NS, START_NS, cell, committed, opened, post, store_at

DAY_NS = 86_400 * SECOND_NS
NOW_NS = START_NS + 40 * DAY_NS
INSIDE = Policy()
OLD = Policy(older_than_s=30 * 86_400.0)


def begun(store: Store, run_id: str, *records: Record, blobs: Iterable[bytes] = ()) -> RunPlace:
    """Make a run whose positions show these blobs, one each, and end in these records."""
    place = store.create(run_id=run_id)
    codec = RecordCodec()
    with Journal.create(place.folder, run_id=run_id, key=store.run_key(run_id)) as journal:
        written: list[Record] = [opened()]
        for position, content in enumerate(blobs):
            blob = blob_list(journal.blobs.put(content, compress=False))
            written += [cell(position), Output(kind="stream", blob=blob), committed(position)]
        journal.append([codec.pack(each) for each in [*written, *records]], sync=True)
    return store.begin(place)


def swept(store: Store, policy: Policy = INSIDE, now_ns: int = NOW_NS) -> Swept:
    return sweep(store, plan_sweep(store, policy, now_ns), policy, now_ns)


def names(store: Store) -> set[str]:
    return {each.run_id for each in store.all()}


def contents(place: RunPlace) -> set[bytes]:
    return {path.read_bytes() for path in blob_files(place.folder)}


def readable(store: Store) -> None:
    """Check that each run that is there can be read, with all blobs that its cells show."""
    for place in store.all():
        outline = Outline.of(store.frames(place), RecordCodec())
        assert len(contents(place)) >= len(outline.positions), place.run_id


# --- whole runs -----------------------------------------------------------------------------------


def test_without_a_word_of_the_user_no_run_is_deleted(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "old", blobs=[b"a"])

    assert swept(store).freed == []
    assert names(store) == {"old"}


def test_a_plan_deletes_nothing(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "old", blobs=[b"a"])

    (freeable,) = plan_sweep(store, OLD, NOW_NS).freeable

    assert (freeable.run_id, freeable.is_run) == ("old", True)
    assert freeable.why == "its last activity was 40 days ago"
    assert freeable.size_bytes > 128
    assert names(store) == {"old"}


def test_an_age_deletes_what_was_not_used_for_so_long(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "old", blobs=[b"a"])
    begun(store, "new", opened(NOW_NS - DAY_NS), blobs=[b"a"])

    assert [each.run_id for each in swept(store, OLD).freed] == ["old"]
    assert names(store) == {"new"}
    assert list(store.runs.glob(".*")) == []


def test_a_size_deletes_the_oldest_until_it_fits(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for number, run_id in enumerate(["first", "second", "third"]):
        begun(store, run_id, opened(START_NS + number), blobs=[bytes(500_000)])

    swept(store, Policy(bytes_max=1_400_000))

    assert names(store) == {"second", "third"}


def test_a_named_run_goes_and_its_notebook_starts_anew(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run")
    notebook = tmp_path / "story.ipynb"
    store.bind(store.get("run"), notebook=notebook, kernel_id="k")

    swept(store, Policy(named=("run",)))

    assert store.lookup(kernel_id="k", notebook=notebook) is None
    assert names(store) == set()


def test_a_run_that_is_open_is_kept(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run", blobs=[b"a"])
    lock = RunLock.acquire(place.folder)

    done = plan_sweep(store, Policy(named=("run",)), NOW_NS)

    lock.release()
    assert done.freeable == []
    (kept,) = done.kept
    assert "a kernel has it open (pid" in kept.why


def test_a_run_that_is_opened_after_the_plan_is_kept(tmp_path: Path) -> None:
    store, policy = store_at(tmp_path), Policy(named=("run",))
    place = begun(store, "run", blobs=[b"a"])
    plan = plan_sweep(store, policy, NOW_NS)
    lock = RunLock.acquire(place.folder)

    done = sweep(store, plan, policy, NOW_NS)

    lock.release()
    assert done.freed == []
    assert "changed meanwhile" in done.kept[0].why
    readable(store)


def test_a_run_that_went_on_after_the_plan_is_kept(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run", blobs=[b"a"])
    plan = plan_sweep(store, OLD, NOW_NS)
    key = store.run_key("run")
    with Journal.open(place.folder, run_id="run", key=key) as journal:
        journal.append([RecordCodec().pack(opened(NOW_NS))])

    done = sweep(store, plan, OLD, NOW_NS)

    assert [each.why for each in done.kept] == ["it changed meanwhile: it went on"]
    assert names(store) == {"run"}


def test_a_run_in_doubt_needs_a_word_of_its_own(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run", cell(), post())

    kept = plan_sweep(store, Policy(named=("run",)), NOW_NS).kept
    gone = swept(store, Policy(named=("run",), even_in_doubt=True)).freed

    assert "1 act is in doubt: decide first" in kept[0].why
    assert [each.run_id for each in gone] == ["run"]


def test_a_run_that_cannot_be_read_needs_a_word_of_its_own(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run")
    (place.folder / "META").write_bytes(b"damaged")

    kept = plan_sweep(store, Policy(older_than_s=0), NOW_NS).kept
    gone = swept(store, Policy(older_than_s=0, even_broken=True), NOW_NS * 2).freed

    assert "it can't be read" in kept[0].why
    assert [each.run_id for each in gone] == ["run"]


def test_a_name_that_no_run_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nobody"):
        plan_sweep(store_at(tmp_path), Policy(named=("nobody",)), NOW_NS)


# --- forks ----------------------------------------------------------------------------------------


def forked(store: Store, parent: RunPlace, *, with_blobs: bool = True) -> RunPlace:
    """Make a fork that names all of its parent's blobs, and has them or not."""

    def fill(built: RunPlace) -> None:
        key = store.run_key(built.run_id)
        with Journal.create(built.folder, run_id=built.run_id, key=key) as journal:
            for frame in store.frames(parent):
                journal.append([(frame.type, frame.payload)])
        for path in blob_files(parent.folder) if with_blobs else ():
            target = built.folder / path.relative_to(parent.folder)
            target.parent.mkdir(exist_ok=True)
            target.hardlink_to(path)

    return store.fork(parent, fill)


def test_a_parent_goes_where_its_fork_stands_alone(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    parent = begun(store, "parent", blobs=[b"a" * 100])
    fork = forked(store, parent)

    done = swept(store, Policy(named=("parent",)))

    assert [each.run_id for each in done.freed] == ["parent"]
    assert contents(fork) == {b"a" * 100}
    readable(store)


def test_a_parent_is_kept_while_a_fork_needs_its_blobs(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    parent = begun(store, "parent", blobs=[b"a" * 100])
    fork = forked(store, parent, with_blobs=False)

    done = swept(store, Policy(named=("parent",), even_in_doubt=True, even_broken=True))

    assert done.freed == []
    kept = plan_sweep(store, Policy(named=("parent",)), NOW_NS).kept
    assert f"run {fork.run_id} was forked from it and needs blobs" in kept[0].why


def test_what_a_fork_has_too_frees_nothing(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    parent = begun(store, "parent", blobs=[b"a" * 900_000])
    forked(store, parent)

    (freeable,) = plan_sweep(store, Policy(named=("parent",)), NOW_NS).freeable

    assert freeable.size_bytes < 900_000


# --- inside a run ---------------------------------------------------------------------------------


def test_a_blob_that_no_frame_names_goes(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run", blobs=[b"needed"])
    with Journal.open(place.folder, run_id="run", key=store.run_key("run")) as journal:
        journal.blobs.put(b"orphan", compress=False)

    (freed,) = swept(store).freed

    assert (freed.what, freed.why) == ("blobs", "no frame names them")
    assert contents(place) == {b"needed"}


def test_a_blob_of_a_withdrawn_branch_goes_and_what_may_be_reused_stays(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    gone = Branched(position=1, wall_ns=START_NS)
    kept = Branched(position=1, wall_ns=START_NS, reuses=True)
    left = begun(store, "left", gone, blobs=[b"zero", b"one"])
    waiting = begun(store, "waiting", kept, blobs=[b"zero", b"one"])

    (freed,) = swept(store).freed

    assert freed.why == "only a withdrawn branch names them"
    assert contents(left) == {b"zero"}
    assert contents(waiting) == {b"zero", b"one"}


def test_a_blob_that_both_name_stays(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run", Branched(position=1, wall_ns=START_NS), blobs=[b"same", b"same"])

    assert swept(store).freed == []


def test_what_a_dead_process_left_half_done_goes(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run")
    (place.folder / "META.tmp").write_bytes(b"half")
    (store.runs / ".gone-other-1234").mkdir()
    (store.runs / ".gone-other-1234" / "seg-00000001.dkj").write_bytes(b"rest")

    freed = swept(store).freed

    assert {each.what for each in freed} == {"half done", "unfinished"}
    assert not (place.folder / "META.tmp").exists()
    assert list(store.runs.glob(".*")) == []


def test_a_look_that_died_goes_once_it_is_old(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    begun(store, "run")
    (tmp_path / "looks" / "abcd" / "runs" / "passing").mkdir(parents=True)
    made_ns = (tmp_path / "looks" / "abcd").stat().st_mtime_ns

    assert swept(store, now_ns=made_ns + SECOND_NS).freed == []
    (freed,) = swept(store, now_ns=made_ns + DAY_NS).freed

    assert freed.why == "who looked died"
    assert list((tmp_path / "looks").iterdir()) == []


def test_a_torn_end_goes_only_with_an_age(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store, "run", opened(NOW_NS * 2))
    torn = place.folder / "seg-00000001.dkj.9-aa.torn"
    torn.write_bytes(b"cut")

    assert swept(store).freed == []
    (freed,) = swept(store, Policy(older_than_s=0), NOW_NS * 2).freed

    assert freed.what == "torn ends"
    assert not torn.exists()


def test_a_foreign_run_is_left_alone(tmp_path: Path) -> None:
    """H1: whose frames are not the user's may say anything about what is needed."""
    store = store_at(tmp_path)
    place = begun(store, "run", blobs=[b"a"])
    with Journal.open(place.folder, run_id="run", key=store.run_key("run")) as journal:
        journal.blobs.put(b"orphan", compress=False)
    (tmp_path / "key").unlink()

    assert swept(store_at(tmp_path)).freed == []
    assert not (tmp_path / "key").exists()


# --- a sweep that ends anywhere -------------------------------------------------------------------


def furnished(home: Path) -> Store:
    store = store_at(home)
    begun(store, "gone", blobs=[b"a" * 10, b"b" * 10])
    store.bind(store.get("gone"), notebook=home / "gone.ipynb")
    place = begun(store, "kept", opened(NOW_NS), blobs=[b"c" * 10])
    with Journal.open(place.folder, run_id="kept", key=store.run_key("kept")) as journal:
        journal.blobs.put(b"orphan", compress=False)
    return store


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.IO_ERROR])
def test_a_sweep_can_end_at_any_operation_and_be_done_again(tmp_path: Path, fault: Fault) -> None:
    is_done, number = False, 0

    while not is_done:
        number += 1
        home = tmp_path / str(number)
        furnished(home)
        disk = FaultyDisk(fail_at=number, fault=fault)
        with suppress(SimulatedCrash, JournalError, UsageError):
            swept(store_at(home, disk=disk), OLD)
        is_done = not disk.has_failed
        disk.close_all()
        store = store_at(home)
        assert names(store) in ({"gone", "kept"}, {"kept"})
        readable(store)
        swept(store, OLD)
        assert names(store) == {"kept"}
        assert contents(store.get("kept")) == {b"c" * 10}
        assert list(store.runs.glob(".*")) == []
        assert store.lookup(kernel_id=None, notebook=home / "gone.ipynb") is None

    assert number > 10
