"""Identity: which notebook and which kernel a process stands for, as its launcher says (DESIGN §9).

Three names may be known: the run (`DURABLE_RUN`), the server's kernel id, the notebook's path.
None of them is guessed: a kernel without any gets an anonymous run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from durable_kernel.runtime import Told

__all__ = ["Identity", "cell_folder", "kernel_id_of", "notebook_of", "told_by"]

_KERNEL_FILE = re.compile(r"kernel-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the launcher told this process about itself."""

    notebook: Path | None = None
    kernel_id: str | None = None

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


def told_by(environ: Mapping[str, str]) -> Told:
    """Read what a launcher that saw the last process end says of it (our provisioner does)."""
    status = environ.get("DURABLE_PREV_EXIT", "")
    is_number = status.removeprefix("-").isdecimal()
    return Told(environ.get("DURABLE_REASON", ""), int(status) if is_number else None)


def cell_folder(run_id: str, position: int) -> str:
    """Name the folder that a cell's code seems to be in: the same in every process.

    It never exists. Tools recognise a notebook's code by its stock form, `/tmp/ipykernel_…/`.
    """
    return f"/tmp/ipykernel_{run_id}-{position}"  # noqa: S108 - a name, no file


def _names_session(connection_file: Path) -> bool:
    """Tell whether the launcher itself named a session.

    A kernel that is started from within a notebook inherits that notebook's JPY_SESSION_NAME; only
    a server writes the name into the connection file as well.
    """
    try:
        return bool(json.loads(connection_file.read_bytes()).get("jupyter_session"))
    except (OSError, ValueError):
        return False
