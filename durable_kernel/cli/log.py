"""`durable log RUN`: the recorded calls, in order."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    patience,
    print_json,
    stdout,
    table,
    visible,
)
from durable_kernel.headless.choosing import outline_of
from durable_kernel.history import RecordCodec, position_history
from durable_kernel.history.views import call_views

__all__ = ["log"]


def log(
    run: RunArgument,
    cell: Annotated[int | None, typer.Option(help="Only the calls of this position.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many, the last ones.", min=1)] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """List a run's calls: what was asked, when, and how it ended. Nothing is executed."""
    store = open_store()
    place = store.get(run)
    records = RecordCodec()
    rows = []
    with patience(f"reading the journal of run {place.run_id}"):
        for each in outline_of(store, place, is_verified=False).positions:
            if cell is None or each.position == cell:
                history = position_history(place.folder, each, records)
                rows += call_views(each.position, history)
    rows = rows[-limit:]
    if as_json:
        print_json(rows)
        return
    if not rows:
        stdout().print("No calls are recorded.")
        return
    drawn = table("effect", "announced", "call", "ending", "received")
    for row in rows:
        received = f"{row['received_bytes']:,} B" if row["received_bytes"] else ""
        ending = row["ending"] + (f": {row['error']}" if row["error"] else "")
        ending += " (reused)" if row["is_reused"] else ""
        drawn.add_row(
            row["effect"],
            row["announced_at"],
            escape(visible(row["label"])),
            escape(visible(ending)),
            received,
        )
    stdout().print(drawn)
