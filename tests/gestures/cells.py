"""Cells of the gesture model: each has a source for the kernel and a meaning for the model.

The meaning is written by hand from what Python does with the source, on a dictionary of names and
an `Effects` that says what the world answered. Every effect prints its value in a line of its own,
so that whoever reads the outputs knows what the world said.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

__all__ = [
    "KINDS",
    "Cell",
    "Effects",
    "RaisedError",
    "make_cell",
    "mend_or_edit",
    "perform",
    "setup",
]

PRIME = 1009
VARIABLES = 4

SETUP = """import json, os, random, time, urllib.request
def ask(kind, rid, method=None):
    data = b"" if method else None
    request = urllib.request.Request(f"{origin}/{{kind}}/{{rid}}", method=method, data=data)
    with urllib.request.urlopen(request) as answer:
        number = json.load(answer)["number"]
    print(kind, rid, number)
    return number
trace = []
"""

SOURCES = {
    "setup": SETUP,
    "set": "v{var} = {number}\nprint('set', v{var})",
    "more": "v{var} = (v{other} * 3 + {number}) % 1009\nprint('more', v{var})",
    "note": "trace.append({number})\nprint('note', len(trace))",
    "get": "v{var} = ask('get', '{label}')",
    "live": "%%live\nv{var} = ask('get', '{label}')",
    "post": "v{var} = ask('post', '{label}', 'POST')",
    "draw": "v{var} = random.randrange(10**9)\nprint('draw', v{var})",
    "entropy": "v{var} = int.from_bytes(os.urandom(4), 'big')\nprint('entropy', v{var})",
    "clock": "v{var} = time.time_ns()\nprint('clock', v{var})",
    "input": "v{var} = int(input('? '))\nprint('input', v{var})",
    "breaks": "v{var} = ask('get', '{label}')\nraise ValueError({number})",
    "define": "def f{var}(x):\n    return x + {number}\nprint('define', {number})",
    "call": "v{var} = f{other}(v{var})\nprint('call', v{var})",
    "loop": (
        "for k in range(3):\n    v{var} = ask('get', f'{label}-{{k}}')\n    trace.append(v{var})"
    ),
    "acts": (
        "v{var} = ask('get', '{label}-0')\nask('post', '{label}-1', 'POST')\n"
        "v{var} += ask('get', '{label}-2')\nprint('acts', v{var})"
    ),
    "work": "v{var} = sum(range(2_000_000)) % 1009 + {number}\nprint('work', v{var})",
    "spin": "print('waiting')\nwhile True:\n    v{var} = {number}",
    "nap": "print('waiting')\ntime.sleep(20)\nv{var} = {number}",
}
KINDS = tuple(kind for kind in SOURCES if kind not in ("setup", "spin", "nap"))
CALLING = ("get", "live", "post", "loop", "acts", "breaks")


class RaisedError(Exception):
    """What a cell raises: name and sentence as Python says them."""


class Effects(Protocol):
    """What the world says to a cell, and what the cell says to its user."""

    def call(self, kind: str, label: str) -> int: ...

    def draw(self) -> int: ...

    def observe(self, kind: str) -> int: ...

    def show(self, *words: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the notebook."""

    id: str
    kind: str
    label: str
    number: int
    var: int
    other: int
    origin: str = ""

    @property
    def source(self) -> str:
        return SOURCES[self.kind].format(
            var=self.var,
            other=self.other,
            number=self.number,
            label=self.label,
            origin=self.origin,
        )


def setup(origin: str) -> Cell:
    """The first cell of every notebook."""
    return Cell("setup", "setup", "", 0, 0, 0, origin)


def make_cell(draw: random.Random, name: str, kind: str | None = None) -> Cell:
    """Make a cell of a kind; names of effects are its own."""
    return Cell(
        id=name,
        kind=kind or draw.choice(KINDS),
        label=f"{name}.0",
        number=draw.randrange(PRIME),
        var=draw.randrange(VARIABLES),
        other=draw.randrange(VARIABLES),
    )


