"""The backlog: what waits behind a cell tells whether somebody runs a notebook from its top."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from durable_kernel.history import Cell, PositionOutline
from durable_kernel.kernel.backlog import Waiting
from durable_kernel.kernel.from_the_top import FromTheTop
from durable_kernel.kernel.performing import Asked


class _Arriving:
    """A backlog that gets one cell more each time it is looked at."""

    def __init__(self, *cells: Waiting) -> None:
        self._cells, self._there = cells, 0

    @property
    def count(self) -> int:
        self._there = min(self._there + 1, len(self._cells))
        return self._there

    def cells(self) -> list[Waiting]:
        return list(self._cells[: self._there])


def test_run_all_is_recognised_by_all_that_waits_and_not_by_what_came_first() -> None:
    """H13: what the first cell differs from may be far behind, and on its way."""
    recorded = PositionOutline(0, Cell(position=0, source="c", wall_ns=0, request={"cell_id": "c"}))
    backlog = _Arriving(Waiting("b", "b"), Waiting("c", "c"))
    compared = FromTheTop(cast("Any", SimpleNamespace(backlog=backlog)))

    goes_on = asyncio.run(compared._goes_on(recorded, Asked("a", cell_id="a")))

    assert goes_on
