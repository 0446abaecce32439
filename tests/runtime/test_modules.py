"""Project modules and scripts: their source is an input of the cell that loads them (H25)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.effects.modules import is_project_file
from durable_kernel.errors import BranchRefusedError
from durable_kernel.history import Loaded
from tests.runtime.notebooks import Notebook, Session

OLD = "def answer():\n    return 'old'\n"
NEW = "def answer():\n    return 'new and longer'\n"


class Project:
    """A folder of modules that cells import; every session begins without any of them loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, name: str, source: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        importlib.invalidate_caches()
        return path

    def forget(self) -> None:
        """Let all of it be imported again, as in another process."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    sys.path.insert(0, str(made.folder))
    yield made
    made.forget()
    sys.path.remove(str(made.folder))


def _loads(session: Session) -> list[tuple[int, str]]:
    positions = session.run.read_outline().positions
    return [(each.position, name) for each in positions for name, _, _ in each.loads]


def test_an_edited_module_is_replayed_as_it_was_and_one_sentence_says_so(
    notebook: Notebook, project: Project
) -> None:
    """H25: cells before the crash never run with the code from after it."""
    project.write("utils_e.py", OLD)
    notebook.lived("import utils_e", "seen = utils_e.answer()")
    project.forget()
    project.write("utils_e.py", NEW)

    again = notebook.replayed()
    notices = again.run.take_notices()

    assert again.namespace["seen"] == "old"
    assert again.namespace["utils_e"].answer() == "old"
    assert len(notices) == 1
    assert notices[0].startswith("changed since a cell loaded it: utils_e (cell 0).")
    assert again.run.take_notices() == []


def test_an_unchanged_module_is_not_mentioned(notebook: Notebook, project: Project) -> None:
    project.write("utils_e.py", OLD)
    notebook.lived("import utils_e", "seen = utils_e.answer()")
    project.forget()

    again = notebook.replayed()

    assert again.run.take_notices() == []
    assert _loads(again) == [(0, "utils_e")]


def test_a_module_that_is_gone_is_loaded_from_the_journal(
    notebook: Notebook, project: Project
) -> None:
    package = project.write("pkg_e/__init__.py", "from pkg_e.inner import x\n")
    inner = project.write("pkg_e/inner.py", "x = 7\n")
    notebook.lived("import pkg_e; x = pkg_e.x")
    project.forget()
    inner.unlink()
    package.unlink()

    again = notebook.replayed()

    assert again.namespace["x"] == 7


def test_a_reload_is_an_input_of_its_own(notebook: Notebook, project: Project) -> None:
    path = project.write("utils_e.py", OLD)
    notebook.names = {"path": path, "NEW": NEW}
    with notebook.session() as session:
        session.execute("import utils_e, importlib; first = utils_e.answer()")
        project.write("utils_e.py", NEW)
        session.execute("importlib.reload(utils_e); second = utils_e.answer()")
    project.forget()

    again = notebook.replayed()

    assert [again.namespace[name] for name in ("first", "second")] == ["old", "new and longer"]
    assert _loads(again) == [(0, "utils_e"), (1, "utils_e")]
    assert again.run.take_notices() == []


def test_a_script_of_runpy_is_an_input(notebook: Notebook, project: Project) -> None:
    path = project.write("script_e.py", "result = 'old'\n")
    notebook.names = {"path": str(path)}
    notebook.lived("import runpy; result = runpy.run_path(path)['result']")
    project.write("script_e.py", "result = 'new'\n")

    again = notebook.replayed()

    assert again.namespace["result"] == "old"
    assert "changed since a cell loaded it: " in again.run.take_notices()[0]


def test_a_module_that_an_interrupted_cell_loaded_stays_what_it_was(
    notebook: Notebook, project: Project
) -> None:
    """H25: what the cell did before the crash rests on it."""
    project.write("utils_e.py", OLD)
    notebook.died("import utils_e; service.ask('a'); die(); seen = utils_e.answer()")
    project.forget()
    project.write("utils_e.py", NEW)

    again = notebook.replayed()

    assert again.namespace["seen"] == "old"
    assert notebook.service.requests == ["a"]


def test_headless_an_edited_module_is_an_edit_of_the_cell_that_loaded_it(
    notebook: Notebook, project: Project
) -> None:
    """H25 and §10: what the cells asked before is reused, with the new code."""
    project.write("utils_e.py", OLD)
    cells = ("x = 1", "import utils_e", "got = service.look('a') + utils_e.answer()")
    notebook.matched(*cells)
    project.forget()
    project.write("utils_e.py", NEW)

    again = notebook.matched(*cells)

    assert again.namespace["got"] == "a: donenew and longer"
    assert notebook.service.requests == ["a"]
    (branch,) = again.run.read_outline().branches
    assert (branch.position, branch.reason) == (1, "utils_e was edited")


def test_headless_acts_behind_an_edited_module_are_not_left_behind_unasked(
    notebook: Notebook, project: Project
) -> None:
    """H14: the refusal names the act."""
    project.write("utils_e.py", OLD)
    cells = ("import utils_e", "got = service.ask('a')", "1")
    notebook.matched(*cells)
    project.forget()
    project.write("utils_e.py", NEW)

    with pytest.raises(BranchRefusedError, match=r"ask a \(cell 1\)\. utils_e was edited"):
        notebook.matched(*cells)


def test_headless_a_module_that_was_reloaded_since_is_not_edited(
    notebook: Notebook, project: Project
) -> None:
    path = project.write("utils_e.py", OLD)
    notebook.names = {"path": path, "NEW": NEW}
    cells = ("import utils_e, importlib", "importlib.reload(utils_e)")
    with notebook.session() as session:
        session.match(cells[0])
        project.write("utils_e.py", NEW)
        session.match(cells[1])
    project.forget()

    again = notebook.matched(*cells)

    assert again.run.read_outline().branches == []


def test_a_failed_cell_is_run_again_with_the_mended_module(
    notebook: Notebook, project: Project
) -> None:
    """A parse bug in a helper at page 8,311: fix it, and go on."""
    project.write("utils_e.py", "def parse(text):\n    return 1 / 0\n")
    cell = "import utils_e\npages = service.look('page')\nutils_e.parse(pages)"
    notebook.matched("x = 1", cell)
    project.forget()
    project.write("utils_e.py", "def parse(text):\n    return text\n")

    again = notebook.matched("x = 1", cell)

    assert again.status == "ok"
    assert notebook.service.requests == ["page"]


def test_a_registered_secret_in_a_module_is_encrypted(
    notebook: Notebook, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H18: the source is kept, and its secret is not in clear in any byte."""
    monkeypatch.setenv("SERVICE_API_KEY", "sk-4711-very-secret-value")
    project.write("utils_e.py", "KEY = 'sk-4711-very-secret-value'\n")
    project.write("large_e.py", "KEY = 'sk-4711-very-secret-value'\n" + "x = 1\n" * 20_000)
    notebook.lived("import utils_e, large_e; n = len(utils_e.KEY + large_e.KEY)")
    project.forget()
    for name in ("utils_e.py", "large_e.py"):
        project.write(name, "KEY = ''\n")

    again = notebook.replayed()

    assert b"very-secret" not in notebook.all_bytes()
    assert again.namespace["n"] == 50


