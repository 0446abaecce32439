"""Which run is meant: by id, name, start of an id, notebook; by kernel and notebook at a start."""

from __future__ import annotations

import shutil
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durable_kernel.errors import JournalCorruptError, RunNotFoundError, UsageError
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.files import decode_signed, encode_signed
from tests.store.support import store_at


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for run_id in ("b", "c", "a"):
        store.create(run_id=run_id)

    assert [place.run_id for place in store.all()] == ["a", "c", "b"]


def test_a_run_is_found_by_id_start_name_and_notebook(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    notebook = tmp_path / "flights.ipynb"
    wanted = store.create(run_id="20261122-1409-7f3a9c", name="nightly", notebook=notebook)
    store.create(run_id="20261123-1409-000000")

    for asked in ("20261122-1409-7f3a9c", "20261122", "nightly", str(notebook)):
        assert store.get(asked) == wanted


def test_a_name_goes_before_the_start_of_an_id(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.create(run_id="nightly-1")
    store.create(run_id="nightly-2")
    named = store.create(name="nightly")

    assert store.get("nightly") == named


def test_of_several_runs_of_a_notebook_the_newest_is_meant(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    notebook = tmp_path / "nb.ipynb"
    store.create(notebook=notebook)
    newest = store.create(notebook=notebook)

    assert store.get(str(notebook)) == newest


def test_a_notebook_reached_by_a_symlink_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = store_at(tmp_path / "home")
    place = store.create(notebook=tmp_path / "real" / "nb.ipynb")

    found = store.lookup(kernel_id=None, notebook=tmp_path / "link" / "nb.ipynb")

    assert found == place


def test_the_start_of_several_ids_names_them_all(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.create(run_id="2026-a")
    store.create(run_id="2026-b")

    with pytest.raises(UsageError, match="start of several runs: 2026-b, 2026-a"):
        store.get("2026")


def test_a_run_that_is_not_there_is_told_with_what_is_near(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    store.create(name="nightly", notebook=tmp_path / "flights.ipynb")

    with pytest.raises(RunNotFoundError, match=r"Did you mean nightly\?"):
        store.get("nihgtly")
    with pytest.raises(RunNotFoundError, match=r"flights\.ipynb"):
        store.get("flihgts.ipynb")


@pytest.mark.parametrize("asked", ["", "..", "../../etc", "/", "\0", "="])
def test_what_is_no_name_finds_nothing(tmp_path: Path, asked: str) -> None:
    store = store_at(tmp_path)
    store.create(run_id="run")

    with pytest.raises(RunNotFoundError):
        store.get(asked)


def test_the_kernel_goes_before_the_notebook(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    before, after = tmp_path / "before.ipynb", tmp_path / "after.ipynb"
    of_kernel = store.create(kernel_id="k", notebook=before)
    of_notebook = store.create(notebook=after)

    assert store.lookup(kernel_id="k", notebook=after) == of_kernel  # renamed and restarted
    assert store.lookup(kernel_id="new", notebook=after) == of_notebook  # a new server
    assert store.lookup(kernel_id="new", notebook=None) is None


@pytest.mark.parametrize("no_id", [None, ""])
def test_no_id_is_never_a_key(tmp_path: Path, no_id: str | None) -> None:
    store = store_at(tmp_path)
    store.create(kernel_id=no_id)

    assert store.lookup(kernel_id=no_id, notebook=None) is None


def test_binding_gives_a_run_its_new_keys_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    before, after = tmp_path / "before.ipynb", tmp_path / "after.ipynb"
    place = store.create(kernel_id="k1", notebook=before)

    bound = store.bind(place, kernel_id="k2", notebook=after)

    assert (bound.meta.kernel_id, bound.meta.notebook) == ("k2", str(after))
    assert store.lookup(kernel_id="k2", notebook=None) == bound
    assert store.lookup(kernel_id=None, notebook=after) == bound
    assert store.lookup(kernel_id="k1", notebook=before) is None


def test_a_key_belongs_to_the_run_that_was_bound_to_it_last(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    notebook = tmp_path / "nb.ipynb"
    first = store.create(notebook=notebook, kernel_id="k1")
    second = store.create(notebook=notebook)

    store.bind(first, kernel_id="k2")  # opened by its kernel; the notebook is the second one's

    for _ in ("with the index", "without"):
        found = store.lookup(kernel_id=None, notebook=notebook)
        assert found is not None
        assert found.run_id == second.run_id
        shutil.rmtree(store.home / "index")


def test_the_index_may_be_deleted(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    place = store.create(kernel_id="k", notebook=tmp_path / "nb.ipynb")
    entries = sorted(path.name for path in (store.home / "index").rglob("*"))
    shutil.rmtree(store.home / "index")

    assert store.lookup(kernel_id="k", notebook=None) == place
    assert store.lookup(kernel_id=None, notebook=tmp_path / "nb.ipynb") == place
    assert sorted(path.name for path in (store.home / "index").rglob("*")) == entries


def looks_through_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the keys for which all METAs are looked through."""
    asked: list[str] = []
    mentioning = store._shelf.mentioning

    def counted(key: str) -> Iterator[RunPlace]:
        asked.append(key)
        return mentioning(key)

    monkeypatch.setattr(store._shelf, "mentioning", counted)
    return asked


def test_a_key_that_no_run_has_is_looked_up_in_the_index_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path / "home")
    for serial in range(3):
        store.create(kernel_id=f"k{serial}")
    asked = looks_through_all(store, monkeypatch)

    assert store.lookup(kernel_id="absent", notebook=tmp_path / "absent.ipynb") is None

    assert asked == []


def test_a_lookup_that_finds_nothing_takes_no_longer_with_many_runs(tmp_path: Path) -> None:
    """2,000 runs: a look at each would take hundreds of times as long as with one run."""
    store, one = store_at(tmp_path / "home"), store_at(tmp_path / "one")
    meta = (store.create(run_id="run-0", kernel_id="k").folder / "META").read_bytes()
    one.create(run_id="run-0", kernel_id="k")
    for serial in range(1, 2_000):
        (store.runs / f"run-{serial}").mkdir()
        (store.runs / f"run-{serial}" / "META").write_bytes(
            encode_signed(
                {**decode_signed(Path(), meta, "").fields, "run_id": f"run-{serial}"}, b"k" * 32
            )
        )

    def looking_s(there: Store) -> float:
        return timeit.timeit(lambda: there.lookup(kernel_id="absent", notebook=None), number=1)

    looking_s(store)  # looks through all of them, once
    looking_s(one)
    pairs = [(looking_s(store), looking_s(one)) for _ in range(9)]

    assert min(many_s for many_s, _ in pairs) < 20 * min(one_s for _, one_s in pairs)


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "the index was deleted": lambda home, _: shutil.rmtree(home / "index"),
    "one sort of entries was deleted": lambda home, _: shutil.rmtree(home / "index" / "kernel"),
    "one entry was deleted": lambda home, _: next((home / "index" / "kernel").iterdir()).unlink(),
    "a run was put there": lambda home, spare: shutil.copytree(spare, home / "runs" / "spare"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_others_changed_in_the_store_is_noticed(
    tmp_path: Path, change: Callable[[Path, Path], object]
) -> None:
    """Taking a run for absent would start another one, and repeat its acts."""
    store = store_at(tmp_path / "home")
    store.create(run_id="first", kernel_id="first")
    spare = store.create(run_id="spare", kernel_id="spare")
    spare.folder.rename(tmp_path / "spare")
    assert store.lookup(kernel_id="spare", notebook=None) is None

    change(store.home, tmp_path / "spare")
    wanted = "spare" if store.exists("spare") else "first"

    found = store.lookup(kernel_id=wanted, notebook=None)
    assert found is not None
    assert found.run_id == wanted


def test_after_a_fresh_start_an_older_run_has_the_key_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    older = store.create(kernel_id="k")
    newer = store.create(kernel_id="k")

    store.archive(newer)

    assert store.lookup(kernel_id="k", notebook=None) == older
    assert store.lookup(kernel_id="absent", notebook=None) is None
    assert store.lookup(kernel_id="k", notebook=None) == older


def test_a_key_that_was_given_up_is_forgotten_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    store.bind(store.create(kernel_id="before"), kernel_id="after")
    asked = looks_through_all(store, monkeypatch)

    for _ in range(2):
        assert store.lookup(kernel_id="before", notebook=None) is None

    assert set(asked) == {"before"}
    assert len(asked) == 2  # once, and once more under the lock


@pytest.mark.parametrize("content", ["other\n", "absent\n", "../../etc\n", "", "\xff"])
def test_an_entry_that_meta_contradicts_is_not_believed(tmp_path: Path, content: str) -> None:
    store = store_at(tmp_path)
    place = store.create(kernel_id="k")
    store.create(run_id="other", kernel_id="another kernel")
    (entry,) = [
        path
        for path in (store.home / "index" / "kernel").iterdir()
        if path.read_text().strip() == place.run_id
    ]
    entry.write_text(content, encoding="latin-1")

    assert store.lookup(kernel_id="k", notebook=None) == place
    assert entry.read_text().strip() == place.run_id


@pytest.mark.parametrize("has_index", [True, False])
def test_a_bound_run_with_a_damaged_meta_is_not_passed_over(
    tmp_path: Path, has_index: bool
) -> None:
    """Starting another run instead would repeat the acts of this one."""
    store = store_at(tmp_path)
    meta = store.create(kernel_id="kernel-1").folder / "META"
    raw = meta.read_bytes()
    meta.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    if not has_index:
        shutil.rmtree(store.home / "index")

    with pytest.raises(JournalCorruptError):
        store.lookup(kernel_id="kernel-1", notebook=None)


def test_a_fresh_start_hides_a_run_from_its_keys_and_keeps_it(tmp_path: Path) -> None:
    store = store_at(tmp_path / "home")
    notebook = tmp_path / "nb.ipynb"
    place = store.create(name="n", kernel_id="k", notebook=notebook)

    archived = store.archive(place)

    assert archived.meta.archived_ns is not None
    assert store.lookup(kernel_id="k", notebook=notebook) is None
    shutil.rmtree(store.home / "index")
    assert store.lookup(kernel_id="k", notebook=notebook) is None
    assert store.get(place.run_id) == store.get("n") == store.get(str(notebook)) == archived


def test_an_archived_run_can_be_had_back(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    old = store.archive(store.create(kernel_id="k"))
    store.create(kernel_id="k")

    revived = store.revive(old)

    assert revived.meta.archived_ns is None
    assert store.lookup(kernel_id="k", notebook=None) == revived
    shutil.rmtree(store.home / "index")
    assert store.lookup(kernel_id="k", notebook=None) == revived


def test_after_a_fresh_start_an_id_means_the_run_that_took_its_place(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    old = store.archive(store.create(run_id="nightly"))

    new = store.create(run_id="nightly")

    assert (new.run_id, new.meta.name) == ("nightly-2", "nightly")
    assert store.create(run_id="nightly") == new
    assert store.get("nightly") == new
    assert store.get("=nightly") == old
    store.archive(new)
    assert store.create(run_id="nightly").run_id == "nightly-3"


def test_a_damaged_run_can_be_archived_and_its_meta_is_kept(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(kernel_id="k")
    (place.folder / "META").write_bytes(b"rubbish")

    store.archive(store.place(place.run_id))

    assert store.lookup(kernel_id="k", notebook=None) is None
    assert (place.folder / "META.damaged").read_bytes() == b"rubbish"
    assert store.place(place.run_id).meta.archived_ns is not None


def test_a_store_that_cannot_be_written_is_still_searched(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create(kernel_id="k")
    shutil.rmtree(store.home / "index")
    (store.home / "index").touch()  # in the way: no folder can be made there

    assert store.lookup(kernel_id="k", notebook=None) == place
