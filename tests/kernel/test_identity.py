"""Which run a process stands for is read from its launcher, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from durable_kernel.kernel.identity import Identity, cell_folder, kernel_id_of, notebook_of

KERNEL_ID = "0b5a1c1e-2f3d-4c5b-8a9e-0f1e2d3c4b5a"


@pytest.mark.parametrize(
    "name",
    [
        "kernel-4711.json",
        "kernel-v3abcdef.json",
        "connection.json",
        "tmpab12cd.json",
        f"kernel-{KERNEL_ID}.json.tmp",
    ],
)
def test_only_a_file_named_by_a_server_holds_a_kernel_id(name: str) -> None:
    found = kernel_id_of(Path("/run") / name)

    assert found is None


def test_the_kernel_id_is_read_from_the_connection_file_s_name() -> None:
    found = kernel_id_of(Path(f"/run/kernel-{KERNEL_ID}.json"))

    assert found == KERNEL_ID


def test_an_absolute_session_name_is_the_notebook(tmp_path: Path) -> None:
    name = str(tmp_path / "fetch.ipynb")

    found = notebook_of(name, tmp_path)

    assert found == tmp_path / "fetch.ipynb"


def test_a_relative_session_name_is_looked_for_upwards(tmp_path: Path) -> None:
    """The server's root is unknown to the kernel, which runs in the notebook's folder."""
    notebook = tmp_path / "sub" / "fetch.ipynb"
    notebook.parent.mkdir()
    notebook.touch()

    found = notebook_of("sub/fetch.ipynb", notebook.parent)

    assert found == notebook


@pytest.mark.parametrize("name", ["", "missing.ipynb", "/somewhere/Console 1"])
def test_what_names_no_notebook_is_no_identity(name: str, tmp_path: Path) -> None:
    found = notebook_of(name, tmp_path)

    assert found is None


def test_an_inherited_session_name_is_not_believed(tmp_path: Path) -> None:
    """A kernel that a notebook starts has that notebook's variable, but not its session."""
    connection = tmp_path / f"kernel-{KERNEL_ID}.json"
    environ = {"JPY_SESSION_NAME": str(tmp_path / "outer.ipynb")}
    connection.write_text("{}")
    inherited = Identity.of(connection, environ, tmp_path)
    connection.write_text(json.dumps({"jupyter_session": "anything"}))
    own = Identity.of(connection, environ, tmp_path)

    assert inherited == Identity(None, KERNEL_ID)
    assert own == Identity(tmp_path / "outer.ipynb", KERNEL_ID)


def test_the_folder_of_a_cell_names_run_and_position_and_no_process() -> None:
    assert cell_folder("nightly", 7) == "/tmp/ipykernel_nightly-7"
