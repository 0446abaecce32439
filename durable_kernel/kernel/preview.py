"""Preview: the names of a namespace, for somebody who looks at it. Evaluated in the kernel."""

from __future__ import annotations

import reprlib
import types
from typing import Any

__all__ = ["names"]

_SHOWN_MAX = 80


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _SHOWN_MAX


def names(shell: Any) -> list[tuple[str, str, str]]:
    """List the user's names, in order: name, type, and the beginning of what it shows.

    Modules, and what IPython put there, are left out. What can't be shown says so.
    """
    hidden, found = shell.user_ns_hidden, []
    for name, value in sorted(shell.user_ns.items()):
        is_users = not name.startswith("_") and hidden.get(name, names) is not value
        if is_users and not isinstance(value, types.ModuleType):
            found.append((name, _type_of(value), _shown(value)))
    return found


def _type_of(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _shown(value: object) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"shape {shape}"
    try:
        text = " ".join(_Short().repr(value).split())
    except Exception as error:  # noqa: BLE001 - a repr of the user's, which may raise anything
        return f"(can't be shown: {type(error).__name__})"
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
