"""The object codec: what a step returned comes back as a value of the notebook's own classes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from durable_kernel.checkpoint.objects import load_object, store_object
from durable_kernel.errors import OutcomeNotStorableError

_CELL = """
class Point:
    class Unit: ...

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and other.x == self.x
"""


def _run_cell(monkeypatch: pytest.MonkeyPatch, source: str = _CELL) -> Any:
    """Execute a cell in the module of cells. Returns the class that it defines."""
    cells = sys.modules["__main__"]
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    monkeypatch.setattr(cells, "Point", names["Point"], raising=False)
    return names["Point"]


def test_a_value_of_a_cells_class_is_of_the_class_that_replay_defined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H19: by value alone it would be of a twin, and `isinstance` and `==` would say no."""
    recorded = _run_cell(monkeypatch)
    stored = store_object({"points": [recorded(3)], "kind": recorded.Unit()})

    replayed = _run_cell(monkeypatch)
    loaded: Any = load_object(stored)

    assert type(loaded["points"][0]) is replayed
    assert loaded["points"] == [replayed(3)]
    assert type(loaded["kind"]) is replayed.Unit


def test_a_class_that_no_cell_defines_any_more_comes_as_it_was_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = store_object(_run_cell(monkeypatch)(3))

    monkeypatch.delattr(sys.modules["__main__"], "Point")

    loaded: Any = load_object(stored)
    assert loaded.x == 3


def test_a_class_whose_name_means_another_one_by_now_is_carried_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shadowed = _run_cell(monkeypatch)
    shown = _run_cell(monkeypatch)

    loaded: Any = load_object(store_object(shadowed(3)))

    assert type(loaded) is not shown
    assert loaded.x == 3


def test_what_nothing_can_carry_is_an_error_of_ours() -> None:
    with pytest.raises(OutcomeNotStorableError, match="generator"):
        store_object(iter(each for each in "ab"))
