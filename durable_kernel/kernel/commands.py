"""Commands: what `%durable …` means, apart from who asks and where the answer is shown.

Answered on the shell-channel thread while a cell runs, so nothing here may touch the user's
namespace or wait for the main thread.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, Protocol

from durable_kernel.errors import DurableError, UsageError
from durable_kernel.kernel.past import look_at
from durable_kernel.kernel.showing import Answer, grid, lines, preformatted, state_table
from durable_kernel.ports import suspended
from durable_kernel.runtime import Allowed, Run, read_answer
from durable_kernel.sharing import fork_run, free_notebook
from durable_kernel.store import Store

__all__ = ["Answer", "Asker", "Choice", "answer", "completions", "durable_lines"]

_LINE = re.compile(r"%durable(?:\s+(?P<arguments>.*))?$")
_LOG_LINES = 20
_LOGGED = ("effect", "announced_at", "label", "ending", "error", "received_bytes")
_HOW_REUSED = "calls that match in order are reused, and the first other one is made."
_UNBOUND = "this kernel knows no notebook yet; its run begins with the first cell."
_OPENING = "the kernel has just started and is opening its run: ask again in a moment."
_USAGE = (
    "%durable status | log [-n N] [--position P] | plan | "
    "resolve [EFFECT] --retry | --answer FILE | --fail | "
    "restore [--redo | --partly | --without | --edited | --to POSITION [--repeat-acts]] | "
    "retry [--repeat-acts] | rewind POSITION [--repeat-acts] | fresh [--undo] | "
    "fork [--at POSITION] [--notebook OUT.ipynb] | at POSITION [EXPR]"
)


class Choice(StrEnum):
    """What a user wants of a restoration that stopped and asked."""

    GO_ON = "go on"
    REDO = "redo"
    WITHOUT = "without"
    PARTLY = "partly"


class Replacing(Protocol):
    """What ends a process in favour of another one that begins with another state."""

    @property
    def is_possible(self) -> bool: ...

    def require_possible(self) -> None: ...

    def start_anew(self, run_id: str, told: str) -> None: ...

    def rewind(self, position: int, allowed: Allowed) -> str: ...


class Asker(Protocol):
    """What a command needs of the kernel."""

    @property
    def run(self) -> Run | None: ...

    @property
    def is_restoring(self) -> bool: ...

    def refusal_now(self) -> BaseException | None: ...

    def refuse_from_now(self, error: BaseException) -> None: ...

    def restore_again(
        self, choice: Choice, *, to: int | None = None, allowed: Allowed = Allowed.NONE
    ) -> str: ...

    @property
    def replacement(self) -> Replacing: ...


def durable_lines(code: str) -> list[str] | None:
    """Take the arguments of a cell that is nothing but `%durable` lines; None for other cells."""
    stripped = [line.strip() for line in code.splitlines()]
    matches = [_LINE.match(line) for line in stripped if line and not line.startswith("#")]
    if not matches or not all(matches):
        return None
    return [(match["arguments"] or "").strip() for match in matches if match]


def answer(asker: Asker, line: str) -> Answer:
    """Carry out one command. Raises DurableError with a sentence for what cannot be done."""
    first, _, rest = line.partition(" ")
    if first == "at":  # what is evaluated there is no list of words
        return _at(asker, rest.strip())
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%durable {line}: {error}") from None
    name = words[0] if words else "status"
    command = _COMMANDS.get(name)
    if command is None:
        raise UsageError(f"%durable {name} is not a command. {_USAGE}")
    return command(asker, words[1:])


# --- the commands ---------------------------------------------------------------------------------


def _status(asker: Asker, words: list[str]) -> Answer:
    _parser("status").parse_args(words)
    refusal = asker.refusal_now()
    run = asker.run
    if run is None:
        if refusal is None:
            state = "restoring" if asker.is_restoring else "new"
            return state_table([("state", state), ("why", _why_no_run(asker))])
        return state_table([("state", "stopped"), ("why", f"{type(refusal).__name__}: {refusal}")])
    facts = run.status()
    state = str(facts.get("state", run.state))
    if asker.is_restoring and state == "live":
        state = "restoring"
    if refusal is not None and state in ("live", "replaying", "restoring"):
        state = "stopped"
    rows = [("run", run.run_id), ("state", state)]
    if refusal is not None:
        rows.append(("why", str(refusal)))
    shown = {"run", "run_id", "state", "stopped_by"}
    rows += [(key, _shown(value)) for key, value in facts.items() if key not in shown and value]
    return state_table(rows)


def _log(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("log")
    parser.add_argument("-n", type=int, default=_LOG_LINES)
    parser.add_argument("--position", type=int)
    given = parser.parse_args(words)
    entries = _run_of(asker).log(limit=given.n, position=given.position)
    if not entries:
        return lines(["no call is recorded yet"])
    columns = [each for each in _LOGGED if any(entry.get(each) for entry in entries)]
    return grid(columns, [[_shown(entry.get(key) or "") for key in columns] for entry in entries])


def _plan(asker: Asker, words: list[str]) -> Answer:
    _parser("plan").parse_args(words)
    return lines([str(_run_of(asker).plan_now())])


def _resolve(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("resolve")
    parser.add_argument("effect", nargs="?")
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument("--retry", action="store_true")
    ways.add_argument("--answer", type=Path, metavar="FILE")
    ways.add_argument("--fail", action="store_true")
    given = parser.parse_args(words)
    if given.answer is None:
        choice, content = ("retry" if given.retry else "fail"), None
    else:
        choice, content = "answer", read_answer(_not_stdin(given.answer))
    return lines([_run_of(asker).resolve(given.effect, choice, content)])


def _restore(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("restore")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--redo", action="store_true")
    ways.add_argument("--partly", action="store_true")
    ways.add_argument("--without", action="store_true")
    ways.add_argument("--edited", action="store_true")
    ways.add_argument("--to", type=int, metavar="POSITION")
    parser.add_argument("--repeat-acts", action="store_true")
    given = parser.parse_args(words)
    if given.edited:
        return _leave_edited(asker)
    chosen = {Choice.REDO: given.redo, Choice.PARTLY: given.partly, Choice.WITHOUT: given.without}
    choice = next((each for each, is_it in chosen.items() if is_it), Choice.GO_ON)
    return lines([asker.restore_again(choice, to=given.to, allowed=_allowed(given))])


def _rewind(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("rewind")
    parser.add_argument("position", type=int)
    parser.add_argument("--repeat-acts", action="store_true")
    given = parser.parse_args(words)
    _run_of(asker)
    return lines([asker.replacement.rewind(given.position, _allowed(given))])


def _allowed(given: argparse.Namespace) -> Allowed:
    return Allowed.ALL if given.repeat_acts else Allowed.NONE


def _leave_edited(asker: Asker) -> Answer:
    run = _idle_run_of(asker)
    place = f"the state before cell {run.leave_edited()}"
    asker.replacement.start_anew(
        run.run_id, f"this is {place}, which loaded code that was edited since."
    )
    advice = f"Run the cells from there: they load the code as it is now, {_HOW_REUSED}"
    return lines([f"The kernel goes back to {place}, in a new process.", advice])


def _retry(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("retry")
    parser.add_argument("--repeat-acts", action="store_true")
    given = parser.parse_args(words)
    run = _idle_run_of(asker)
    left = run.leave_failed(repeats_acts=given.repeat_acts)
    place = f"the state before cell {left.position}"
    asker.replacement.start_anew(
        run.run_id, f"this is {place}, which failed: run it, edited or not."
    )
    calls = "1 recorded call is" if left.calls == 1 else f"{left.calls:,} recorded calls are"
    acts = "; ".join(each.label for each in left.acts)
    kept = "may be done again, as you said" if given.repeat_acts else "is not done again"
    return lines(
        [
            f"cell {left.position} is left behind. The kernel goes back to {place}.",
            f"Then run the cell, edited or not. {calls} at hand; {_HOW_REUSED}",
            *([f"What it did {kept}: {acts}."] if acts else []),
        ]
    )


def _fresh(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("fresh")
    parser.add_argument("--undo", action="store_true")
    run = _run_of(asker)
    if parser.parse_args(words).undo:
        return _undo_fresh(asker, run)
    archived = f"run {run.run_id} is archived, and nothing of it is deleted."
    anew = run.begin_anew()
    if asker.replacement.is_possible:
        told = f"this is a new run, as you asked; {archived}"
        asker.replacement.start_anew(anew, told)
        how = "A new run begins, in a new process."
    else:  # a replay of hours, or a cell that does not end, is no reason to wait
        asker.refuse_from_now(
            UsageError("this run was archived; restart the kernel to start a new one.")
        )
        how = "Restart the kernel to start a new run."
    return lines([f"{archived} {how}", "To get it back: `%durable fresh --undo`."])


def _undo_fresh(asker: Asker, run: Run) -> Answer:
    asker.replacement.require_possible()
    found = run.bring_back()
    if not found:
        raise UsageError("no run of this notebook was archived; there is nothing to bring back.")
    asker.replacement.start_anew(found, f"run {found} is back, as you asked.")
    put_away = "" if found == run.run_id else f" Run {run.run_id} is archived in its place."
    return lines([f"run {found} is back.{put_away} The kernel goes on with it."])


def _fork(asker: Asker, words: list[str]) -> Answer:
    parser = _parser("fork")
    parser.add_argument("--at", type=int, metavar="POSITION")
    parser.add_argument("--notebook", type=Path, metavar="OUT.ipynb")
    given = parser.parse_args(words)
    run = _run_of(asker)
    with suspended():  # among other code it is the cell's line of control, and no act of the cell
        run.port.flush()
        store = Store(run.settings.home)
        notebook = given.notebook or free_notebook(run.place)
        made = fork_run(store, run.place, at=given.at, notebook=notebook)
    return lines(made.sentences())


def _at(asker: Asker, asked: str) -> Answer:
    place, _, expression = asked.partition(" ")
    if not place.isdecimal():
        raise UsageError(f"%durable at {asked}: say behind which cell. {_USAGE}")
    run = _run_of(asker)
    with suspended():
        run.port.flush()
        look = look_at(run.run_id, Store(run.settings.home), int(place), expression.strip())
    if not expression.strip():
        if not look["names"]:
            return lines([f"after cell {place} there was no name."])
        rows = [[each["name"], each["type"], each["shown"]] for each in look["names"]]
        return grid(["name", "type", "value"], rows)
    (value,) = look["values"]
    if value["error"]:
        raise UsageError(f"after cell {place}: {value['error']}")
    return preformatted(value["text"], value["markup"])


_COMMANDS: Mapping[str, Callable[[Asker, list[str]], Answer]] = {
    "fork": _fork,
    "fresh": _fresh,
    "log": _log,
    "plan": _plan,
    "resolve": _resolve,
    "restore": _restore,
    "retry": _retry,
    "rewind": _rewind,
    "status": _status,
}


_FLAGS: Mapping[str, tuple[str, ...]] = {
    "fork": ("--at", "--notebook"),
    "fresh": ("--undo",),
    "log": ("-n", "--position"),
    "resolve": ("--retry", "--answer", "--fail"),
    "restore": ("--redo", "--partly", "--without", "--edited", "--to", "--repeat-acts"),
    "retry": ("--repeat-acts",),
    "rewind": ("--repeat-acts",),
}


def completions(asker: Asker, line: str) -> list[str]:
    """List what may come next in a `%durable` line: commands, their options, acts in doubt."""
    words = line.split()[1:]
    is_new = line.endswith(" ")
    if not words or (len(words) == 1 and not is_new):
        return sorted([*_COMMANDS, "at"])
    found = [each for each in _FLAGS.get(words[0], ()) if each not in words]
    if words[0] == "resolve" and asker.run is not None:
        found += [each.name for each in asker.run.port.parked]
    return found


# --- reading and showing --------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}. {_USAGE}")


def _parser(name: str) -> _Parser:
    return _Parser(prog=f"%durable {name}", add_help=False, allow_abbrev=False)


def _run_of(asker: Asker) -> Run:
    if asker.run is None:
        refusal = asker.refusal_now()
        if isinstance(refusal, DurableError):
            raise refusal
        raise UsageError(str(refusal) if refusal else _why_no_run(asker))
    return asker.run


def _idle_run_of(asker: Asker) -> Run:
    run = _run_of(asker)
    if asker.is_restoring:
        raise UsageError("the run is being restored; ask again when that is done.")
    asker.replacement.require_possible()
    return run


def _why_no_run(asker: Asker) -> str:
    return _OPENING if asker.is_restoring else _UNBOUND


def _not_stdin(path: Path) -> Path:
    if str(path) == "-":
        raise UsageError("a kernel has no standard input: name a file.")
    return path


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "\n".join(map(_shown, value))
    if isinstance(value, dict) and "label" in value:  # an act in doubt
        return f"{value['label']} (effect {value['effect']})"
    return json.dumps(value, default=str, ensure_ascii=False)