def mend_or_edit(draw: random.Random, cell: Cell) -> Cell:
    """Edit a cell as people do: mend what breaks, change a number, or ask for something else."""
    if cell.kind == "breaks":
        return replace(cell, kind="get")
    if cell.kind in CALLING and draw.random() < 0.5:
        name, _, version = cell.label.partition(".")
        return replace(cell, label=f"{name}.{int(version) + 1}")
    return replace(cell, number=(cell.number + 1) % PRIME, var=draw.randrange(VARIABLES))


def perform(cell: Cell, names: dict[str, Any], effects: Effects) -> None:
    """Do to `names` what the source does. Raises RaisedError."""
    if cell.kind == "setup":
        names["trace"] = []
        return
    if "trace" not in names and cell.kind in NEEDS:
        missing = NEEDS[cell.kind]
        raise RaisedError(f"NameError: name '{missing}' is not defined")
    MEANINGS[cell.kind](cell, names, effects, f"v{cell.var}")


def _read(names: dict[str, Any], name: str) -> Any:
    if name not in names:
        raise RaisedError(f"NameError: name '{name}' is not defined")
    return names[name]


def _set(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = cell.number
    effects.show("set", cell.number)


def _more(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = (_read(names, f"v{cell.other}") * 3 + cell.number) % PRIME
    effects.show("more", names[var])


def _note(cell: Cell, names: dict[str, Any], effects: Effects, _var: str) -> None:
    names["trace"].append(cell.number)
    effects.show("note", len(names["trace"]))


def _ask(effects: Effects, kind: str, label: str) -> int:
    return effects.call(kind, label)


def _get(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = _ask(effects, "get", cell.label)


def _post(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = _ask(effects, "post", cell.label)


def _draw(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = effects.draw()


def _observe(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = effects.observe(cell.kind)


def _input(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = effects.call("input", "")


def _breaks(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = _ask(effects, "get", cell.label)
    raise RaisedError(f"ValueError: {cell.number}")


def _define(cell: Cell, names: dict[str, Any], effects: Effects, _var: str) -> None:
    names[f"f{cell.var}"] = cell.number
    effects.show("define", cell.number)


def _call(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    added = _read(names, f"f{cell.other}")
    names[var] = _read(names, var) + added
    effects.show("call", names[var])


def _loop(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    for k in range(3):
        names[var] = _ask(effects, "get", f"{cell.label}-{k}")
        names["trace"].append(names[var])


def _acts(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = _ask(effects, "get", f"{cell.label}-0")
    _ask(effects, "post", f"{cell.label}-1")
    names[var] += _ask(effects, "get", f"{cell.label}-2")
    effects.show("acts", names[var])


def _work(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    names[var] = sum(range(2_000_000)) % PRIME + cell.number
    effects.show("work", names[var])


def _spin(cell: Cell, names: dict[str, Any], effects: Effects, var: str) -> None:
    effects.show("waiting")
    names[var] = cell.number
    raise RaisedError("KeyboardInterrupt: ")


def _nap(_cell: Cell, _names: dict[str, Any], effects: Effects, _var: str) -> None:
    effects.show("waiting")
    raise RaisedError("KeyboardInterrupt: ")


MEANINGS: dict[str, Callable[[Cell, dict[str, Any], Effects, str], None]] = {
    "set": _set,
    "more": _more,
    "note": _note,
    "get": _get,
    "live": _get,
    "post": _post,
    "draw": _draw,
    "entropy": _observe,
    "clock": _observe,
    "input": _input,
    "breaks": _breaks,
    "define": _define,
    "call": _call,
    "loop": _loop,
    "acts": _acts,
    "work": _work,
    "spin": _spin,
    "nap": _nap,
}
NEEDS = {
    "note": "trace",
    **dict.fromkeys(("get", "live", "post", "breaks", "loop", "acts"), "ask"),
    "draw": "random",
    "entropy": "os",
    "clock": "time",
}
"""What a cell misses where the first cell did not run."""
