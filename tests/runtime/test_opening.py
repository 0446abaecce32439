"""Opening a run: nothing is executed, and nothing foreign is believed (rule 8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_kernel.errors import (
    JournalCorruptError,
    RunLockedError,
    TaintedPositionError,
    UntrustedRunError,
    UsageError,
)
from durable_kernel.runtime import (
    CellRequest,
    CellResult,
    Settings,
    Sought,
    mark_finished,
    open_run,
    prepare,
)
from durable_kernel.store import Store
from tests.runtime.notebooks import RUN_ID, Notebook, Service

ACTS = "x = service.ask('a')"


def _is_refused(notebook: Notebook, *errors: type[Exception]) -> None:
    """Nothing of the run is executed: the opening raises, and no byte changes."""
    before = notebook.journal_bytes()
    with pytest.raises(errors), notebook.session():
        pytest.fail("the run was opened")
    assert notebook.journal_bytes() == before


def test_a_run_under_another_users_key_executes_nothing(notebook: Notebook) -> None:
    """Rule 8: only frames authenticated with this user's key are replayed."""
    notebook.lived(ACTS)
    (notebook.home / "key").write_bytes(b"\x01" * 32)

    _is_refused(notebook, UntrustedRunError)


def test_one_altered_byte_anywhere_executes_nothing_of_it(notebook: Notebook) -> None:
    """Rule 8: a bit in each of 40 places; never a changed cell, never one lost in silence."""
    notebook.lived("x = 1", ACTS)
    (segment,) = notebook.folder.glob("seg-*.dkj")
    original = segment.read_bytes()
    size = len(original)

    for place in range(0, size, max(1, size // 40)):
        segment.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
        try:
            with notebook.session() as session:
                sources = [each.cell.source for each in session.run.outline.positions]
                notices = session.run.take_notices()
        except (UntrustedRunError, JournalCorruptError):
            continue
        assert sources == ["x = 1", ACTS][: len(sources)]
        assert notices != [], f"byte {place}: cut without a word"


@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_journal_without_its_frames_is_refused_and_not_begun_anew(
    notebook: Notebook, *, is_emptied: bool
) -> None:
    """Segments deleted or emptied by somebody: the acts in them would be done once more."""
    notebook.lived("x = 1")
    for segment in notebook.folder.glob("seg-*.dkj"):
        if is_emptied:
            segment.write_bytes(b"")
        else:
            segment.unlink()

    for _ in range(2):
        with pytest.raises(JournalCorruptError), notebook.session():
            pytest.fail("the run was opened")


def test_a_run_that_is_open_elsewhere_is_refused(notebook: Notebook) -> None:
    with notebook.session(), pytest.raises(RunLockedError), notebook.session():
        pytest.fail("two writers")


def test_a_run_is_free_again_after_a_refused_opening(notebook: Notebook) -> None:
    notebook.lived(ACTS)
    key = (notebook.home / "key").read_bytes()
    (notebook.home / "key").write_bytes(b"\x01" * 32)
    _is_refused(notebook, UntrustedRunError)
    (notebook.home / "key").write_bytes(key)

    assert notebook.replayed().namespace["x"] == "a: done"


def test_opening_executes_nothing(notebook: Notebook, service: Service) -> None:
    notebook.died("service.ask('a'); die()")
    service.requests.clear()

    with notebook.session() as session:
        assert session.run.state == "replaying"

    assert service.requests == []
    assert "x" not in session.namespace


def test_a_new_cell_waits_until_all_recorded_ones_are_replayed(notebook: Notebook) -> None:
    notebook.lived("x = 1")

    with notebook.session() as session, pytest.raises(UsageError, match="not replayed yet"):
        session.execute("y = 2")


def test_a_torn_tail_is_cut_and_told(notebook: Notebook) -> None:
    notebook.lived("x = 1", "y = 2")
    (segment,) = notebook.folder.glob("seg-*.dkj")
    segment.write_bytes(segment.read_bytes()[:-3])

    with notebook.session() as session:
        notices = session.run.take_notices()
        session.recover()

    assert len(notices) == 1
    assert session.namespace["x"] == 1


def test_each_opener_takes_the_next_epoch(notebook: Notebook) -> None:
    epochs = [notebook.replayed().run._journal.epoch for _ in range(3)]

    assert epochs == [1, 2, 3]


def test_a_run_is_found_by_its_notebook(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    notebook = tmp_path / "work.ipynb"
    opened = []
    for _ in range(2):
        run = open_run(settings, surroundings=prepare(), sought=Sought(notebook=notebook))
        opened.append(run.run_id)
        run.close()

    assert opened[0] == opened[1]


def test_a_finished_run_says_so(notebook: Notebook) -> None:
    notebook.lived("x = 1")
    store = Store(notebook.home)

    mark_finished(store, store.get(RUN_ID), "ok")

    with notebook.session() as session:
        assert session.run.outline.status == "finished"


def test_a_run_that_a_kernel_writes_is_not_marked_finished(
    notebook: Notebook,
) -> None:
    notebook.lived("x = 1")
    store = Store(notebook.home)

    with notebook.session(), pytest.raises(RunLockedError):
        mark_finished(store, store.get(RUN_ID), "ok", lock_timeout_s=0)


def test_a_cell_that_asked_to_exit_is_never_executed_again(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("x = 1")
        with session.run.start_cell(CellRequest("exit()")) as execution:
            execution.finish(CellResult("ok", {}, asked_exit=True))
    positions = []
    with notebook.session() as again:
        for history in again.run.recorded():
            positions.append(history.position)
            again.driver._execute(again.run.replay_cell(history))
        next_position = again.run.next_position

    assert positions == [0]
    assert next_position == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("DURABLE_DURABILITY", "slow"), ("DURABLE_IN_DOUBT", "guess"), ("DURABLE_RESUME", "never")],
)
def test_a_setting_without_a_meaning_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name}='{value}' has no meaning; it is one of"):
        Settings.from_environ({name: value})


def test_settings_are_read_from_the_environment() -> None:
    settings = Settings.from_environ(
        {"DURABLE_RUN": "nightly", "DURABLE_HOME": "there", "DURABLE_IN_DOUBT": "stop"}
    )

    assert (settings.run, settings.home, settings.in_doubt) == (
        "nightly",
        Path("there"),
        "stop",
    )
    assert Settings.from_environ({}) == Settings()


def test_the_plan_says_what_a_recovery_means(notebook: Notebook) -> None:
    notebook.lived("service.ask('a')")
    notebook.die_during("b")
    notebook.died("service.ask('b')")

    with notebook.session() as session:
        plan = str(session.run.plan)

    assert plan.startswith("1 cell, less than a second of computing, ")
    assert "2 recorded calls answered from the journal, 0 repeated" in plan
    assert "1 interrupted cell to finish" in plan
    assert "1 act in doubt (ask b)" in plan


def test_the_plan_names_cells_that_stop_it(notebook: Notebook, tmp_path: Path) -> None:
    notebook.names["path"] = tmp_path / "out.txt"
    notebook.lived("x = 1", "path.write_text('')")

    with notebook.session() as session:
        assert "stops before cell 1" in str(session.run.plan)
        with pytest.raises(TaintedPositionError):
            session.recover()