def test_a_large_source_is_a_compressed_blob(notebook: Notebook, project: Project) -> None:
    project.write("large_e.py", "x = 1\n" * 20_000)
    notebook.lived("import large_e")
    project.forget()
    project.write("large_e.py", "x = 2\n")

    again = notebook.replayed()

    blobs = [each for each in (notebook.folder / "blobs").rglob("*") if each.is_file()]
    assert again.namespace["large_e"].x == 1
    assert [each.stat().st_size < 2_000 for each in blobs] == [True]


def test_a_tool_that_imports_is_kept_as_an_input(notebook: Notebook, project: Project) -> None:
    """H25, H38: a module may register itself somewhere though no name is bound."""
    project.write("plugin_e.py", "import sys\nsys.plugin_e = 'loaded'\n")
    with notebook.session() as session:
        kept = session.driver.beside("__import__('plugin_e')")
    project.forget()
    del sys.plugin_e  # type: ignore[attr-defined]

    notebook.replayed()

    assert kept
    assert sys.plugin_e == "loaded"  # type: ignore[attr-defined]
    del sys.plugin_e  # type: ignore[attr-defined]


def test_code_of_this_python_and_of_packages_is_no_project_code(tmp_path: Path) -> None:
    assert not is_project_file(os.__file__)
    assert not is_project_file(pytest.__file__)
    assert not is_project_file("<frozen zipimport>")
    assert not is_project_file(None)
    assert is_project_file(str(tmp_path / "utils.py"))
    assert is_project_file("utils.py")


def test_installed_packages_leave_no_record(notebook: Notebook) -> None:
    sys.modules.pop("this", None)

    notebook.lived("import colorsys, importlib; importlib.reload(colorsys)")

    with notebook.session() as session:
        history = session.run.next_recorded()
        assert history is not None
        assert not any(isinstance(each, Loaded) for each in history.loads)


def test_threads_may_import_in_any_order(notebook: Notebook, project: Project) -> None:
    """H25: which thread comes first is no decision of the notebook."""
    for name in ("one_e", "two_e", "both_e"):
        project.write(f"{name}.py", f"import time; name = '{name}'; moment = time.time()\n")
    cell = (
        "import importlib\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "wanted = ['one_e', 'both_e', 'two_e', 'both_e']\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    got = [each.name for each in pool.map(importlib.import_module, wanted)]\n"
    )
    notebook.lived(cell, "service.ask('a')")
    project.forget()
    for name in ("one_e", "two_e", "both_e"):
        project.write(f"{name}.py", "name = 'edited'\n")

    again = notebook.replayed()

    assert again.namespace["got"] == ["one_e", "both_e", "two_e", "both_e"]
    assert notebook.service.requests == ["a"]


def test_a_module_that_does_something_is_answered_as_its_cell_is(
    notebook: Notebook, project: Project
) -> None:
    """What a module does while it is imported is its cell's: a call at its top is not repeated."""
    project.write("acting_e.py", "import builtins\nanswer = builtins.service_e.ask('a')\n")
    cell = "import builtins; builtins.service_e = service; import acting_e"
    notebook.lived(cell)
    project.forget()

    again = notebook.replayed()

    assert again.namespace["acting_e"].answer == "a: done"
    assert notebook.service.requests == ["a"]


def test_a_reload_that_is_not_recorded_brings_no_new_code_into_replay(
    notebook: Notebook, project: Project
) -> None:
    """H25: whatever made the cell reload, what it gets is of then."""
    project.write("utils_e.py", OLD)
    notebook.names = {"again": False}
    notebook.lived(
        "import utils_e, importlib",
        "importlib.reload(utils_e) if again else None; seen = utils_e.answer()",
    )
    project.forget()
    project.write("utils_e.py", NEW)
    notebook.names = {"again": True}

    replayed = notebook.replayed()

    assert replayed.namespace["seen"] == "old"


def test_a_forked_child_imports_without_the_journal(notebook: Notebook, project: Project) -> None:
    """The journal has one writer."""
    project.write("utils_e.py", OLD)

    live = notebook.lived(
        "import os\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    import utils_e\n"
        "    os._exit(len(utils_e.answer()))\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
    )

    assert live.namespace["status"] == len("old")
    assert _loads(live) == []
