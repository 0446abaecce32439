"""Identity: which notebook and which kernel a process stands for, as its launcher says (DESIGN §9).

Strongest first: the run (`DURABLE_RUN`), the server's kernel id, a run named in the notebook's
metadata, the notebook's path. None is guessed: a kernel without any gets an anonymous run.

VS Code names the notebook only after the start, in a variable, by a request that is no cell. Such a
kernel waits with its run for the first cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from durable_kernel.runtime import Marks, Told

__all__ = [
    "LATE_NAME",
    "Identity",
    "cell_folder",
    "kernel_id_of",
    "late_notebook",
    "marks_of",
    "may_be_named_late",
    "notebook_of",
    "told_by",
]

LATE_NAME = "__vsc_ipynb_file__"
_VS_CODE_VARIABLES = ("VSCODE_PID", "VSCODE_IPC_HOOK", "VSCODE_CWD")
_NOTEBOOK_BYTES_MAX = 64 << 20
_KERNEL_FILE = re.compile(r"kernel-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the launcher told this process about itself."""

    notebook: Path | None = None
    kernel_id: str | None = None

    @property
    def is_known(self) -> bool:
        return self.notebook is not None or self.kernel_id is not None

    def or_named_late(self, namespace: Mapping[str, Any]) -> Self:
        """Return the identity with the notebook that VS Code named, if nothing else is known."""
        if self.is_known:
            return self
        return replace(self, notebook=late_notebook(namespace.get(LATE_NAME)))

    def read_marks(self) -> Marks:
        """Read what the notebook's file says of itself; nothing, if it can't be read as one."""
        return Marks() if self.notebook is None else marks_of(self.notebook)

    @classmethod
    def of(cls, connection_file: Path, environ: Mapping[str, str], cwd: Path) -> Self:
        """Read the identity from the connection file and the environment."""
        notebook = notebook_of(environ.get("JPY_SESSION_NAME", ""), cwd)
        if not _names_session(connection_file):
            notebook = None
        return cls(notebook, kernel_id_of(connection_file))


def kernel_id_of(connection_file: Path) -> str | None:
    """Read the server's kernel id from the file's name; None for names that say something else.

    VS Code, nbclient and jupyter console use other names: those are new at each start, and no key.
    """
    match = _KERNEL_FILE.fullmatch(connection_file.name)
    return match.group(1) if match else None


def notebook_of(session_name: str, cwd: Path) -> Path | None:
    """Find the notebook that a session name means: absolute, or relative to the server's root.

    The kernel runs in the notebook's folder, so a relative name is looked for upwards from `cwd`.
    """
    if not session_name:
        return None
    name = Path(session_name)
    if name.is_absolute():
        return name if name.suffix == ".ipynb" or name.is_file() else None
    for folder in (cwd, *cwd.parents):
        if (folder / name).is_file():
            return folder / name
    return None


def may_be_named_late(connection_file: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether it was VS Code that started this process, which then knows no notebook yet."""
    has_its_file = connection_file.name.startswith("kernel-v3")
    return has_its_file or any(name in environ for name in _VS_CODE_VARIABLES)


def late_notebook(named: object) -> Path | None:
    """Read the variable that VS Code sets: the path of a notebook that is on disk, or nothing."""
    if not isinstance(named, str) or "\0" in named:
        return None
    path = Path(named)
    is_notebook = path.is_absolute() and path.suffix == ".ipynb"
    return path if is_notebook and path.is_file() else None


def marks_of(notebook: Path) -> Marks:
    """Read run, cell ids and sources from a notebook's file; whatever is malformed is left out."""
    try:
        if notebook.stat().st_size > _NOTEBOOK_BYTES_MAX:
            return Marks()
        content = json.loads(notebook.read_bytes())
    except (OSError, ValueError, RecursionError):
        return Marks()
    cells = [each for each in _listed(content, "cells") if isinstance(each, dict)]
    ids = (each.get("id") for each in cells)
    sources = (_source_of(each) for each in cells if each.get("cell_type") == "code")
    return Marks(
        _run_named_in(content),
        frozenset(each for each in ids if isinstance(each, str)),
        frozenset(each for each in sources if each),
    )


def _listed(content: Any, name: str) -> list[Any]:
    found = content.get(name) if isinstance(content, dict) else None
    return found if isinstance(found, list) else []


def _source_of(cell: Mapping[str, Any]) -> str:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(each, str) for each in source):
        source = "".join(source)
    return source.strip() if isinstance(source, str) else ""


def _run_named_in(content: Any) -> str | None:
    metadata = content.get("metadata") if isinstance(content, dict) else None
    ours = metadata.get("durable") if isinstance(metadata, dict) else None
    named = ours.get("run_id") if isinstance(ours, dict) else None
    return named if isinstance(named, str) and named else None


def told_by(environ: Mapping[str, str]) -> Told:
    """Read what a launcher that saw the last process end says of it (our provisioner does)."""
    status = environ.get("DURABLE_PREV_EXIT", "")
    is_number = status.removeprefix("-").isdecimal()
    return Told(environ.get("DURABLE_REASON", ""), int(status) if is_number else None)


def cell_folder(run_id: str) -> str:
    """Name the folder that the code of a run's cells seems to be in: the same in every process.

    It exists only where somebody debugs. Tools recognise a notebook's code by its stock form,
    `/tmp/ipykernel_…/`.
    """
    return f"/tmp/ipykernel_{run_id}"  # noqa: S108 - a name; `debugging` looks whose folder it is


def _names_session(connection_file: Path) -> bool:
    """Tell whether the launcher itself named a session.

    A kernel that is started from within a notebook inherits that notebook's JPY_SESSION_NAME; only
    a server writes the name into the connection file as well.
    """
    try:
        return bool(json.loads(connection_file.read_bytes()).get("jupyter_session"))
    except (OSError, ValueError):
        return False
