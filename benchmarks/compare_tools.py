"""The tools that are compared: what each is given, how it is started, whether it is there.

Each gets the pipeline as its own documentation would have it written, and is started by the command
that its users type. What a tool does is measured elsewhere; nothing here says how it fares.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nbformat
from packaging.requirements import Requirement

from benchmarks.steps import why_no_dbos

__all__ = ["PLAIN", "TOOLS", "Tool"]

_SOURCES = Path(__file__).with_name("compare")
_BIN = Path(sys.executable).parent
_PLAIN_SCRIPT = "pipeline.py"


@dataclass(frozen=True)
class Tool:
    """One tool. `command` is given in a folder that holds nothing but `given`."""

    name: str
    script: str
    given: str
    shown: str
    """Where a person looks: the notebook with outputs, or what the command prints."""
    command: tuple[str, ...]
    brings: tuple[str, ...] = ()
    """The distributions that somebody installs to use it."""
    resolve: tuple[str, ...] = ()
    """The command that settles an act in doubt; the answer's file is added. Most have no doubt."""

    def why_absent(self) -> str:
        """Say why it can't be measured here; empty if it can."""
        for name in self.brings:
            if not _is_installed(name):
                return f"not installed: {name} comes with the extra compare"
        return why_no_dbos() if "dbos" in self.brings else ""

    def prepare(self, folder: Path) -> None:
        """Write the pipeline into a new folder, as this tool takes it."""
        folder.mkdir(parents=True)
        source = (_SOURCES / self.script).read_text()
        if self.given.endswith(".py"):
            (folder / self.given).write_text(source)
            return
        # nbformat has types for some of its functions only.
        v4 = nbformat.v4
        cells = [v4.new_code_cell(each) for each in code_cells(source)]  # type: ignore[no-untyped-call]
        notebook = v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / self.given)  # type: ignore[no-untyped-call]

    def lines_changed(self) -> int:
        """Count the lines of the plain pipeline that were taken out, and those put in."""
        return lines_changed(
            (_SOURCES / _PLAIN_SCRIPT).read_text(), (_SOURCES / self.script).read_text()
        )

    def packages(self) -> int:
        """Count what installing it brings, itself and all that it requires here."""
        return len(required_by(self.brings))


def code_cells(source: str) -> list[str]:
    """Split a percent script; what stands before the first mark is no cell."""
    return [each.strip() for each in re.split(r"^# %%\n", source, flags=re.MULTILINE)[1:]]


def lines_changed(before: str, after: str) -> int:
    """Count lines taken out and put in. Indentation and empty lines don't count.

    What was only moved into a function has not been changed by anybody who thinks.
    """
    old, new = _lines(before), _lines(after)
    return sum(
        (old_end - old_start) + (new_end - new_start)
        for kind, old_start, old_end, new_start, new_end in SequenceMatcher(
            None, old, new, autojunk=False
        ).get_opcodes()
        if kind != "equal"
    )


def _lines(source: str) -> list[str]:
    text = "\n".join(code_cells(source))
    return [line.strip() for line in text.splitlines() if line.strip()]


def required_by(names: tuple[str, ...]) -> set[str]:
    """Collect these distributions and all that they require in this environment."""
    found: set[str] = set()
    waiting = deque(names)
    while waiting:
        name = _normal(waiting.popleft())
        if name in found or not _is_installed(name):
            continue
        found.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _papermill(notebook: str) -> tuple[str, ...]:
    return (
        *(str(_BIN / "papermill"), notebook, "done.ipynb"),
        *("--kernel", "python3", "--no-progress-bar"),
    )


PLAIN = Tool(
    name="plain script",
    script=_PLAIN_SCRIPT,
    given="pipeline.py",
    shown="said.txt",
    command=(sys.executable, "pipeline.py"),
)
"""The same without any tool; for the running time only."""

TOOLS = (
    Tool(
        name="stock + papermill",
        script=_PLAIN_SCRIPT,
        given="pipeline.ipynb",
        shown="done.ipynb",
        command=_papermill("pipeline.ipynb"),
        brings=("papermill", "ipykernel"),
    ),
    Tool(
        name="stock + joblib.Memory",
        script="pipeline_joblib.py",
        given="pipeline.ipynb",
        shown="done.ipynb",
        command=_papermill("pipeline.ipynb"),
        brings=("joblib", "papermill", "ipykernel"),
    ),
    Tool(
        name="DBOS",
        script="pipeline_dbos.py",
        given="pipeline_dbos.py",
        shown="said.txt",
        command=(sys.executable, "pipeline_dbos.py"),
        brings=("dbos",),
    ),
    Tool(
        name="durable",
        script=_PLAIN_SCRIPT,
        given="pipeline.ipynb",
        shown="done.ipynb",
        command=(str(_BIN / "durable"), "run", "pipeline.ipynb", "-o", "done.ipynb"),
        brings=("durable-kernel",),
        resolve=(str(_BIN / "durable"), "resolve", "pipeline.ipynb", "--answer"),
    ),
)
