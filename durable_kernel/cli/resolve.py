"""`durable resolve RUN [EFFECT]`: decide about an act in doubt.

The decision waits in the run's inbox until a kernel takes it.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from durable_kernel.cli.console import JsonFlag, RunArgument, open_store, print_json, stdout
from durable_kernel.effects.http_wire import parse_answer
from durable_kernel.errors import AnswerRejectedError, UsageError
from durable_kernel.headless.choosing import outline_of
from durable_kernel.history import Announced, Outline
from durable_kernel.journal import Inbox, is_locked
from durable_kernel.runtime import (
    AskedResolution,
    effect_name,
    inbox_of,
    queue_instead,
    read_answer,
)

__all__ = ["resolve"]

_LOOK_S_MAX = 1.0
_LOOK_EVERY_S = 0.05


def resolve(
    run: RunArgument,
    effect: Annotated[
        str | None, typer.Argument(help="Which act, as `durable show` names it.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Make the call again.")] = False,
    answer: Annotated[
        Path | None,
        typer.Option(
            "--answer",
            metavar="FILE",
            help="It happened; this file (- is stdin) is what came back.",
        ),
    ] = None,
    fail: Annotated[
        bool, typer.Option("--fail", help="It did not happen; let the call fail.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Decide about an act in doubt: send it again, supply its answer, or let it fail."""
    if sum((retry, answer is not None, fail)) != 1:
        raise UsageError("say exactly one of --retry, --answer FILE and --fail.")
    store = open_store()
    place = store.get(run)
    outline = outline_of(store, place)
    store.check_place(place)  # a kernel will not open it elsewhere, and so take no decision
    name, announced = _find(outline, effect, is_written=is_locked(place.folder) is not None)
    given = read_answer(answer) if answer is not None else None
    if given is not None:
        _check(announced, given)
    choice = "retry" if retry else "fail" if fail else "answer"
    inbox = inbox_of(store, place)
    message = f"resolve-{name}-{uuid.uuid4().hex[:12]}"
    asked = AskedResolution(name, choice, given, announced.wall_ns)
    replaced = queue_instead(inbox, message, asked)
    if as_json:
        instead_of = [each.choice for each in replaced]
        decided = {"run_id": place.run_id, "effect": name, "choice": choice}
        print_json({**decided, "label": announced.label, "replaces": instead_of})
        return
    instead = f" It replaces {', '.join(each.choice for each in replaced)}." if replaced else ""
    when = _when(inbox, message, is_written=is_locked(place.folder) is not None)
    stdout().print(f"effect {name} ({escape(announced.label)}): {choice}.{instead} {when}")


def _when(inbox: Inbox, message: str, *, is_written: bool) -> str:
    """Say who takes the decision, and claim nothing: a kernel may be busy, or gone by then."""
    if not is_written:
        return "The next `durable run`, or the kernel's next start, goes on with it."
    deadline = time.monotonic() + _LOOK_S_MAX
    while any(name == message for name, _ in inbox.pending()):
        if time.monotonic() > deadline:
            return (
                "A kernel has this run open and did not take it yet: it does when a cell waits at "
                "that call, now or after a restart."
            )
        time.sleep(_LOOK_EVERY_S)
    return "The waiting kernel took it."


def _find(outline: Outline, effect: str | None, *, is_written: bool) -> tuple[str, Announced]:
    unfinished = outline.open_position or outline.doubtful
    opened_ns = outline.openers[-1].wall_ns if outline.openers else 0
    doubtful: dict[str, Announced] = {}
    under_way: dict[str, Announced] = {}
    if unfinished is not None:
        for each in unfinished.pending.values():
            # What the living writer announced itself is on its way.
            found = under_way if is_written and each.wall_ns >= opened_ns else doubtful
            if each.act:
                found[effect_name(unfinished.position, each.lane, each.ordinal)] = each
    if not doubtful and under_way:
        listed = "; ".join(f"{name}: {each.label}" for name, each in under_way.items())
        raise UsageError(f"no act is in doubt: the kernel waits for its answer ({listed}).")
    if not doubtful:
        raise UsageError("no act of this run is in doubt.")
    if effect is None and len(doubtful) == 1:
        return next(iter(doubtful.items()))
    if effect is None or effect not in doubtful:
        listed = "; ".join(f"{name}: {each.label}" for name, each in doubtful.items())
        asked = "which one?" if effect is None else f"effect {effect} is not among them."
        raise UsageError(f"in doubt are {listed}. {asked}")
    return effect, doubtful[effect]


def _check(announced: Announced, given: bytes) -> None:
    """Refuse an answer of the wrong shape now, while the user is here to correct it."""
    if announced.kind == "http":
        parse_answer(given)
        return
    try:
        json.loads(given)
    except (ValueError, RecursionError) as error:
        raise AnswerRejectedError(
            announced.kind, f"the file is not JSON: {error}", "one JSON value"
        ) from None
