"""The notebook of a fork: a copy of the parent's file that names the fork in its metadata.

Outputs of cells that the fork does not share are taken away: it has not run them. A run whose
notebook is not there any more gets one that is made of its recorded cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from durable_kernel.history import Cell

__all__ = ["copied_notebook"]


def copied_notebook(
    path: str | None, cells: Sequence[Cell], run_id: str, parent: str, position: int
) -> dict[str, Any]:
    """Return the content of the notebook, as JSON has it. `cells` are those that are shared."""
    content = _read(path) or _made_of(cells)
    shared = _Shared(cells)
    for cell in content["cells"]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and not shared.has(cell):
            cell["outputs"], cell["execution_count"] = [], None
    metadata = content.setdefault("metadata", {})
    metadata["durable"] = {"run_id": run_id, "forked_from": parent, "forked_at": position}
    return content


class _Shared:
    """Tells a notebook's cell by its id, or else by its source."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._ids = {each.request.get("cell_id") for each in cells} - {None}
        self._sources = {each.source.strip() for each in cells}

    def has(self, cell: Mapping[str, Any]) -> bool:
        source = cell.get("source")
        text = "".join(source) if isinstance(source, list) else str(source)
        return text.strip() in self._sources or cell.get("id") in self._ids


def _read(path: str | None) -> dict[str, Any] | None:
    """Read a notebook of format 4; None where there is none, or another thing."""
    try:
        content = json.loads(Path(path or "").read_bytes())
        is_notebook = isinstance(content["cells"], list) and content.get("nbformat") == 4  # noqa: PLR2004 - the format's number
        is_notebook = is_notebook and isinstance(content.get("metadata", {}), dict)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return content if is_notebook else None


def _made_of(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": str(each.request.get("cell_id") or f"cell-{each.position}"),
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": each.source,
            }
            for each in cells
            if not each.kind
        ],
        "metadata": {
            "kernelspec": {
                "name": "durable",
                "display_name": "Python 3 (durable)",
                "language": "python",
            }
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
