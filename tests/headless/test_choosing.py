"""Which run `durable run` means: named, unfinished, or new; it never guesses (DESIGN §10)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from durable_kernel.errors import JournalCorruptError, UntrustedRunError, UsageError
from durable_kernel.headless.choosing import Chosen, choose_run
from durable_kernel.runtime import Settings, mark_finished, open_run, prepare
from durable_kernel.store import Store
from durable_kernel.testing.driver import Driver

HOUR_S = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return tmp_path / "work.ipynb"


def _choose(store: Store, notebook: Path, **given: Any) -> Chosen:
    parameters = given.pop("parameters", {})
    asked = {
        "name": None,
        "fresh": False,
        "now_ns": time.time_ns(),
        "resume_within_s": None,
        **given,
    }
    return choose_run(store, notebook, parameters, **asked)


def _run_cells(store: Store, chosen: Chosen, *sources: str, is_finished: bool = False) -> None:
    settings = Settings(run=chosen.place.run_id, home=store.home)
    run = open_run(settings, surroundings=prepare())
    try:
        Driver(run).run_all(sources)
    finally:
        run.close()
    if is_finished:
        mark_finished(store, chosen.place, "ok")


def test_a_notebook_without_a_run_gets_a_new_one(store: Store, notebook: Path) -> None:
    chosen = _choose(store, notebook)

    assert chosen.outline is None
    assert chosen.sentence == f"run {chosen.place.run_id} starts."
    assert chosen.place.meta.notebook == str(notebook)


def test_an_unfinished_run_of_the_notebook_is_resumed(store: Store, notebook: Path) -> None:
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1", "y = 2")

    again = _choose(store, notebook)

    assert again.place.run_id == first.place.run_id
    assert "goes on (recorded since 20" in again.sentence
    assert "0 min old, 2 cells" in again.sentence


def test_a_failed_run_is_resumed_too(store: Store, notebook: Path) -> None:
    """The flagship case: correct cell 28 and run the same command."""
    first = _choose(store, notebook)
    _run_cells(store, first, "1 / 0")

    assert _choose(store, notebook).place.run_id == first.place.run_id


def test_a_finished_run_is_not_resumed_but_a_new_one_starts(store: Store, notebook: Path) -> None:
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1", is_finished=True)

    again = _choose(store, notebook)

    assert again.place.run_id != first.place.run_id
    assert again.outline is None


def test_other_parameters_are_another_run(store: Store, notebook: Path) -> None:
    first = _choose(store, notebook, parameters={"day": 1})
    _run_cells(store, first, "x = 1")

    other = _choose(store, notebook, parameters={"day": 2})
    same = _choose(store, notebook, parameters={"day": 1})

    assert other.place.run_id != first.place.run_id
    assert same.place.run_id == first.place.run_id


def test_another_notebook_is_another_run(store: Store, notebook: Path, tmp_path: Path) -> None:
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")

    assert _choose(store, tmp_path / "other.ipynb").place.run_id != first.place.run_id


def test_fresh_archives_the_unfinished_run_and_starts_anew(store: Store, notebook: Path) -> None:
    """Nothing is deleted: the old run is there, and nothing finds it by the notebook."""
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")

    fresh = _choose(store, notebook, fresh=True)
    _run_cells(store, fresh, "x = 2")

    assert fresh.place.run_id != first.place.run_id
    assert store.place(first.place.run_id).meta.archived_ns is not None
    assert _choose(store, notebook).place.run_id == fresh.place.run_id


@pytest.mark.parametrize(("age_h", "is_resumed"), [(11.9, True), (12.1, False)])
def test_an_old_run_is_not_resumed_without_a_terminal(
    store: Store, notebook: Path, age_h: float, *, is_resumed: bool
) -> None:
    """A cron job must not go on with what a person left behind last week."""
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")
    given = {
        "now_ns": time.time_ns() + int(age_h * HOUR_S * 1e9),
        "resume_within_s": 12 * HOUR_S,
    }

    if is_resumed:
        assert _choose(store, notebook, **given).place.run_id == first.place.run_id
        return
    with pytest.raises(UsageError) as refused:
        _choose(store, notebook, **given)
    assert "was last opened 12.1 h ago" in str(refused.value)
    assert "Say --resume, or --fresh" in str(refused.value)


def test_an_old_run_is_resumed_when_somebody_is_there(store: Store, notebook: Path) -> None:
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")

    later = _choose(store, notebook, now_ns=time.time_ns() + int(1e6 * HOUR_S * 1e9))

    assert later.place.run_id == first.place.run_id


def test_a_run_without_a_journal_yet_starts(store: Store, notebook: Path) -> None:
    """The runner died between making the run and starting its kernel."""
    first = _choose(store, notebook)

    again = _choose(store, notebook, resume_within_s=1.0)

    assert again.place.run_id == first.place.run_id
    assert again.sentence == f"run {first.place.run_id} starts."


# --- named ----------------------------------------------------------------------------------------


def test_a_named_run_is_made_and_found_by_its_name(store: Store, notebook: Path) -> None:
    first = _choose(store, notebook, name="nightly")
    _run_cells(store, first, "x = 1")

    again = _choose(store, notebook, name="nightly")

    assert first.place.run_id == again.place.run_id == "nightly"
    assert again.outline is not None


def test_a_named_run_that_is_finished_has_nothing_to_do(store: Store, notebook: Path) -> None:
    """Exit 0 at once: a scheduler may start the same night twice."""
    first = _choose(store, notebook, name="nightly")
    _run_cells(store, first, "x = 1", is_finished=True)

    again = _choose(store, notebook, name="nightly")

    assert again.is_finished
    assert again.sentence == "run nightly is finished; there is nothing to do."


def test_a_named_run_is_resumed_however_old(store: Store, notebook: Path) -> None:
    """Its name says which one is meant."""
    first = _choose(store, notebook, name="nightly")
    _run_cells(store, first, "x = 1")

    again = _choose(store, notebook, name="nightly", now_ns=10**19, resume_within_s=HOUR_S)

    assert again.place.run_id == "nightly"


def test_a_named_run_of_other_parameters_is_refused(store: Store, notebook: Path) -> None:
    """A finished one would otherwise be "done" for a day that was never computed."""
    first = _choose(store, notebook, name="nightly", parameters={"day": 1})
    _run_cells(store, first, "x = 1", is_finished=True)

    with pytest.raises(UsageError, match="started with other parameters"):
        _choose(store, notebook, name="nightly", parameters={"day": 2})


def test_fresh_takes_the_name_over_and_over(store: Store, notebook: Path) -> None:
    ids = []
    for _ in range(3):
        chosen = _choose(store, notebook, name="nightly", fresh=True)
        _run_cells(store, chosen, "x = 1")
        ids.append(chosen.place.run_id)

    assert len(set(ids)) == 3
    assert _choose(store, notebook, name="nightly").place.run_id == ids[-1]


def test_an_archived_name_starts_a_new_run(store: Store, notebook: Path) -> None:
    """A kernel's `%durable fresh` archived it: who did that does not want it back by accident."""
    first = _choose(store, notebook, name="nightly")
    _run_cells(store, first, "x = 1")
    store.archive(first.place)

    again = _choose(store, notebook, name="nightly")

    assert again.outline is None
    assert again.place.run_id != first.place.run_id


# --- what can't be read ---------------------------------------------------------------------------


def test_a_damaged_newest_run_is_not_passed_over(store: Store, notebook: Path) -> None:
    """Starting anew would repeat what it did."""
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")
    (first.place.folder / "META").write_bytes(b"damaged")

    with pytest.raises(JournalCorruptError, match="Nothing was executed"):
        _choose(store, notebook)

    assert _choose(store, notebook, fresh=True).place.run_id != first.place.run_id


def test_a_foreign_newest_run_is_not_executed(store: Store, notebook: Path) -> None:
    """Rule 8."""
    first = _choose(store, notebook)
    _run_cells(store, first, "x = 1")
    (store.home / "key").write_bytes(b"\x01" * 32)

    with pytest.raises(UntrustedRunError):
        _choose(Store(store.home), notebook)
