"""Whether two executions of one notebook say the same, cell by cell.

A cell is compared byte for byte as it stands in the file: source, id, tags, number, outputs. Two
things are not the cell's own and are left out: the time stamps that executors leave in
`metadata.execution`, and where a stream was cut into messages, which depends on timing in the
stock kernel too, so neighbouring pieces of the same stream are joined first.

Cells whose tags say that they show a clock or entropy are counted, not compared.

Pure but for `read_notebook`. Knows nothing of kernels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["VARYING_TAGS", "Comparison", "Difference", "compare", "read_notebook"]

VARYING_TAGS = frozenset({"clock", "entropy"})

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One field of one cell that is not the same. Values are canonical JSON."""

    cell: str
    field: str
    finished: str
    stock: str

    def excerpts(self, before: int = 30, behind: int = 90) -> tuple[str, str]:
        """Cut both values to the surroundings of the first character that differs."""
        pairs = zip(self.finished, self.stock, strict=False)
        shorter = min(len(self.finished), len(self.stock))
        first = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), shorter)
        start, end = max(0, first - before), first + behind
        return self.finished[start:end], self.stock[start:end]


@dataclass(frozen=True)
class Comparison:
    """Ids of the code cells that were compared and left out, and what differed in any cell."""

    compared: tuple[str, ...]
    left_out: tuple[str, ...]
    differences: tuple[Difference, ...]


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook file as plain JSON."""
    notebook: dict[str, Any] = json.loads(path.read_bytes())
    return notebook


def compare(finished: Mapping[str, Any], stock: Mapping[str, Any]) -> Comparison:
    """Compare two notebooks as plain JSON. A missing, added or moved cell is a difference too."""
    ours, theirs = finished["cells"], stock["cells"]
    our_ids, their_ids = [_id(cell) for cell in ours], [_id(cell) for cell in theirs]
    if our_ids != their_ids:
        order = Difference("(all)", "order", json.dumps(our_ids), json.dumps(their_ids))
        return Comparison((), (), (order,))
    differences: list[Difference] = []
    compared, left_out = [], []
    for our_cell, their_cell in zip(ours, theirs, strict=True):
        if VARYING_TAGS & set(their_cell["metadata"].get("tags", [])):
            left_out.append(_id(their_cell))
            continue
        if their_cell["cell_type"] == "code":
            compared.append(_id(their_cell))
        differences += _differences(our_cell, their_cell)
    return Comparison(tuple(compared), tuple(left_out), tuple(differences))


def _differences(ours: Cell, theirs: Cell) -> list[Difference]:
    found = []
    our_fields, their_fields = _fields(ours), _fields(theirs)
    for name in sorted(our_fields | their_fields):
        our_value, their_value = our_fields.get(name, ""), their_fields.get(name, "")
        if our_value != their_value:
            found.append(Difference(_id(theirs), name, our_value, their_value))
    return found


def _fields(cell: Cell) -> dict[str, str]:
    """Return the fields of a cell as canonical JSON, those of the executor left out."""
    fields = dict(cell)
    fields["metadata"] = {k: v for k, v in cell["metadata"].items() if k != "execution"}
    if "outputs" in fields:
        fields["outputs"] = _joined(fields["outputs"])
    return {name: json.dumps(_text(value), sort_keys=True) for name, value in fields.items()}


def _joined(outputs: Sequence[Cell]) -> list[dict[str, Any]]:
    """Join neighbouring pieces of one stream."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        piece = {k: _text(v) for k, v in output.items()}
        is_same_stream = (
            bool(joined)
            and piece["output_type"] == "stream"
            and joined[-1]["output_type"] == "stream"
            and joined[-1]["name"] == piece["name"]
        )
        if is_same_stream:
            joined[-1]["text"] += piece["text"]
        else:
            joined.append(piece)
    return joined


def _text(value: Any) -> Any:
    """Join what nbformat stores as a list of lines; leave everything else alone."""
    if isinstance(value, dict):
        return {k: _text(v) for k, v in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return "".join(value)
        return [_text(item) for item in value]
    return value


def _id(cell: Cell) -> str:
    return str(cell.get("id", "(no id)"))
