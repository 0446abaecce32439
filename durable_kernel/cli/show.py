"""`durable show RUN`: one run, cell by cell. Reads only; a run that is not trusted can be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    patience,
    print_json,
    stdout,
    table,
    visible,
    visible_output,
)
from durable_kernel.errors import UsageError
from durable_kernel.headless.choosing import outline_of
from durable_kernel.history import Outline, RecordCodec, position_history
from durable_kernel.history.views import outline_view, outputs_view, position_view
from durable_kernel.journal import is_locked
from durable_kernel.runtime import inbox_of, queued_resolutions
from durable_kernel.store import RunPlace, RunSummary, Store, summary

__all__ = ["show"]


def show(
    run: RunArgument,
    cell: Annotated[
        int | None, typer.Option(help="One position: its source and what it printed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one run: its cells, what they did, what is in doubt."""
    store = open_store()
    place = store.get(run)
    with patience(f"reading the journal of run {place.run_id}"):
        outline = outline_of(store, place, is_verified=False)
    if cell is not None:
        _show_cell(place, outline, cell, as_json=as_json)
        return
    summed = summary(place, outline, is_locked(place.folder))
    document = _document(store, place, outline, summed)
    if as_json:
        print_json(document)
        return
    console = stdout()
    console.print(
        f"[bold]{place.run_id}[/]  {escape(str(place.meta.notebook or ''))}  "
        f"[bold]{summed.status}[/]"
    )
    if place.meta.forked_from:
        at = outline.lineage.forks[-1].position if outline.lineage else 0
        console.print(f"forked from {escape(place.meta.forked_from)}, before cell {at}")
    if not place.is_signed:
        console.print(
            "[bold yellow]foreign[/]: META is not signed with your key. Nothing of this run is "
            f"executed; `durable trust {place.run_id}` shows what would be.",
            soft_wrap=True,
        )
    console.print(_drawn(document["cells"]))
    for doubt in document["acts_in_doubt"] if summed.in_doubt else []:
        console.print(
            f"[bold yellow]in doubt[/]: {escape(visible(doubt['label']))} "
            f"(effect {doubt['effect']}, announced {doubt['announced_at']}; "
            f"{escape(visible(doubt['why_not_repeated']))}). "
            f"`durable resolve {place.run_id} {doubt['effect']}` decides."
        )
    for decision in document["queued_decisions"]:
        console.print(
            f"A decision waits for the next start: effect {decision['effect']}: "
            f"{decision['choice']}."
        )
    for message in document["refused_messages"]:
        console.print(
            f"A message is not used: {escape(visible(message['why']))} ({message['path']})"
        )


def _document(
    store: Store, place: RunPlace, outline: Outline, summed: RunSummary
) -> dict[str, Any]:
    queued = queued_resolutions(store, place)
    return {
        **outline_view(outline),
        **asdict(summed),
        "folder": str(place.folder),
        "forked_from": place.meta.forked_from,
        "is_meta_signed": place.is_signed,
        "queued_decisions": [{"effect": each.effect, "choice": each.choice} for each in queued],
        "refused_messages": [
            {"path": str(each.path), "why": each.why} for each in inbox_of(store, place).refused()
        ],
        "cells": [position_view(each) for each in outline.positions],
    }


def _drawn(cells: list[dict[str, Any]]) -> Table:
    drawn = table("cell", "status", "source", "calls", "effects", "wall")
    for view in cells:
        first = view["source"].strip().partition("\n")[0][:60]
        counts = ", ".join(f"{number} {kind}" for kind, number in view["counts"].items())
        wall = f"{view['costs']['wall_s']:.2f} s" if "wall_s" in view["costs"] else ""
        calls = str(view["calls"]) + (f" ({view['reused']:,} reused)" if view["reused"] else "")
        drawn.add_row(_numbered(view), view["status"], escape(visible(first)), calls, counts, wall)
        if view["loaded"]:
            drawn.add_row("", "loads", escape(visible(", ".join(view["loaded"]))))
        for sort, text in _kept(view["kept"] or {}):
            drawn.add_row("", sort, escape(visible(text)))
        for crossing in view["unrecorded"]:
            sort = "[yellow]unrecorded[/]" if crossing["is_act"] else "reads"
            drawn.add_row("", sort, escape(visible(f"{crossing['where']}: it {crossing['what']}")))
    return drawn


def _kept(kept: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say what a restart takes in place of executing an interrupted cell, and what it lacks."""
    if names := kept.get("names"):
        yield "keeps", ", ".join(names)
    if names := kept.get("gone"):
        yield "deleted", ", ".join(names)
    for each in kept.get("refused", ()):
        yield "[yellow]not kept[/]", ": ".join(filter(None, (each["name"], each["why"])))


def _numbered(view: dict[str, Any]) -> str:
    """Write the position, and that it is no cell where it is none."""
    return str(view["position"]) if view["kind"] == "cell" else f"{view['position']} (input)"


def _show_cell(place: RunPlace, outline: Outline, cell: int, *, as_json: bool) -> None:
    """Print one position's source and outputs: text where there is text, a word for the rest."""
    found = next((each for each in outline.positions if each.position == cell), None)
    if found is None:
        raise UsageError(f"run {place.run_id} has no cell {cell}; it has {len(outline.positions)}.")
    outputs = outputs_view(position_history(place.folder, found, RecordCodec()))
    if as_json:
        print_json({**position_view(found), "outputs": outputs})
        return
    console = stdout()
    console.print(f"[bold]cell {cell}[/]")
    console.print(escape(visible(found.cell.source)), highlight=False)
    console.print("[bold]outputs[/]")
    for output in outputs:
        text = visible_output(_text_of(output))
        console.print(escape(text), end="", highlight=False, soft_wrap=True)


def _text_of(output: dict[str, Any]) -> str:
    content = output["content"]
    if content is None:
        return f"({output['kind']}, larger than 64 KB)\n"
    if output["kind"] == "stream":
        return str(content.get("text", ""))
    if output["kind"] == "error":
        return f"{content.get('ename')}: {content.get('evalue')}\n"
    data = content.get("data", {})
    return str(data.get("text/plain") or f"({', '.join(data) or output['kind']})") + "\n"
