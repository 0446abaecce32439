"""Recorded endings, given back to user code: values, or exceptions of their real type.

Knows no library: a class is found by name among the modules that are loaded, and is only taken if
it is an exception. Nothing is imported for a name that stands in a journal.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from typing import Any

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports.words import Ending, ErrorFacts, Outcome

__all__ = ["ReplayedError", "find_class", "rebuild_error", "recorded_error", "value_of"]


class ReplayedError(Exception):
    """Stands for a recorded exception whose type this process does not have. Named like it."""

    def __init__(self, message: str, type_path: str) -> None:
        super().__init__(message, type_path)
        self.message, self.type_path = message, type_path

    def __str__(self) -> str:
        return self.message


def value_of(outcome: Outcome, lost: Callable[[], BaseException]) -> Any:
    """Return the value of a recorded outcome, or raise what was raised then.

    `lost` makes the exception with which the library says that the other side went away: it is
    raised where a user marked an act in doubt as failed.
    """
    if outcome.ending is Ending.VALUE:
        return outcome.value
    raise recorded_error(outcome, lost)


def recorded_error(outcome: Outcome, lost: Callable[[], BaseException]) -> BaseException:
    """Make the exception that a recorded call raised. Never asked for an ending with a value."""
    if outcome.ending is Ending.FAILED:
        return lost()
    if outcome.error is not None:
        return rebuild_error(outcome.error)
    assert outcome.ending is Ending.INTERRUPTED, f"{outcome.ending.name} is not served to effects"
    return RequestInterrupted("a call", "this cell", "an earlier time")


def rebuild_error(facts: ErrorFacts) -> BaseException:
    """Make the exception that `describe_error` reduced, with its real type where that is loaded.

    A class that can't be made from its recorded arguments gets a subclass that carries the message;
    a class that is not loaded becomes a ReplayedError of the same name.
    """
    kind = find_class(facts.type_path)
    if kind is None:
        return _named_alike(facts)
    if issubclass(kind, OSError) and kind.__module__ == "builtins" and len(facts.args) > 1:
        chosen = OSError(*facts.args)
        if type(chosen) is kind:
            return chosen
    try:
        error = kind(*facts.args)
    except Exception:  # noqa: BLE001 - a foreign constructor may refuse with anything
        return _subclass_with_message(kind, facts)
    return error if str(error) == facts.message else _subclass_with_message(kind, facts)


def find_class(type_path: str) -> type[BaseException] | None:
    """Return the exception class of that name, if it is loaded. Nothing is imported."""
    module_name, _, qualified = type_path.partition(":")
    found: Any = builtins if module_name == "builtins" else sys.modules.get(module_name)
    for name in qualified.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _subclass_with_message(kind: type[BaseException], facts: ErrorFacts) -> BaseException:
    """Keep `except Kind` working where `Kind(*args)` does not give the same exception."""

    def show(_self: BaseException) -> str:
        return facts.message

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__str__": show}
    try:
        rebuilt = type(kind.__name__, (kind,), names)
        error: BaseException = rebuilt.__new__(rebuilt, *facts.args)
    except Exception:  # noqa: BLE001 - as above: final classes, exception groups, __init_subclass__
        return _named_alike(facts)
    error.args = facts.args
    return error


def _named_alike(facts: ErrorFacts) -> ReplayedError:
    module, _, qualified = facts.type_path.partition(":")
    name = qualified.rpartition(".")[2] or "ReplayedError"
    names = {"__module__": module, "__qualname__": qualified or name}
    rebuilt: type[ReplayedError] = type(name, (ReplayedError,), names)
    return rebuilt(facts.message, facts.type_path)
