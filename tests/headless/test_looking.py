"""Looking into the past: the values of then, and nothing done meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from durable_kernel.errors import UsageError
from durable_kernel.headless.looking import look_at
from durable_kernel.store import Store
from tests.runtime.notebooks import RUN_ID, Notebook

pytestmark = pytest.mark.slow

CELLS = (
    "import os\nx = [1, 2]\ntoken = os.urandom(4).hex()",
    "x.append(3)\ny = 'text'",
    "x.clear()\nz = 1",
)


@pytest.fixture
def notebook() -> Notebook:
    notebook = Notebook(Path(os.environ["DURABLE_HOME"]))
    notebook.lived(*CELLS)
    return notebook


def test_an_expression_has_the_value_of_then(notebook: Notebook) -> None:
    store = Store(notebook.home)
    before = notebook.journal_bytes()

    look = look_at(store, store.get(RUN_ID), 1, ["x", "token", "z", "1 / 0"])

    texts = [each.text for each in look.values]
    assert texts[0] == "[1, 2, 3]"
    assert texts[1].strip("'") == notebook.replayed().namespace["token"]
    assert look.values[2].error == "NameError: name 'z' is not defined"
    assert look.values[3].error == "ZeroDivisionError: division by zero"
    assert notebook.journal_bytes().startswith(before)


def test_without_an_expression_the_names_are_listed(notebook: Notebook) -> None:
    store = Store(notebook.home)

    look = look_at(store, store.get(RUN_ID), 0, [])

    names = {each.name: (each.type, each.shown) for each in look.names}
    assert set(names) == {"x", "token"}
    assert names["x"] == ("list", "[1, 2]")


def test_an_expression_can_do_nothing(notebook: Notebook, tmp_path: Path) -> None:
    """Rule 9: behind the last recorded position the world stays closed."""
    path = tmp_path / "written.txt"
    store = Store(notebook.home)

    look = look_at(store, store.get(RUN_ID), 1, ["x", f"open({str(path)!r}, 'w')", "y"])

    assert [each.text for each in look.values] == ["[1, 2, 3]", "", ""]
    assert "looking into the past does nothing" in look.values[1].error
    assert "before this one tried" in look.values[2].error
    assert not path.exists()


def test_nothing_is_left_of_a_look(notebook: Notebook) -> None:
    store = Store(notebook.home)

    look_at(store, store.get(RUN_ID), 0, ["x"])

    assert [each.run_id for each in store.all()] == [RUN_ID]
    assert list((notebook.home / "looks").iterdir()) == []


@pytest.mark.parametrize(
    ("position", "expression", "found"),
    [
        (3, "x", "no cell 3: the run has the cells 0 to 2"),
        (-1, "x", "no cell -1"),
        (0, "x = 1", "no expression"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    notebook: Notebook, position: int, expression: str, found: str
) -> None:
    store = Store(notebook.home)

    with pytest.raises(UsageError, match=found):
        look_at(store, store.get(RUN_ID), position, [expression])
