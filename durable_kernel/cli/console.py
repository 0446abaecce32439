"""How commands print: tables and colour for people, one JSON document for machines."""

from __future__ import annotations

import json
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from durable_kernel.errors import RunLockedError
from durable_kernel.journal import is_locked
from durable_kernel.store import RunPlace, Store

__all__ = [
    "JsonFlag",
    "RunArgument",
    "age",
    "open_store",
    "patience",
    "print_json",
    "require_closed",
    "say",
    "size",
    "stderr",
    "stdout",
    "table",
    "visible",
    "visible_output",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


def _complete_run(incomplete: str) -> list[str]:
    """Return the ids that begin so; for shells that complete."""
    try:
        names = [each.name for each in open_store().runs.iterdir()]
    except OSError:
        return []
    return sorted(each for each in names if each.startswith(incomplete) and each[0] != ".")


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's id, a unique beginning of it, or its notebook.",
        autocompletion=_complete_run,
    ),
]

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_OBEYED = re.compile(r"(\x1b\[[0-9;]*m|\r(?=[^\n]|$)|\r\n)")
_PATIENCE_S = 2.0
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def stdout() -> Console:
    """Return the console for what was asked for."""
    return Console()


def stderr() -> Console:
    """Return the console for what accompanies it: progress, warnings, errors."""
    return Console(stderr=True)


def open_store() -> Store:
    """Open the store that `DURABLE_HOME` names, else the user's."""
    return Store(None)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def require_closed(place: RunPlace, instead: str) -> None:
    """Refuse what a kernel would not notice. `instead`: the line that does it in its notebook.

    Raises RunLockedError.
    """
    if (holder := is_locked(place.folder)) is not None:
        raise RunLockedError(place.folder, holder, f", or say `{instead}` in its notebook")


def say(sentence: str) -> None:
    """Print a sentence as it is: what looks like markup or a command to the terminal is shown."""
    stdout().print(escape(visible(sentence)), soft_wrap=True, highlight=False)


def table(*columns: str, title: str | None = None) -> Table:
    """Make an empty table as all commands draw it."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        drawn.add_column(name, overflow="fold")
    return drawn


def visible(text: str) -> str:
    """Show what a terminal would obey or hide (escapes, other directions of writing) as escapes.

    The text of a run may be somebody else's: what is shown has to be what would run.
    """
    return "".join(
        each if each in "\n\t" or unicodedata.category(each) not in _UNSEEN else ascii(each)[1:-1]
        for each in text
    )


def visible_output(text: str) -> str:
    """As `visible`, but colours stay, and a carriage return: outputs have them for good."""
    pieces = _OBEYED.split(text)
    return "".join(piece if at % 2 else visible(piece) for at, piece in enumerate(pieces))


def age(wall_ns: int) -> str:
    """Tell how long ago that was, in the largest unit that fits."""
    seconds = (time.time_ns() - wall_ns) / 1e9
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def size(size_bytes: int) -> str:
    """Write a size for people, in SI units."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:  # noqa: PLR2004 - SI units
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


@contextmanager
def patience(doing: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done once that took two seconds. Yields what changes the words."""
    status = stderr().status(escape(doing))
    waiting = threading.Timer(_PATIENCE_S, status.start)
    waiting.daemon = True
    waiting.start()
    try:
        yield lambda sentence: status.update(escape(sentence))
    finally:
        waiting.cancel()
        waiting.join()
        status.stop()


def shortened(path: str | None) -> str:
    """Return a notebook's name for a table."""
    return Path(path).name if path else "-"
