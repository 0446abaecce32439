"""`durable fresh RUN`: archive a run, so that its notebook starts a new one; or bring it back."""

from __future__ import annotations

from typing import Annotated

import typer

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    print_json,
    require_closed,
    say,
)
from durable_kernel.errors import UsageError

__all__ = ["fresh"]


def fresh(
    run: RunArgument,
    undo: Annotated[
        bool, typer.Option("--undo", help="Bring the run back that this one took the place of.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Archive a run: its notebook and its name start a new one. Nothing is deleted."""
    store = open_store()
    place = store.get(run)
    if undo:
        require_closed(place, "%durable fresh --undo")
        found = store.bring_back(place)
        if found is None:
            raise UsageError(f"no run was archived for {place.run_id}; there is nothing to undo.")
        put_away = None if found.run_id == place.run_id else place.run_id
        if as_json:
            print_json({"run_id": found.run_id, "archived": put_away})
            return
        instead = f" Run {put_away} is archived in its place." if put_away else ""
        say(f"run {found.run_id} is back.{instead}")
        return
    if place.meta.archived_ns is not None:
        raise UsageError(f"run {place.run_id} is archived already; --undo brings it back.")
    require_closed(place, "%durable fresh")
    store.archive(place)
    if as_json:
        print_json({"run_id": None, "archived": place.run_id})
        return
    say(
        f"run {place.run_id} is archived, and nothing of it is deleted. Its notebook starts a new "
        f"run; `durable fresh {place.run_id} --undo` brings this one back."
    )
