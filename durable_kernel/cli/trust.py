"""`durable trust RUN`: accept a run that this user's key did not sign, or a folder that was moved.

What would be executed is shown first.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    print_json,
    stdout,
    visible,
)
from durable_kernel.errors import JournalCorruptError, UsageError
from durable_kernel.store import RunPlace, Standing, Store, TrustFacts

__all__ = ["trust"]

_OPENERS_SHOWN = 3


def trust(
    run: RunArgument,
    moved: Annotated[
        bool, typer.Option("--moved", help="The folder was moved here; there is no other copy.")
    ] = False,
    copied: Annotated[
        bool,
        typer.Option("--copied", help="It is a copy: put it away, so that it never goes on."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a foreign run would execute, and accept exactly these bytes as your own.

    With --json and without --yes: only show.
    """
    if moved and copied:
        raise UsageError("--moved and --copied exclude each other.")
    store = open_store()
    place = _place_of(store, run)
    if copied:
        store.archive(place)
        stdout().print(
            f"run {place.run_id}: this copy is archived and not resumed; nothing of it is deleted. "
            "Its notebook starts a run of its own."
        )
        return
    facts, standing = store.examine(place), store.standing(place)
    if as_json:
        print_json(_document(facts, standing))
        if not yes:
            return
    else:
        _show(facts, standing)
    if standing.is_own and (standing.is_in_place or not moved):
        if not as_json:
            _say_own(facts, standing)
        return
    _confirm(standing, moved=moved, yes=yes)
    if not standing.is_own:
        store.trust(place, facts)
    if moved:
        store.adopt(place)
    if not as_json:
        _say_done(facts, standing, moved=moved)


def _place_of(store: Store, run: str) -> RunPlace:
    try:
        return store.get(run)
    except JournalCorruptError:
        # Its META is damaged; a new one can be written if exactly this run is meant.
        exact = run.removeprefix("=")
        if not store.exists(exact):
            raise
        return store.place(exact)


def _document(facts: TrustFacts, standing: Standing) -> dict[str, Any]:
    shown = {key: value for key, value in asdict(facts).items() if key != "anchor"}
    return {
        **shown,
        "own_frames": standing.own_frames,
        "is_own": standing.is_own,
        "is_meta_signed": standing.is_meta_signed,
        "meta_damage": standing.damage,
        "key": {
            "run": standing.key_id,
            "own": standing.own_key_id,
            "path": str(standing.key_path),
            "is_lost": standing.is_of_a_lost_key,
        },
        "place": {
            "recorded": standing.recorded,
            "found": standing.found,
            "is_same": standing.is_in_place,
        },
    }


def _show(facts: TrustFacts, standing: Standing) -> None:
    """Print all that accepting means. What the run says is shown as it is, nothing is obeyed."""
    console = stdout()

    def tell(label: str, text: str) -> None:
        shown = f"[bold]{label}[/] {escape(visible(text))}"
        console.print(shown, highlight=False, soft_wrap=True)

    tell("run", f"{facts.run_id}: {facts.frames:,} frames, {len(facts.cells)} cells")
    for origin in facts.origin[:_OPENERS_SHOWN]:
        tell("written by", origin)
    if len(facts.origin) > _OPENERS_SHOWN:
        tell("written by", f"… {len(facts.origin)} processes in all, last {facts.origin[-1]}")
    own = standing.own_key_id or "none yet"
    tell("key", f"{standing.key_id or 'not named'} (yours: {own}, {standing.key_path})")
    tell("signed by you", f"{standing.own_frames:,} of {standing.frames:,} frames")
    if standing.damage:
        tell("META", f"{standing.damage} A new one will be written.")
    elif not standing.is_in_place:
        tell("place", f"it lived at {standing.recorded}, and is now at {standing.found}")
    if why := standing.why_foreign():
        tell("why foreign", why)
    console.print(f"{len(facts.cells)} cells would be executed:")
    for number, source in enumerate(facts.cells):
        console.print(f"[bold]cell {number}[/]")
        console.print(escape(visible(source)), highlight=False, soft_wrap=True)
    for label in facts.acts:
        if label not in facts.in_doubt:
            tell("recorded act, not repeated:", label)
    for label in facts.in_doubt:
        tell("[yellow]in doubt[/]:", label)


def _say_own(facts: TrustFacts, standing: Standing) -> None:
    stdout().print(f"Every frame of run {facts.run_id} is yours: there is nothing to accept.")
    if not standing.is_in_place:
        stdout().print(
            "It is not where it lived: say --moved if it was moved here, --copied if it is a copy.",
            soft_wrap=True,
        )


def _confirm(standing: Standing, *, moved: bool, yes: bool) -> None:
    """Ask, unless that was answered. Raises UsageError when nobody agrees."""
    if yes:
        return
    question = "Accept these bytes and sign them with your key?"
    if standing.is_own:
        question = "Let it go on here? No other copy of it may."
    elif moved:
        question = "Accept these bytes, sign them with your key, and let the run go on here alone?"
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise UsageError("nothing was changed: nobody answered. --yes accepts it.") from None
    if not agreed:
        raise UsageError("nothing was changed.")


def _say_done(facts: TrustFacts, standing: Standing, *, moved: bool) -> None:
    console = stdout()
    if not standing.is_own:
        console.print(f"{facts.frames:,} frames of run {facts.run_id} count as yours now.")
    if moved or standing.damage:
        console.print(f"Run {facts.run_id} lives here now, and goes on from here.")
    elif not standing.is_in_place:
        console.print(
            "It is not where it lived, so it does not go on yet: say --moved if it was moved here, "
            "--copied if it is a copy.",
            soft_wrap=True,
        )
