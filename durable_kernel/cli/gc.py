"""`durable gc`: say what of the store could be deleted, and delete it only when told to."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    open_store,
    patience,
    print_json,
    say,
    size,
    stdout,
    table,
    visible,
)
from durable_kernel.errors import UsageError
from durable_kernel.store.retention import Freeable, Kept, Policy, Sweep, plan_sweep
from durable_kernel.store.sweeping import Swept, sweep

__all__ = ["gc", "parse_age", "parse_size"]

_AGES = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def gc(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Delete these runs as wholes.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="And whole runs without activity for so long: 30d, 12h."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="And the oldest, until all runs have less: 20GB."),
    ] = None,
    even_in_doubt: Annotated[
        bool, typer.Option("--even-in-doubt", help="Also runs with an act in doubt.")
    ] = False,
    even_broken: Annotated[
        bool, typer.Option("--even-broken", help="Also runs that can't be read.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Do it. Without this, only say what would go.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what can be deleted, and why; with --delete, delete it. Never a run that is open.

    Without a run, an age or a size, no whole run is touched: only what runs do not need.
    """
    store = open_store()
    policy = Policy(
        named=tuple(runs or ()),
        older_than_s=None if older_than is None else parse_age(older_than),
        bytes_max=None if max_size is None else parse_size(max_size),
        even_in_doubt=even_in_doubt,
        even_broken=even_broken,
    )
    now_ns = time.time_ns()
    with patience("looking through the store") as tell:
        plan = plan_sweep(store, policy, now_ns, tell=tell)
        done = sweep(store, plan, policy, now_ns, tell=tell) if delete else None
    if as_json:
        print_json(_document(plan, done))
        return
    _show(plan, done)


def parse_age(text: str) -> float:
    """Read an age in seconds: a number and one of m, h, d, w. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if found is None:
        raise UsageError(f"--older-than {text}: a number and a unit is needed, like 30d, 12h, 4w.")
    return float(found[1]) * _AGES[found[2]]


def parse_size(text: str) -> int:
    """Read a size in bytes: a number and k, M, G or T, with B or without. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if found is None:
        raise UsageError(f"--max-size {text}: a number and a unit is needed, like 500MB or 20GB.")
    return int(float(found[1]) * _SIZES[found[2]])


def _document(plan: Sweep, done: Swept | None) -> dict[str, Any]:
    freed = plan.freeable if done is None else done.freed
    kept = plan.kept + ([] if done is None else done.kept)
    return {
        "is_deleted": done is not None,
        "size_bytes": sum(each.size_bytes for each in freed),
        "freed": [
            {
                "run": each.run_id,
                "is_whole_run": each.is_run,
                "what": each.what,
                "why": each.why,
                "size_bytes": each.size_bytes,
                "files": [str(path) for path in each.files],
            }
            for each in freed
        ],
        "kept": [{"run": each.run_id, "why": each.why} for each in kept],
    }


def _show(plan: Sweep, done: Swept | None) -> None:
    freed: list[Freeable] = plan.freeable if done is None else done.freed
    kept: list[Kept] = plan.kept + ([] if done is None else done.kept)
    if freed:
        drawn = table("run", "what", "why", "frees")
        for each in freed:
            what = f"the run ({each.what})" if each.is_run else f"{len(each.files)} {each.what}"
            drawn.add_row(each.run_id, what, escape(visible(each.why)), size(each.size_bytes))
        stdout().print(drawn)
    for one in kept:
        say(f"kept: run {one.run_id}: {one.why}")
    total = size(sum(each.size_bytes for each in freed))
    if not freed:
        say("There is nothing to delete." if done is None else "Nothing was deleted.")
    elif done is None:
        say(f"{total} in all. Nothing was deleted: --delete does it.")
    else:
        say(f"{total} deleted.")
