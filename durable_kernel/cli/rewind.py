"""`durable rewind RUN POSITION`: go back to the state before a cell, with no kernel running."""

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
from durable_kernel.runtime import Allowed, rewind_of

__all__ = ["RepeatActs", "go_back", "rewind"]

RepeatActs = Annotated[
    bool, typer.Option("--repeat-acts", help="Also where acts stay done that may be done again.")
]


def rewind(
    run: RunArgument,
    position: Annotated[
        int, typer.Argument(metavar="POSITION", help="The first cell to leave behind.")
    ],
    repeat_acts: RepeatActs = False,
    as_json: JsonFlag = False,
) -> None:
    """Leave a cell and all behind it; the next kernel has the state before it.

    Nothing is deleted. Cells that are run again take what they ask for again from the journal.
    """
    go_back(run, position, "rewind", position, repeat_acts=repeat_acts, as_json=as_json)


def go_back(
    run: str, position: int, word: str, named: int, *, repeat_acts: bool, as_json: bool
) -> None:
    """Cut a run before `position`. `word` and `named` say how the user put it."""
    store = open_store()
    place = store.get(run)
    line = f"%durable rewind {position}" if word == "rewind" else f"%durable restore --to {named}"
    require_closed(place, line)
    allowed = Allowed.ALL if repeat_acts else Allowed.NONE
    left = rewind_of(store, place, position, allowed)
    if as_json:
        positions = [each.position for each in left]
        print_json({"run_id": place.run_id, "position": position, "left_behind": positions})
        return
    cells = "1 cell is" if len(left) == 1 else f"{len(left):,} cells are"
    say(
        f"{cells} left behind, and nothing of them is deleted. The next kernel of run "
        f"{place.run_id} has the state before cell {position}, and `durable run` goes on there."
    )
