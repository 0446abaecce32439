"""Which run a notebook has: the order of its names, and what becomes of moved and copied ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from durable_kernel.runtime import (
    CellRequest,
    CellResult,
    Marks,
    Run,
    Settings,
    Sought,
    open_run,
    prepare,
)

SOURCES = ("rows = [1, 2, 3]", "total = sum(rows)", "print(total)")
IDS = frozenset({"cell-a", "cell-b"})


class Desk:
    """A folder of notebooks and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(home=folder / "home")

    def notebook(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        return path

    @contextmanager
    def opened(
        self,
        notebook: Path | None,
        read_marks: Callable[[], Marks] = Marks,
        *,
        kernel_id: str | None = None,
    ) -> Iterator[Run]:
        run = open_run(
            self.settings, surroundings=prepare(), sought=Sought(kernel_id, notebook, read_marks)
        )
        try:
            yield run
        finally:
            run.close()

    def lived(self, notebook: Path | None, *, kernel_id: str | None = None) -> str:
        """Let a run have three cells. Returns its id."""
        with self.opened(notebook, kernel_id=kernel_id) as run:
            for number, source in enumerate(SOURCES):
                with run.start_cell(CellRequest(source, cell_id=f"cell-{'abc'[number]}")) as cell:
                    pass
                cell.finish(CellResult("ok"))
            return run.run_id


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_moved_notebook_is_known_by_its_cells_and_goes_on_in_its_run(desk: Desk) -> None:
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    new = old.rename(desk.folder / "b.ipynb")

    with desk.opened(new, lambda: Marks(cell_ids=IDS)) as run:
        assert run.run_id == run_id
        assert any("knew this notebook as" in each for each in run.take_notices())
    with desk.opened(new) as again:
        assert again.run_id == run_id
        assert again.take_notices() == []


def test_a_notebook_in_another_folder_is_known_by_its_name_and_sources(desk: Desk) -> None:
    """VS Code's cell ids are no ids of the notebook's."""
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    new = desk.notebook("sub/a.ipynb")
    old.unlink()

    with desk.opened(new, lambda: Marks(sources=frozenset(SOURCES[:2]))) as run:
        assert run.run_id == run_id


def test_a_copy_starts_a_run_of_its_own_and_says_so(desk: Desk) -> None:
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    copy = Path(shutil.copy(old, desk.folder / "a-Copy1.ipynb"))

    with desk.opened(copy, lambda: Marks(cell_ids=IDS)) as run:
        told = run.take_notices()

        assert run.run_id != run_id
        assert run.outline.positions == []
    assert [f"a copy of {old}" in each and run_id in each for each in told] == [True]


def test_a_renamed_notebook_is_told_from_its_own_copies(desk: Desk) -> None:
    """A copy that was opened later is kin too, but its file is there: it is somebody else."""
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    desk.lived(Path(shutil.copy(old, desk.folder / "a-Copy1.ipynb")))
    new = old.rename(desk.folder / "b.ipynb")

    with desk.opened(new, lambda: Marks(cell_ids=IDS)) as run:
        assert run.run_id == run_id


@pytest.mark.parametrize("is_copy", [True, False])
def test_a_run_named_in_the_metadata_is_told_from_that_of_a_copy(
    desk: Desk, *, is_copy: bool
) -> None:
    """It may lie anywhere, under any name."""
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    new = Path(shutil.copy(old, desk.folder / "home" / "other.ipynb"))
    if not is_copy:
        old.unlink()

    with desk.opened(new, lambda: Marks(run_id, IDS)) as run:
        assert (run.run_id != run_id) is is_copy
        assert len(run.take_notices()) == 1


def test_a_foreign_notebook_that_names_a_run_does_not_get_it(desk: Desk) -> None:
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    old.unlink()
    foreign = desk.notebook("sub/foreign.ipynb")

    with desk.opened(foreign, lambda: Marks(run_id, frozenset({"x"}))) as run:
        assert run.run_id != run_id


@pytest.mark.parametrize(
    "marks",
    [
        Marks(),
        Marks(cell_ids=frozenset({"another"})),
        Marks(sources=frozenset({SOURCES[0], "y = 1", "z = 2"})),
    ],
    ids=["a new notebook", "other cells", "one line in common"],
)
def test_another_notebook_in_the_same_folder_has_nothing_to_do_with_it(
    desk: Desk, marks: Marks
) -> None:
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    old.unlink()

    with desk.opened(desk.notebook("b.ipynb"), lambda: marks) as run:
        assert run.run_id != run_id
        assert run.take_notices() == []


def test_the_kernel_id_is_stronger_than_the_notebook(desk: Desk) -> None:
    of_kernel = desk.lived(desk.notebook("a.ipynb"), kernel_id="k1")
    other = desk.notebook("b.ipynb")
    desk.lived(other, kernel_id="k2")

    with desk.opened(other, kernel_id="k1") as run:
        assert run.run_id == of_kernel


def test_the_run_in_the_metadata_is_stronger_than_the_path(desk: Desk) -> None:
    """Two notebooks changed places: what is under a path now is not what was there."""
    first, second = desk.notebook("a.ipynb"), desk.notebook("b.ipynb")
    desk.lived(first)
    run_id = desk.lived(second)
    second.replace(first)

    with desk.opened(first, lambda: Marks(run_id, IDS)) as run:
        assert run.run_id == run_id


def test_kernels_without_any_name_do_not_share_a_run(desk: Desk) -> None:
    """An absent id is no key."""
    first, second = desk.lived(None), desk.lived(None, kernel_id="")

    with desk.opened(None) as run:
        assert len({first, second, run.run_id}) == 3


def test_a_run_of_an_archived_notebook_is_nobody_s_kin(desk: Desk) -> None:
    old = desk.notebook("a.ipynb")
    run_id = desk.lived(old)
    with desk.opened(old) as run:
        run.begin_anew()
    new = old.rename(desk.folder / "b.ipynb")

    with desk.opened(new, lambda: Marks(run_id, IDS)) as run:
        assert run.run_id != run_id


def test_what_was_put_away_of_a_notebook_moves_with_it(desk: Desk) -> None:
    """A fresh run, a new name, another server: the run before is still the one to bring back."""
    old = desk.notebook("a.ipynb")
    before = desk.lived(old, kernel_id="k1")
    with desk.opened(old, kernel_id="k1") as run:
        run.begin_anew()
    desk.lived(old, kernel_id="k1")
    new = old.rename(desk.folder / "b.ipynb")

    with desk.opened(new, lambda: Marks(cell_ids=IDS), kernel_id="k2") as run:
        back = run.bring_back()

    assert back == before
