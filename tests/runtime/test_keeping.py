"""What an interrupted cell left, in the journal and back: sealed, whole, with its surroundings."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.errors import CutPositionError
from durable_kernel.journal import RealDisk
from tests.runtime.notebooks import Notebook, interrupt_main

CUT = "try:\n    {}; interrupt()\nexcept KeyboardInterrupt: pass"


@pytest.fixture(autouse=True)
def surroundings(notebook: Notebook) -> Iterator[None]:
    """Give cells an interrupt, and put back what they change of the process."""
    notebook.names["interrupt"] = interrupt_main
    folder, path = Path.cwd(), list(sys.path)
    yield
    os.chdir(folder)
    sys.path[:] = path
    os.environ.pop("OF_A_CELL", None)


def test_what_is_kept_is_nowhere_in_clear(notebook: Notebook) -> None:
    """§16, H18: nobody knew that this is a secret, and it is encrypted all the same."""
    notebook.lived(CUT.format("key = 'correct horse' + ' battery staple'"), "print(len(key))")

    again = notebook.replayed()

    assert b"correct horse battery staple" not in notebook.all_bytes()
    assert again.text(1) == "28\n"


def test_variables_folder_and_path_of_the_process_come_back(
    notebook: Notebook, tmp_path: Path
) -> None:
    notebook.lived(
        CUT.format(
            "import os, sys; os.environ['OF_A_CELL'] = 'x'; "
            f"os.chdir({str(tmp_path)!r}); sys.path.append('/of-a-cell')"
        ),
        "print(os.environ['OF_A_CELL'], os.getcwd(), sys.path[-1])",
    )
    os.environ.pop("OF_A_CELL")
    os.chdir("/")
    sys.path.remove("/of-a-cell")

    again = notebook.replayed()

    assert again.text(1) == f"x {tmp_path} /of-a-cell\n"


def test_names_that_a_cell_took_away_are_gone(notebook: Notebook) -> None:
    notebook.lived("a = b = 1", CUT.format("del a; c = 2"), "print('a' in globals(), b, c)")

    assert notebook.replayed().text(2) == "False 1 2\n"


def test_draws_go_on_where_the_cell_left_them(notebook: Notebook) -> None:
    """H9: the cell is not executed, so its draws are not made again."""
    live = notebook.lived(
        "import random",
        CUT.format("x = [random.random() for _ in range(3)]"),
        "print(random.random())",
    )

    assert notebook.replayed().text(2) == live.text(2)


def test_names_larger_than_the_bound_stop_the_next_process_there(notebook: Notebook) -> None:
    notebook.lived(CUT.format("big = list(range(9999))"), kept_max_bytes=1000)

    with (
        notebook.session() as session,
        pytest.raises(CutPositionError, match="larger than is kept"),
    ):
        session.recover()


def test_an_object_that_acts_while_it_is_made_again_is_stopped(
    notebook: Notebook, tmp_path: Path
) -> None:
    """§3.8, rule 9: opening never acts. Live the act was the cell's own, and is reported there."""
    out = tmp_path / "log"
    notebook.lived(
        f"class Log:\n    def __setstate__(self, state): open({str(out)!r}, 'w').close()",
        CUT.format("log = Log(); log.n = 1"),
    )

    with notebook.session() as session:
        session.recover()

    assert not out.exists()
    assert session.run.latch is not None
    assert "for writing" in str(session.run.latch)


def test_a_missing_piece_is_told_and_nothing_is_bound(notebook: Notebook) -> None:
    notebook.lived("x = [1]", CUT.format("x.append(2)"))
    kept = notebook.replayed().run.outline.positions[1].kept
    assert kept is not None
    (notebook.folder / "blobs" / kept.blobs[-1][0][:2] / kept.blobs[-1][0]).unlink()

    with notebook.session() as session:
        session.recover()

    assert "this blob is missing" in str(session.run.latch)
    assert session.namespace["x"] == [1]


class FailingDisk(RealDisk):
    """Fails the n-th change after `arm`, as a process that dies there leaves the disk."""

    def __init__(self, fails_at: int) -> None:
        self.left = fails_at
        self.is_armed = False
        self.has_failed = False

    def _count(self) -> None:
        if not self.is_armed:
            return
        self.left -= 1
        if self.left == 0:
            self.has_failed = True
        if self.left <= 0:
            raise OSError(28, "No space left on device")

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def sync(self, fd: int) -> None:
        self._count()
        super().sync(fd)


def test_a_disk_that_fails_anywhere_leaves_the_state_or_an_open_cell(tmp_path: Path) -> None:
    """Fail the n-th rename or sync of keeping, for n = 1, 2 … until a run meets none."""
    for n in range(1, 50):
        notebook = Notebook(tmp_path / str(n))
        disk = FailingDisk(n)
        notebook.names.update(
            interrupt=interrupt_main, arm=lambda disk=disk: setattr(disk, "is_armed", True)
        )
        with notebook.session(disk=disk) as session:
            session.execute("x = [1]")
            was_kept = session.execute(CUT.format("arm(); x.append(2)"))
        if not disk.has_failed:
            break
        notebook.names["arm"] = lambda: None

        with notebook.session(redo=not was_kept) as session:
            session.recover()

        assert session.namespace["x"] == [1, 2], n
    assert n > 2


def test_a_user_may_take_what_was_kept_and_do_without_the_rest(notebook: Notebook) -> None:
    notebook.lived("pages = 'old'", CUT.format("x = [1]; pages = (n for n in 'ab')"))
    with notebook.session() as session, pytest.raises(CutPositionError) as refused:
        session.recover()

    taken = notebook.replayed(partly=True)

    assert "--partly" in str(refused.value)
    assert taken.namespace["x"] == [1]
    assert "pages" not in taken.namespace


def test_to_take_a_part_is_not_offered_where_nothing_was_kept(notebook: Notebook) -> None:
    refused = CutPositionError(1, "threads or tasks that it started were still running")

    assert "--partly" not in str(refused)
    assert "were still running" in str(pickle.loads(pickle.dumps(refused)))
