"""`durable show RUN`: one run, cell by cell. Reads only; a run that is not trusted can be shown."""

from __future__ import annotations

from dataclasses import asdict

from rich.markup import escape

from durable_kernel.cli.console import JsonFlag, RunArgument, open_store, print_json, stdout, table
from durable_kernel.headless.choosing import outline_of
from durable_kernel.history.views import outline_view, position_view
from durable_kernel.journal import is_locked
from durable_kernel.runtime import queued_resolutions
from durable_kernel.store import summary

__all__ = ["show"]


def show(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Show one run: its cells, what they did, what is in doubt."""
    store = open_store()
    place = store.get(run)
    outline = outline_of(store, place, is_verified=False)
    summed = summary(place, outline, is_locked(place.folder))
    queued = [
        {"effect": each.effect, "choice": each.choice} for each in queued_resolutions(place.folder)
    ]
    document = {
        **outline_view(outline),
        **asdict(summed),
        "folder": str(place.folder),
        "queued_decisions": queued,
        "cells": [position_view(each) for each in outline.positions],
    }
    if as_json:
        print_json(document)
        return
    console = stdout()
    console.print(
        f"[bold]{place.run_id}[/]  {escape(str(place.meta.notebook or ''))}  "
        f"[bold]{summed.status}[/]"
    )
    drawn = table("cell", "status", "source", "calls", "effects", "wall")
    for each in outline.positions:
        view = position_view(each)
        first = view["source"].strip().partition("\n")[0][:60]
        counts = ", ".join(f"{number} {kind}" for kind, number in view["counts"].items())
        wall = f"{view['costs']['wall_s']:.2f} s" if "wall_s" in view["costs"] else ""
        drawn.add_row(
            str(view["position"]), view["status"], escape(first), str(view["calls"]), counts, wall
        )
        for crossing in view["unrecorded"]:
            what = f"{crossing['where']}: it {crossing['what']}"
            drawn.add_row(
                "",
                "[yellow]unrecorded[/]" if crossing["is_act"] else "reads",
                escape(what),
                "",
                "",
                "",
            )
    console.print(drawn)
    for doubt in document["acts_in_doubt"]:
        if summed.in_doubt:
            console.print(
                f"[bold yellow]in doubt[/]: {escape(doubt['label'])} (effect {doubt['effect']}, "
                f"announced {doubt['announced_at']}). "
                f"`durable resolve {place.run_id} {doubt['effect']}` decides."
            )
    for decision in queued:
        console.print(
            f"A decision waits for the next start: "
            f"effect {decision['effect']}: {decision['choice']}."
        )
