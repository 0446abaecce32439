"""A notebook file: read with clear errors, parameters injected, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from durable_kernel.errors import UsageError
from durable_kernel.headless.notebook import (
    check_writable,
    inject_parameters,
    read_notebook,
    write_notebook,
)


def _notebook(*cells: Any) -> Any:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = list(cells)
    return notebook


def _code(source: str, *tags: str) -> Any:
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def _sources(notebook: Any) -> list[str]:
    return [each.source for each in notebook.cells]


def test_a_written_notebook_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "work.ipynb"
    write_notebook(_notebook(_code("x = 1")), path)

    assert _sources(read_notebook(path)) == ["x = 1"]
    assert path.read_text().endswith("}\n")


def test_a_notebook_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.ipynb"
    write_notebook(_notebook(_code("x = 1")), path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert _sources(read_notebook(path)) == ["x = 1"]


def test_what_nbformat_warns_of_is_not_told(tmp_path: Path) -> None:
    """Cells without ids, or two with the same: warnings are errors in these tests."""
    path = tmp_path / "old.ipynb"
    one, other, third = _code("1"), _code("2"), _code("3")
    other.id = one.id
    del third["id"]
    path.write_text(json.dumps(_notebook(one, other, third)))

    notebook = read_notebook(path)
    write_notebook(notebook, path)

    assert _sources(read_notebook(path)) == ["1", "2", "3"]


def _one_cell(rest: str) -> str:
    fixed = '"cell_type": "code", "outputs": [], "execution_count": null, "id": "a", '
    head = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{'
    return head + fixed + rest[1:] + "]}"


UNREADABLE: dict[str, tuple[str | None, str]] = {
    "missing": (None, "there is no such notebook"),
    "empty": ("", "this is not a notebook"),
    "no json": ("# a script\nprint(1)\n", "this is not a notebook"),
    "other json": ('{"a": 1}', "this is not a notebook"),
    "a list": ("[1, 2]", "this is not a notebook"),
    "a version of the future": (
        '{"nbformat": 99, "nbformat_minor": 0}',
        "this is not a notebook .Unsupported nbformat version 99",
    ),
    "more brackets than Python reads": ("[" * 100_000, "this is not a notebook"),
    "a source that is no text": (_one_cell('{"source": 5, "metadata": {}}'), "cell 0: its source"),
    "a source that can't be sent": (
        _one_cell(r'{"source": "x = \"\ud800\"", "metadata": {}}'),
        "cell 0: its source has a lone surrogate",
    ),
    "tags that are no list": (
        _one_cell('{"source": "1", "metadata": {"tags": 5}}'),
        "cell 0: its metadata or its tags",
    ),
    "cells that are no list": (
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
        "this is not a notebook",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_notebook_is_refused_in_one_sentence(
    tmp_path: Path, content: str | None, sentence: str
) -> None:
    path = tmp_path / "work.ipynb"
    if content is not None:
        path.write_text(content)

    with pytest.raises(UsageError, match=sentence) as refused:
        read_notebook(path)

    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "work.ipynb"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UsageError, match="cannot be read"):
        read_notebook(path)


def test_a_folder_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is a folder"):
        read_notebook(tmp_path)


def test_an_older_notebook_is_read_as_version_four(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cell = {"cell_type": "code", "input": "x = 1", "outputs": [], "language": "python"}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell]}]}
    path.write_text(json.dumps(old))

    assert _sources(read_notebook(path)) == ["x = 1"]


def test_writing_keeps_the_mode_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "work.ipynb"
    write_notebook(_notebook(), path)
    path.chmod(0o640)

    write_notebook(_notebook(_code("x = 1")), path)

    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_notebook_that_cannot_be_written_leaves_nothing_beside(tmp_path: Path) -> None:
    """A reader sees the old file or the new one, and never a half."""
    path = tmp_path / "work.ipynb"
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        write_notebook(_notebook(_code("x = 2")), path)

    assert list(tmp_path.iterdir()) == [path]


def test_a_lone_surrogate_in_an_output_is_written(tmp_path: Path) -> None:
    """Names of files that are no UTF-8 look like that; the run must not end over one."""
    path = tmp_path / "work.ipynb"
    cell = _code("print(name)")
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="na\udce9ve\n")]

    write_notebook(_notebook(cell), path)

    assert read_notebook(path).cells[0].outputs[0].text == "na\udce9ve\n"


def test_parameters_stand_behind_the_tagged_cell(tmp_path: Path) -> None:
    """As papermill has it: the notebook's defaults come first and are overridden."""
    notebook = _notebook(_code("import os"), _code("day = 0", "parameters"), _code("print(day)"))

    inject_parameters(notebook, {"day": 3, "name": "it's"})

    assert _sources(notebook)[2] == '# Parameters\nday = 3\nname = "it\'s"'
    assert notebook.cells[2].metadata.tags == ["injected-parameters"]
    nbformat.validate(notebook)


def test_parameters_stand_at_the_top_without_a_tagged_cell() -> None:
    notebook = _notebook(_code("print(day)"))

    inject_parameters(notebook, {"day": 3})

    assert _sources(notebook) == ["# Parameters\nday = 3", "print(day)"]


def test_injected_parameters_are_replaced_and_not_piled_up() -> None:
    """The output of one run is the input of the next."""
    notebook = _notebook(_code("print(day)"))
    inject_parameters(notebook, {"day": 3})

    inject_parameters(notebook, {"day": 4})

    assert _sources(notebook) == ["# Parameters\nday = 4", "print(day)"]


def test_the_injected_cell_is_the_same_each_time() -> None:
    """Its id too: the resumed run compares cells."""
    one, two = _notebook(), _notebook()
    inject_parameters(one, {"a": 1})
    inject_parameters(two, {"a": 1})

    assert one.cells == two.cells


def test_a_parameter_that_is_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="-p 3day: this is no Python name"):
        inject_parameters(_notebook(), {"3day": 1})


@pytest.mark.parametrize("name", ["class", "None", "await"])
def test_a_parameter_that_is_a_keyword_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"-p {name}: this is a keyword of Python"):
        inject_parameters(_notebook(), {name: 3})


def test_no_parameters_leave_the_notebook_as_it_is() -> None:
    notebook = _notebook(_code("x = 1"))

    inject_parameters(notebook, {})

    assert _sources(notebook) == ["x = 1"]


@pytest.mark.parametrize(
    ("output", "sentence"), [("", "this is a folder"), ("none/out.ipynb", "there is no folder")]
)
def test_a_place_for_outputs_is_refused_before_anything_runs(
    tmp_path: Path, output: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_writable(tmp_path / output)
