"""`durable doctor`: look at everything that a durable kernel rests on, and say what to do."""

from __future__ import annotations

import time
from dataclasses import asdict

import typer
from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    open_store,
    patience,
    print_json,
    stdout,
    table,
    visible,
)
from durable_kernel.store.health import Verdict

__all__ = ["doctor"]

_COLOURS = {Verdict.OK: "green", Verdict.WARN: "bold yellow", Verdict.FAIL: "bold red"}


def doctor(as_json: JsonFlag = False) -> None:
    """Check versions, kernelspecs, the store, its runs, the key and the clock. Changes nothing.

    Exit code 0: everything works, whatever is warned of; 1: something does not.
    """
    from durable_kernel.kernel.checkup import checks  # takes a second

    with patience("looking") as tell:
        found = list(checks(open_store(), time.time_ns(), tell))
    has_failed = any(each.verdict is Verdict.FAIL for each in found)
    if as_json:
        print_json({"is_well": not has_failed, "checks": [asdict(each) for each in found]})
    else:
        drawn = table("", "check", "found")
        for each in found:
            drawn.add_row(
                f"[{_COLOURS[each.verdict]}]{each.verdict}[/]",
                each.name,
                escape(visible(each.found)),
            )
            if each.advice:
                drawn.add_row("", "", f"[bold]→[/] {escape(visible(each.advice))}")
        stdout().print(drawn)
    raise typer.Exit(1 if has_failed else 0)
