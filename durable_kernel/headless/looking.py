"""Looking: what names and expressions were at a past position, by a replay that is thrown away.

    fork the run behind the position, into a store of its own -> a kernel replays it, and keeps the
    world closed behind it -> it evaluates -> all of it is deleted

The run itself is only read, so it may be running. What is evaluated can't do anything: a request, a
draw, a file that is opened for writing stop it.
"""

from __future__ import annotations

import ast
import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_kernel.errors import UsageError
from durable_kernel.headless.choosing import outline_of
from durable_kernel.headless.kernels import OwnKernelManager
from durable_kernel.sharing import fork_run
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.files import make_private_folder, remove_tree
from durable_kernel.store.retention import LOOKS_NAME

__all__ = ["Look", "Name", "Value", "look_at"]

_TOKEN_BYTES = 6
_STARTS_S_MAX = 60.0
_POLL_S = 0.5
_NAMES = "__import__('durable_kernel.kernel.preview', fromlist=['names']).names(get_ipython())"
_HASH_SEED = "0"
_ACTED = "looking into the past does nothing, and this asks for more: {}"
_NOT_TRIED = "an expression before this one tried to do something"


@dataclass(frozen=True, slots=True)
class Name:
    """A name of the user's, the type of its value, and how that begins when it is shown."""

    name: str
    type: str
    shown: str


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression gave: text, HTML where there is some, or the error that it raised."""

    expression: str
    text: str
    markup: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen behind a position. `names` only where no expression was asked for."""

    run_id: str
    position: int
    names: tuple[Name, ...]
    values: tuple[Value, ...]


def look_at(store: Store, place: RunPlace, position: int, expressions: Sequence[str]) -> Look:
    """Evaluate expressions on the state after a cell; none: list the names. Blocks.

    Raises UsageError for a place that is not there or not finished, and where the replay does not
    get there; and what forking raises.
    """
    for each in expressions:
        _check_expression(each)
    known = [each.position for each in outline_of(store, place).positions]
    if position not in known:
        cells = f"the cells 0 to {known[-1]}" if known else "no cell yet"
        raise UsageError(f"there is no cell {position}: the run has {cells}.")
    with _passing_store(store) as passing:
        fork = fork_run(store, place, at=position + 1, into=passing)
        asked = list(expressions) or [_NAMES]
        environ = _environ(passing, fork.run_id)
        notebook = place.meta.notebook
        folder = Path(notebook).parent if notebook else Path.cwd()
        found = asyncio.run(_evaluate(asked, environ, folder if folder.is_dir() else Path.cwd()))
    if expressions:
        values = tuple(map(_value, expressions, found))
        return Look(place.run_id, position, (), values)
    listed = _value(_NAMES, found[0])
    if listed.error:
        raise UsageError(f"the names could not be listed: {listed.error}")
    names = tuple(Name(*each) for each in ast.literal_eval(listed.text))
    return Look(place.run_id, position, names, ())


def _check_expression(text: str) -> None:
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"{text!r} is no expression ({error}); statements can't be run in the past."
        ) from None


@contextmanager
def _passing_store(store: Store) -> Iterator[Store]:
    """Make a store beside the runs, so that blobs need no copy; it is deleted at the end."""
    home = store.home / LOOKS_NAME / os.urandom(_TOKEN_BYTES).hex()
    make_private_folder(home.parent, store.disk)
    make_private_folder(home, store.disk)
    try:
        yield Store(home, environ={"DURABLE_KEY_FILE": str(store.key_path)}, disk=store.disk)
    finally:
        with suppress(OSError):
            remove_tree(home, store.disk)


def _environ(store: Store, run_id: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_")}
    return {
        "PYTHONHASHSEED": _HASH_SEED,
        **kept,
        "DURABLE_HOME": str(store.home),
        "DURABLE_KEY_FILE": str(store.key_path),
        "DURABLE_RUN": f"={run_id}",
        "DURABLE_LOOKS_ONLY": "1",
        "DURABLE_REPLAY_ASK_S": str(10**9),
    }


async def _evaluate(
    expressions: Sequence[str], environ: dict[str, str], folder: Path
) -> list[dict[str, Any]]:
    """Return an entry of `user_expressions` for each.

    One that tries to do something stops the process; those behind it are not evaluated.
    """
    async with _kernel(environ, folder) as (manager, client):
        arrived = await _reply(manager, client, {})
        if arrived["status"] != "ok":
            raise UsageError(f"the replay does not get there: {arrived.get('evalue', '')}")
        found: list[dict[str, Any]] = []
        for each in expressions:
            content = await _reply(manager, client, {"value": each})
            if content["status"] == "ok":
                found.append(content["user_expressions"]["value"])
                continue
            asked_for, _, _ = str(content.get("evalue", "")).partition("\n")
            found.append({**content, "evalue": _ACTED.format(asked_for)})
            not_tried = {"status": "error", "ename": "Stopped", "evalue": _NOT_TRIED}
            return found + [not_tried] * (len(expressions) - len(found))
        return found


async def _reply(manager: Any, client: Any, expressions: dict[str, str]) -> dict[str, Any]:
    sent = client.execute("", store_history=False, user_expressions=expressions, reply=True)
    waiting = asyncio.ensure_future(sent)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_POLL_S)
            if not waiting.done() and not await manager.is_alive():
                raise UsageError("the process that looked ended before it was there.")
        content: dict[str, Any] = waiting.result()["content"]
    finally:
        waiting.cancel()
    return content


@asynccontextmanager
async def _kernel(environ: dict[str, str], folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    manager = OwnKernelManager()
    await manager.start_kernel(env=environ, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        try:
            await client.wait_for_ready(timeout=_STARTS_S_MAX)
        except RuntimeError as error:  # all that jupyter_client has for a kernel that can't start
            raise UsageError(f"no process could be started to look: {error}") from None
        yield manager, client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


def _value(expression: str, entry: dict[str, Any]) -> Value:
    if entry["status"] != "ok":
        return Value(expression, "", error=f"{entry['ename']}: {entry['evalue']}")
    shown = entry["data"]
    return Value(expression, str(shown.get("text/plain", "")), str(shown.get("text/html", "")))
