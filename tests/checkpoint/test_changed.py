"""Changed names: what a cell finds when it begins is seen once, and then only where it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable_kernel.checkpoint.changed import Before


def test_a_look_that_goes_on_from_the_last_one_sees_what_a_first_look_sees() -> None:
    """Each cell looks; what was there before the last cell is not looked into again."""
    names: dict[str, Any] = {"_i1": "a", "x": 1, "Kind": type("Kind", (), {}), "y": []}
    changes: list[Callable[[], object]] = [
        lambda: names.update(_i2="b", z=[1]),
        lambda: names.update(x=type("Other", (), {})),
        lambda: names.update(Kind=None),
        lambda: names.pop("y"),
        lambda: names.update(y={}, Kind=type("Kind", (), {})),
    ]
    last = Before.of(names)
    for change in changes:
        change()
        last, first = Before.of(names, last), Before.of(names)

        assert last.addresses == first.addresses
        assert last.classes == first.classes
        assert "_i2" not in last.addresses
