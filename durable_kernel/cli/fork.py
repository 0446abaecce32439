"""`durable fork RUN`: a new run that shares this one's past and goes its own way from there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from durable_kernel.cli.console import JsonFlag, RunArgument, open_store, patience, print_json, say
from durable_kernel.sharing import fork_run

__all__ = ["fork"]


def fork(
    run: RunArgument,
    at: Annotated[
        int | None,
        typer.Option(
            metavar="POSITION", help="Part before this cell; by default behind the last finished."
        ),
    ] = None,
    notebook: Annotated[
        Path | None,
        typer.Option(metavar="OUT.ipynb", help="Write a copy of its notebook, bound to the fork."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fork a run: the same past, from the journal, and a future of its own. RUN is untouched."""
    store = open_store()
    with patience("copying"):
        made = fork_run(store, store.get(run), at=at, notebook=notebook)
    if as_json:
        print_json(asdict(made))
        return
    for sentence in made.sentences():
        say(sentence)
