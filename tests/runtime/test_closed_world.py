"""Crossings that nothing journals: told and remembered live, stopped before they happen on replay.

Rules 7 and 9, H2.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from durable_kernel.errors import BranchRefusedError, TaintedPositionError, WorldClosedError
from tests.runtime.notebooks import Notebook, Service

WRITES = "path.write_text('written')"


@pytest.fixture
def path(tmp_path: Path, notebook: Notebook) -> Path:
    """A file that cells know as `path`."""
    notebook.names["path"] = tmp_path / "out.txt"
    return tmp_path / "out.txt"


def test_an_unrecorded_write_taints_its_cell(notebook: Notebook, path: Path) -> None:
    """Rule 7: it happens, it is told with cell and line, and it is in the journal."""
    with notebook.session() as session:
        committed = session.execute(f"x = 1\n{WRITES}")
        outline = session.run.read_outline()

    assert committed
    assert path.read_text() == "written"
    assert outline.positions[0].is_tainted
    (crossing,) = outline.positions[0].crossings
    assert crossing.where == "cell 0 (line 2)"
    assert "out.txt for writing" in crossing.what
    assert any("out.txt for writing" in each for each in session.run.status()["unrecorded"])
    assert any("out.txt for writing" in each for each in session.run.take_notices())


def test_a_tainted_cell_is_never_executed_again_by_itself(notebook: Notebook, path: Path) -> None:
    """H2: a file that the user corrected since is not clobbered by opening the notebook."""
    notebook.lived("x = 1", WRITES)
    path.write_text("corrected")

    with notebook.session() as session, pytest.raises(TaintedPositionError) as refused:
        session.recover()

    assert path.read_text() == "corrected"
    assert refused.value.position == 1
    assert "cell 1 (line 1): it opens" in str(refused.value)


def test_a_tainted_open_cell_is_not_finished_by_itself(notebook: Notebook, path: Path) -> None:
    """H2: the same, where the process died behind the write."""
    notebook.died(f"{WRITES}; die()")
    path.write_text("corrected")

    with notebook.session() as session, pytest.raises(TaintedPositionError):
        session.recover()

    assert path.read_text() == "corrected"


def test_redo_executes_a_tainted_cell_with_its_acts(
    notebook: Notebook, service: Service, path: Path
) -> None:
    """An explicit decision: the unrecorded act happens again, the recorded one does not."""
    notebook.lived(f"x = service.ask('a'); {WRITES}", "y = x")
    path.unlink()

    session = notebook.replayed(redo=True)

    assert path.read_text() == "written"
    assert service.requests == ["a"]
    assert session.namespace["y"] == "a: done"
    assert session.run.latch is None


def test_an_unrecorded_write_is_stopped_while_replaying(notebook: Notebook, path: Path) -> None:
    """Rule 9: code that was edited since would act; it is stopped before the file exists."""
    notebook.names["writes"] = False
    notebook.lived(f"if writes: {WRITES}")
    notebook.names["writes"] = True

    session = notebook.replayed()

    assert not path.exists()
    assert isinstance(session.run.latch, WorldClosedError)
    assert "out.txt for writing" in str(session.run.latch)
    assert "stopped before it happened" in str(session.run.latch)


def test_an_open_cell_may_write_once_it_is_live(notebook: Notebook, path: Path) -> None:
    """Rule 9: replaying is over with the last hard record, and so is the closed world."""
    notebook.died(f"service.ask('a'); die(); {WRITES}")

    session = notebook.replayed()

    assert path.read_text() == "written"
    assert session.run.latch is None


def test_an_open_cell_may_not_write_before_it_is_live(notebook: Notebook, path: Path) -> None:
    notebook.names["writes"] = False
    notebook.died(f"if writes: {WRITES}\nservice.ask('a'); die()")
    notebook.names["writes"] = True

    session = notebook.replayed()

    assert not path.exists()
    assert isinstance(session.run.latch, WorldClosedError)


def test_reading_a_file_is_told_and_does_not_taint(notebook: Notebook, path: Path) -> None:
    """It changes nothing outside; the journal says that the cell depends on it."""
    path.write_text("input")
    live = notebook.lived("print(path.read_text())")

    session = notebook.replayed()

    assert session.shown == live.shown
    (crossing,) = session.run.read_outline().positions[0].crossings
    assert (crossing.what.startswith("reads"), crossing.is_act) == (True, False)


def test_the_same_crossing_is_told_once_a_cell(notebook: Notebook, path: Path) -> None:
    with notebook.session() as session:
        session.execute(f"for _ in range(3): {WRITES}", WRITES)
        outline = session.run.read_outline()

    assert [len(each.crossings) for each in outline.positions] == [1, 1]


def test_a_step_may_write_as_it_likes(notebook: Notebook, path: Path) -> None:
    """What happens inside a journaled effect belongs to the effect."""
    notebook.lived(f"import durable_kernel as durable\ndurable.step(lambda: {WRITES})()")
    path.unlink()

    session = notebook.replayed()

    assert session.run.latch is None
    assert not path.exists()


def test_nothing_acts_after_the_latch(notebook: Notebook, path: Path) -> None:
    """H3: code that swallowed the divergence can't write either."""
    notebook.names.update(target="a", writes=False)
    notebook.lived(f"try: service.ask(target)\nexcept BaseException: pass\nif writes: {WRITES}")
    notebook.names.update(target="b", writes=True)

    session = notebook.replayed()

    assert not path.exists()
    assert session.run.state == "diverged"


