"""`durable restore RUN --to POSITION`: restore up to and with a cell, and leave the rest behind."""

from __future__ import annotations

from typing import Annotated

import typer

from durable_kernel.cli.console import JsonFlag, RunArgument
from durable_kernel.cli.rewind import RepeatActs, go_back

__all__ = ["restore"]


def restore(
    run: RunArgument,
    to: Annotated[int, typer.Option("--to", metavar="POSITION", help="The last cell to restore.")],
    repeat_acts: RepeatActs = False,
    as_json: JsonFlag = False,
) -> None:
    """Let the next kernel restore up to and with a cell; `rewind` to the one behind it."""
    go_back(run, to + 1, "restore", to, repeat_acts=repeat_acts, as_json=as_json)
