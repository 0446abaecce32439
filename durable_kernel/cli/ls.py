"""`durable ls`: the runs of this store, newest first."""

from __future__ import annotations

from dataclasses import asdict

from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    age,
    open_store,
    patience,
    print_json,
    shortened,
    size,
    stdout,
    table,
)
from durable_kernel.headless.choosing import outline_of
from durable_kernel.journal import is_locked
from durable_kernel.store import known_summary

__all__ = ["ls"]

_COLOURS = {"finished": "green", "in doubt": "bold yellow", "failed": "red", "broken": "bold red"}


def ls(as_json: JsonFlag = False) -> None:
    """List the runs, newest first: status, cells, calls, size."""
    store = open_store()
    with patience("reading the journals"):
        summaries = [
            known_summary(
                place,
                lambda each: outline_of(store, each, is_verified=False),
                is_locked(place.folder),
            )
            for place in store.all()
        ]
    if as_json:
        print_json([asdict(each) for each in summaries])
        return
    if not summaries:
        stdout().print(f"No runs in {store.runs} yet.")
        return
    drawn = table("run", "notebook", "status", "cells", "calls", "size", "last activity")
    for each in summaries:
        colour = _COLOURS.get(each.status, "default")
        drawn.add_row(
            each.run_id,
            escape(shortened(each.notebook)),
            f"[{colour}]{each.status}[/]" + (" (archived)" if each.archived_ns else ""),
            str(each.cells),
            str(each.calls) + (f" ({each.reused:,} reused)" if each.reused else ""),
            size(each.size_bytes),
            age(each.last_activity_ns),
        )
    stdout().print(drawn)
