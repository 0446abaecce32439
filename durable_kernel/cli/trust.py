"""`durable trust RUN`: accept a run that this user's key did not sign, or a folder that was moved.

What would be executed is shown first.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from durable_kernel.cli.console import JsonFlag, RunArgument, open_store, print_json, stdout
from durable_kernel.errors import UsageError

__all__ = ["trust"]


def trust(
    run: RunArgument,
    moved: Annotated[
        bool, typer.Option("--moved", help="The folder was moved here; there is no other copy.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a foreign run would execute, and accept exactly these bytes as your own."""
    store = open_store()
    place = store.get(run)
    facts = store.examine(place)
    if as_json:
        print_json({key: value for key, value in asdict(facts).items() if key != "anchor"})
    else:
        console = stdout()
        console.print(
            f"run {facts.run_id}: {facts.frames:,} frames, "
            f"{len(facts.cells)} cells would be executed:"
        )
        for number, source in enumerate(facts.cells):
            console.print(f"[bold]cell {number}[/]")
            console.print(escape(source), highlight=False)
        for label in facts.acts:
            console.print(f"recorded act, not repeated: {escape(label)}")
        for label in facts.in_doubt:
            console.print(f"[yellow]in doubt[/]: {escape(label)}")
    if not yes and not typer.confirm("Accept these bytes and sign them with your key?", err=True):
        raise UsageError("nothing was changed.")
    store.trust(place, facts)
    if moved:
        store.adopt(place)
