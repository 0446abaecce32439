"""A cell run twice: live, then from what the first session recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def in_module(name: str, source: str, **names: Any) -> Any:
    """Define `f` by a source text, as if it stood in the module of that name."""
    namespace: dict[str, Any] = {"__name__": name, **names}
    exec(source, namespace)
    return namespace["f"]
