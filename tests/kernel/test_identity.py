"""Which run a process stands for is read from its launcher, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from durable_kernel.kernel.identity import (
    LATE_NAME,
    Identity,
    cell_folder,
    kernel_id_of,
    late_notebook,
    marks_of,
    may_be_named_late,
    notebook_of,
    told_by,
)
from durable_kernel.runtime import Marks, Told

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


def test_the_folder_of_a_cell_names_the_run_and_no_process() -> None:
    assert cell_folder("nightly") == "/tmp/ipykernel_nightly"


@pytest.mark.parametrize(
    ("name", "environ", "expected"),
    [
        ("kernel-v3a1b2c3.json", {}, True),
        ("connection.json", {"VSCODE_PID": "7"}, True),
        ("connection.json", {}, False),
        ("kernel-4711.json", {}, False),
    ],
)
def test_only_a_kernel_of_vs_code_waits_for_its_notebook(
    name: str, environ: dict[str, str], *, expected: bool
) -> None:
    assert may_be_named_late(Path("/run") / name, environ) is expected


@pytest.mark.parametrize(
    "named",
    [None, 7, "", "Untitled-1.ipynb", "/no/such.ipynb", "/etc/hostname", "a\0.ipynb"],
)
def test_what_is_no_notebook_on_disk_is_no_late_name(named: object) -> None:
    assert late_notebook(named) is None


def test_a_late_name_does_not_replace_what_the_launcher_said(tmp_path: Path) -> None:
    late = tmp_path / "late.ipynb"
    late.touch()
    namespace = {LATE_NAME: str(late)}

    assert Identity().or_named_late(namespace) == Identity(late)
    assert Identity(kernel_id=KERNEL_ID).or_named_late(namespace).notebook is None


def test_a_notebook_s_marks_are_its_run_its_cell_ids_and_its_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    cells = [
        {"id": "one", "cell_type": "code", "source": ["x = 1\n", "y = 2\n"]},
        {"id": "two", "cell_type": "markdown", "source": "text"},
        {"cell_type": "code", "source": " "},
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {"durable": {"run_id": "nightly"}}}))

    found = marks_of(path)

    assert found == Marks("nightly", frozenset({"one", "two"}), frozenset({"x = 1\ny = 2"}))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"cells": {}}', '{"cells": [1, {"id": 2, "source": 3}], "metadata": []}']
    + [f'{{"metadata": {{"durable": {each}}}}}' for each in ("1", '{"run_id": ""}', "null")],
)
def test_a_malformed_notebook_has_no_marks(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(content)

    assert marks_of(path) == Marks()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Told()),
        ({"DURABLE_REASON": "crash", "DURABLE_PREV_EXIT": "-9"}, Told("crash", -9)),
        ({"DURABLE_PREV_EXIT": "none"}, Told()),
    ],
)
def test_what_a_launcher_tells_is_read(environ: dict[str, str], expected: Told) -> None:
    assert told_by(environ) == expected
