"""`durable plan RUN`: what a recovery would re-execute, and what it would ask or stop at."""

from __future__ import annotations

from dataclasses import asdict

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    patience,
    print_json,
    say,
)
from durable_kernel.headless.choosing import outline_of
from durable_kernel.runtime import Plan

__all__ = ["plan"]


def plan(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Say what the next kernel would do to restore a run. Nothing is executed."""
    store = open_store()
    place = store.get(run)
    with patience(f"reading the journal of run {place.run_id}"):
        found = Plan.of(outline_of(store, place, is_verified=False))
    if as_json:
        print_json(asdict(found))
        return
    say(str(found))
