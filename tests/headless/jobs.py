"""Jobs: a notebook of some cells, the request to run it, and what its run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from durable_kernel.headless import RunRequest
from durable_kernel.history import Outline

__all__ = ["Told", "request_of"]


class Told:
    """Collects what a run says."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def start(self, cells: int) -> None: ...

    def cell(self, done: int, outline: Outline) -> None: ...


def request_of(
    folder: Path, *sources: str, tags: tuple[str, ...] = (), output: str | None = None
) -> RunRequest:
    """Write a notebook of these cells; return the request to run it, in a store of its own."""
    new: Any = nbformat.v4
    cells = [
        new.new_code_cell(source, id=f"c{index}", metadata={"tags": list(tags)})
        for index, source in enumerate(sources)
    ]
    path = folder / "n.ipynb"
    path.write_text(nbformat.writes(new.new_notebook(cells=cells)))
    return RunRequest(path, output=folder / output if output else None, home=folder / "home")
