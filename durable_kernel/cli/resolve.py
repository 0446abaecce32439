"""`durable resolve RUN [EFFECT]`: decide about an act in doubt.

The decision waits in the run's inbox until a kernel takes it.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from durable_kernel.cli.console import RunArgument, open_store, stdout
from durable_kernel.effects.http_wire import parse_answer
from durable_kernel.errors import AnswerRejectedError, UsageError
from durable_kernel.headless.choosing import outline_of
from durable_kernel.history import Announced, Outline
from durable_kernel.journal import is_locked
from durable_kernel.runtime import AskedResolution, effect_name, inbox_of, queue_resolution

__all__ = ["resolve"]


def resolve(
    run: RunArgument,
    effect: Annotated[
        str | None, typer.Argument(help="Which act, as `durable show` names it.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Make the call again.")] = False,
    answer: Annotated[
        Path | None, typer.Option("--answer", help="It happened; this file is what came back.")
    ] = None,
    fail: Annotated[
        bool, typer.Option("--fail", help="It did not happen; let the call fail.")
    ] = False,
) -> None:
    """Decide about an act in doubt: send it again, supply its answer, or let it fail."""
    if sum((retry, answer is not None, fail)) != 1:
        raise UsageError("say exactly one of --retry, --answer FILE and --fail.")
    store = open_store()
    place = store.get(run)
    name, announced = _find(outline_of(store, place), effect)
    given = _read(answer) if answer is not None else None
    if given is not None:
        _check(announced, given)
    choice = "retry" if retry else "fail" if fail else "answer"
    queue_resolution(
        inbox_of(place.folder),
        f"resolve-{name}-{uuid.uuid4().hex[:12]}",
        AskedResolution(name, choice, given),
    )
    when = (
        "The waiting kernel takes it now."
        if is_locked(place.folder)
        else "The next `durable run`, or the kernel's next start, goes on with it."
    )
    stdout().print(f"effect {name} ({escape(announced.label)}): {choice}. {when}")


def _find(outline: Outline, effect: str | None) -> tuple[str, Announced]:
    unfinished = outline.open_position
    doubtful = {}
    if unfinished is not None:
        doubtful = {
            effect_name(unfinished.position, each.lane, each.ordinal): each
            for each in unfinished.pending.values()
            if each.act
        }
    if not doubtful:
        raise UsageError("no act of this run is in doubt.")
    if effect is None and len(doubtful) == 1:
        return next(iter(doubtful.items()))
    if effect is None or effect not in doubtful:
        listed = "; ".join(f"{name}: {each.label}" for name, each in doubtful.items())
        asked = "which one?" if effect is None else f"effect {effect} is not among them."
        raise UsageError(f"in doubt are {listed}. {asked}")
    return effect, doubtful[effect]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None


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
