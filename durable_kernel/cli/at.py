"""`durable at RUN POSITION [EXPR]...`: what names and expressions were after a past cell."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    patience,
    print_json,
    say,
    stdout,
    table,
    visible,
)

__all__ = ["at"]


def at(
    run: RunArgument,
    position: Annotated[
        int, typer.Argument(metavar="POSITION", help="The cell behind which to look.")
    ],
    expressions: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPR]...", help="What to evaluate there.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at the state after a past cell: its names, or the value of expressions.

    The run is replayed up to there in a process that is thrown away. RUN is only read; what is
    evaluated can do nothing.
    """
    from durable_kernel.headless.looking import look_at  # takes seconds

    store = open_store()
    with patience(f"replaying up to cell {position}"):
        look = look_at(store, store.get(run), position, expressions or ())
    if as_json:
        print_json(asdict(look))
    elif not expressions:
        drawn = table("name", "type", "value")
        for each in look.names:
            drawn.add_row(each.name, escape(visible(each.type)), escape(visible(each.shown)))
        stdout().print(drawn)
    else:
        for value in look.values:
            say(value.error or value.text)
    if any(each.error for each in look.values):
        raise typer.Exit(1)
