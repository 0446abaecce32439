"""A cell run twice: live, then from what the first session recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from durable_kernel.ports import CURRENT_LANE, entered
from durable_kernel.testing.fake_port import FakeJournal, FakePort


def run(cell: Callable[[], Any], recorded: FakeJournal | None = None) -> tuple[Any, FakePort]:
    """Run a function as a cell. Returns what it returned, and the port that it ran on."""
    port = FakePort(recorded)
    with port.cell():
        found = cell()
    return found, port


def replayed_equal(cell: Callable[[], Any]) -> FakePort:
    """Run a cell live and then from its journal; both must return the same. Returns the journal."""
    first, live = run(cell)

    second, again = run(cell, live.journal())

    assert second == first
    assert again.is_live
    return live


def awaited(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Await a coroutine as a kernel does: in the cell's own lane, in a loop that is no cell's."""
    lane = CURRENT_LANE.get()
    if lane is None:
        return asyncio.run(make())

    async def main() -> Any:
        with entered(lane):
            lane.loop, lane.root_task = asyncio.get_running_loop(), asyncio.current_task()
            return await make()

    CURRENT_LANE.set(None)
    try:
        return asyncio.run(main())
    finally:
        CURRENT_LANE.set(lane)


def in_module(name: str, source: str, **names: Any) -> Any:
    """Define `f` by a source text, as if it stood in the module of that name."""
    namespace: dict[str, Any] = {"__name__": name, **names}
    exec(source, namespace)
    return namespace["f"]
