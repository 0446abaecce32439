"""A run appears once and whole, whoever creates it, and whatever dies meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from durable_kernel.errors import DurableError, JournalFullError, JournalPoisonedError
from durable_kernel.store import Store
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.store.support import store_at

CREATORS = 4


def _create_at_a_sign(home: Path, sign: Connection, answer: Connection) -> None:
    sign.recv()
    place = Store(home, environ={}).create(run_id="nightly", kernel_id="k")
    answer.send((place.run_id, place.folder, place.meta.inode, place.meta.created_ns))


def test_of_processes_that_create_one_id_one_wins_and_all_get_its_place(tmp_path: Path) -> None:
    """No key, no folder, no META is there before: everything is raced for."""
    context = multiprocessing.get_context("spawn")
    signs, answers, creators = [], [], []
    for _ in range(CREATORS):
        heard, sign = context.Pipe(duplex=False)
        answer, told = context.Pipe(duplex=False)
        creator = context.Process(target=_create_at_a_sign, args=(tmp_path, heard, told))
        creator.start()
        signs.append(sign)
        answers.append(answer)
        creators.append(creator)

    for sign in signs:
        sign.send("go")
    places = {answer.recv() for answer in answers}
    for creator in creators:
        creator.join()

    assert len(places) == 1
    (run,) = store_at(tmp_path).all()
    assert run.is_signed
    assert (run.run_id, run.folder, run.meta.inode, run.meta.created_ns) in places


def test_an_existing_run_is_returned_as_it_is(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    first = store.create(run_id="run", parameters={"x": 1})

    again = store.create(run_id="run", parameters={"x": 2})

    assert again == first
    assert store.all() == [first]


def _a_day_of_a_store(store: Store, done: list[str]) -> None:
    """Create, bind, begin afresh, create anew; note what was promised."""
    old = store.create(run_id="old", kernel_id="k", notebook=Path("/nb.ipynb"))
    done.append("old")
    store.bind(old, kernel_id="k2")
    done.append("bound")
    store.archive(old)
    done.append("archived")
    store.create(run_id="new", kernel_id="k2", notebook=Path("/nb.ipynb"))
    done.append("new")


ALLOWED: dict[str, set[str | None]] = {
    # what was promised last -> which runs the notebook may lead to
    "": {None, "old"},
    "old": {"old"},
    "bound": {"old", None},
    "archived": {None, "new"},
    "new": {"new"},
}


def _check_after_a_fault(home: Path, done: list[str]) -> None:
    store = store_at(home, start=100)
    found = store.lookup(kernel_id=None, notebook=Path("/nb.ipynb"))

    last = done[-1] if done else ""
    assert (found.run_id if found else None) in ALLOWED[last], last
    for place in store.all():
        assert not place.damage
        assert place.is_signed
        store.check_place(place)
    by_kernel = store.lookup(kernel_id="k2", notebook=None)
    if last == "bound" and by_kernel is None:
        assert store.get("old").meta.archived_ns is not None
    store.create(run_id="next")  # the store still works
    assert store.get("next").is_signed


def test_a_death_at_any_disk_operation_leaves_a_store_that_keeps_its_promises(
    tmp_path: Path,
) -> None:
    for fault in (Fault.CRASH_BEFORE, Fault.CRASH_HALFWAY):
        for fail_at in range(1, 1000):
            home = tmp_path / fault.name / str(fail_at)
            disk, done = FaultyDisk(fail_at=fail_at, fault=fault), list[str]()
            try:
                _a_day_of_a_store(store_at(home, disk=disk), done)
            except SimulatedCrash:
                disk.close_all()
            _check_after_a_fault(home, done)
            if not disk.has_failed:
                break
        assert fail_at > 20


@pytest.mark.parametrize("choose", [lambda n: 0, lambda n: n - 1, lambda n: n // 2])
def test_a_power_cut_at_any_disk_operation_takes_no_promise_back(
    tmp_path: Path, choose: Callable[[int], int]
) -> None:
    for fail_at in range(1, 1000):
        home = tmp_path / str(fail_at)
        disk, done = FaultyDisk(fail_at=fail_at, fault=Fault.CRASH_BEFORE), list[str]()
        try:
            _a_day_of_a_store(store_at(home, disk=disk), done)
        except SimulatedCrash:
            disk.close_all()
        disk.cut_power(choose)
        _check_after_a_fault(home, done)
        if not disk.has_failed:
            break
    assert fail_at > 20


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.NO_SPACE, JournalFullError), (Fault.IO_ERROR, JournalPoisonedError)],
)
def test_a_disk_that_is_full_or_fails_is_told_as_what_it_is(
    tmp_path: Path, fault: Fault, error: type[DurableError]
) -> None:
    for fail_at in range(1, 1000):
        home = tmp_path / str(fail_at)
        disk, done = FaultyDisk(fail_at=fail_at, fault=fault), list[str]()
        try:
            _a_day_of_a_store(store_at(home, disk=disk), done)
        except error:
            disk.close_all()
        _check_after_a_fault(home, done)
        if not disk.has_failed:
            break
    assert fail_at > 20


def test_a_write_that_is_cut_short_is_completed(tmp_path: Path) -> None:
    for fail_at in range(1, 1000):
        disk = FaultyDisk(fail_at=fail_at, fault=Fault.SHORT_WRITE, only=frozenset({"write"}))
        _a_day_of_a_store(store_at(tmp_path / str(fail_at), disk=disk), [])
        if not disk.has_failed:
            break
    assert fail_at > 4