def test_a_thread_of_a_cell_is_blamed_on_it(notebook: Notebook, path: Path) -> None:
    """H29: a thread has no lane; its act is marked, not passed over."""
    with notebook.session() as session:
        session.execute(
            f"import threading\nt = threading.Thread(target=lambda: {WRITES})\nt.start(); t.join()"
        )
        outline = session.run.read_outline()

    assert outline.positions[0].is_tainted


def test_a_thread_that_outlives_its_cell_is_told_all_the_same(
    notebook: Notebook, path: Path
) -> None:
    """H8, H29: between two cells no cell runs, but the act is a cell's."""
    with notebook.session() as session:
        session.execute(
            "import threading\ngo = threading.Event()\n"
            f"t = threading.Thread(target=lambda: (go.wait(), {WRITES}))\nt.start()"
        )
        session.namespace["go"].set()
        session.namespace["t"].join()
        outline = session.run.read_outline()

    assert outline.positions[0].is_tainted


def test_a_write_of_the_kernels_own_thread_is_no_crossing(notebook: Notebook, path: Path) -> None:
    """Known threads are the kernel's: heartbeat, history, output."""
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(60)
        path.write_text("of the kernel")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    notebook.names.update(go=go, done=done)
    with notebook.session() as session:
        session.execute("go.set(); done.wait(60)")
        outline = session.run.read_outline()
    thread.join()

    assert outline.positions[0].crossings == []


# --- branches -------------------------------------------------------------------------------------


def test_a_branch_that_leaves_acts_behind_is_refused(notebook: Notebook) -> None:
    """H14: going on would do them again; they are listed, and nothing is written."""
    notebook.lived("x = 1", "service.ask('a'); service.look('b')", "service.ask('c')")
    with notebook.session() as session:
        before = notebook.journal_bytes()

        with pytest.raises(BranchRefusedError) as refused:
            session.run.branch(1, "edited")

        assert notebook.journal_bytes() == before
    assert refused.value.acts == ("ask a (cell 1)", "ask c (cell 2)")


def test_a_branch_that_leaves_an_unrecorded_act_behind_is_refused(
    notebook: Notebook, path: Path
) -> None:
    """H14, H2: what the journal does not hold was done all the same."""
    notebook.lived("x = 1", WRITES)

    with (
        notebook.session() as session,
        pytest.raises(BranchRefusedError, match=r"out\.txt for writing \(cell 1\)"),
    ):
        session.run.branch(1, "edited")


def test_a_branch_without_acts_behind_goes_on_live(notebook: Notebook) -> None:
    notebook.lived("x = service.ask('a')", "y = service.look('b')", "z = 3")
    with notebook.session() as session:
        first = session.run.next_recorded()
        assert first is not None
        session.driver._execute(session.run.replay_cell(first))
        session.run.branch(1, "edited")
        session.execute("y = x + '!'")

    again = notebook.replayed()

    assert again.namespace["y"] == "a: done!"
    assert "z" not in again.namespace
    assert again.run.next_position == 2
    assert len(again.run.read_outline().branches) == 1


def test_repeating_acts_is_a_users_explicit_decision(notebook: Notebook, service: Service) -> None:
    notebook.lived("service.ask('a')")
    with notebook.session(repeat_acts=True) as session:
        session.run.branch(0, "edited")
        session.execute("service.ask('a')")

    assert service.requests == ["a", "a"]


def test_acts_of_this_very_session_count_for_a_branch(notebook: Notebook) -> None:
    """H14: also those that were done since the run was opened."""
    with notebook.session() as session:
        session.execute("service.ask('a')")

        with pytest.raises(BranchRefusedError):
            session.run.branch(0, "rewound")
