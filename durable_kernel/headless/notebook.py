"""A notebook file: read with clear errors, parameters injected, written whole or not at all."""

from __future__ import annotations

import glob
import keyword
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from durable_kernel.errors import UsageError
from durable_kernel.headless.parameters import python_literal
from durable_kernel.runtime import Marks

__all__ = [
    "check_writable",
    "clear_leftovers",
    "inject_parameters",
    "marks_of",
    "name_run",
    "read_notebook",
    "write_notebook",
]

_OURS = "durable"

_TAG = "parameters"
_MALFORMED = (
    nbformat.ValidationError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
_INJECTED = "injected-parameters"


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook as nbformat 4. Raises UsageError that says what is wrong with the file."""
    try:
        text = path.read_text("utf-8-sig")  # editors on Windows begin files with a BOM
        with _without_warnings():
            notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such notebook.") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: this is a folder, not a notebook.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None
    except _MALFORMED as error:
        first_line = str(error).partition("\n")[0][:200]
        raise UsageError(f"{path}: this is not a notebook ({first_line}).") from None
    # Nodes of versions before 4 are of another class, also once they are converted.
    converted = notebook if isinstance(notebook, NotebookNode) else _converted(notebook)
    for number, cell in enumerate(converted.cells):
        if reason := _why_not_a_cell(cell):
            raise UsageError(f"{path}: this is not a notebook (cell {number}: {reason}).")
    return converted


def check_writable(path: Path) -> None:
    """Check that `write_notebook` can begin: before a run does what can't be done twice.

    Raises UsageError.
    """
    if path.is_dir():
        raise UsageError(f"{path}: this is a folder; name a file for the outputs.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}.")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path}: the folder {path.parent} can't be written.")


def clear_leftovers(path: Path) -> None:
    """Remove what runners left beside this file that were killed while they wrote it.

    To be called by the one runner that is going to write it.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        with suppress(OSError):
            left.unlink()


def _why_not_a_cell(cell: Any) -> str:
    """Say what of a cell can't be executed or injected around; nbformat only warns of it."""
    source, metadata = cell.get("source"), cell.get("metadata")
    if not isinstance(source, str):
        return "its source is no text"
    if any("\ud800" <= letter <= "\udfff" for letter in source):
        return "its source has a lone surrogate, which can't be sent"
    if not isinstance(metadata, dict) or not isinstance(metadata.get("tags", []), list):
        return "its metadata or its tags are of another kind"
    return ""


def _converted(notebook: Any) -> NotebookNode:
    converted = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    assert isinstance(converted, NotebookNode)
    return converted


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Replace the file in one step (tmp, sync, rename); its mode is kept.

    A reader sees the old file or the new one.
    """
    with _without_warnings():
        text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        # A lone surrogate in an output (a name of a file) is written as the JSON escape that it is.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text if text.endswith("\n") else text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)  # noqa: PTH101 - a path as mkstemp gave it
        os.replace(name, path)  # noqa: PTH105 - as above
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def name_run(notebook: NotebookNode, run_id: str) -> None:
    """Let the metadata name the run whose outputs the notebook holds, as `durable.run_id`."""
    known = notebook.metadata.get(_OURS)
    notebook.metadata[_OURS] = {**(known if isinstance(known, dict) else {}), "run_id": run_id}


def marks_of(notebook: NotebookNode) -> Marks:
    """Read what a notebook says of itself: the run that it names, its cells' ids and sources."""
    ours = notebook.metadata.get(_OURS)
    named = ours.get("run_id") if isinstance(ours, dict) else None
    sources = (each.source.strip() for each in notebook.cells if each.cell_type == "code")
    ids = (each.get("id") for each in notebook.cells)
    return Marks(
        named if isinstance(named, str) and named else None,
        frozenset(each for each in ids if isinstance(each, str)),
        frozenset(each for each in sources if each),
    )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep off the terminal what nbformat says to its callers (missing and double ids of cells)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inject_parameters(notebook: NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Add a cell that assigns the parameters: behind the cell tagged "parameters", else at the top.

    A cell injected earlier is replaced. Same convention as papermill.
    """
    notebook.cells = [
        each for each in notebook.cells if _INJECTED not in each.metadata.get("tags", [])
    ]
    if not parameters:
        return
    for name in parameters:
        if not name.isidentifier():
            raise UsageError(f"-p {name}: this is no Python name.")
        if keyword.iskeyword(name):
            raise UsageError(f"-p {name}: this is a keyword of Python, nothing can be called so.")
    lines = [
        "# Parameters",
        *(f"{name} = {python_literal(name, value)}" for name, value in parameters.items()),
    ]
    cell = nbformat.v4.new_code_cell(  # type: ignore[no-untyped-call]
        "\n".join(lines), metadata={"tags": [_INJECTED]}, id="parameters"
    )
    tagged = [
        index for index, each in enumerate(notebook.cells) if _TAG in each.metadata.get("tags", [])
    ]
    notebook.cells.insert(tagged[0] + 1 if tagged else 0, cell)
