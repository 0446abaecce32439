"""Carrying: what an exception of a step has beside its type, its message and plain arguments.

Attributes, arguments that are containers, notes, cause and context, as plain values in
`ErrorFacts.extra`. An object is not carried (a response, a connection, a model): its name is kept,
and on replay it is gone rather than None, and a note says so, since code that looks at it would
take another way than it took live. What is named like a secret is not carried either.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from pathlib import PosixPath, PurePosixPath
from typing import Any

from durable_kernel.ports.raised import find_class, rebuild_error
from durable_kernel.ports.words import ErrorFacts, describe_error

__all__ = ["carried_with", "rebuild_raised"]

_KEY = "raised"
_SIZE_MAX = 32 * 1024
_DEPTH_MAX = 8
_CHAIN_MAX = 4
_SCALARS = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        decimal.Decimal,
        uuid.UUID,
        PosixPath,
        PurePosixPath,
    }
)
_TEXTS = frozenset({str, bytes})
_LISTS = frozenset({list, tuple, set, frozenset})
_SECRET = re.compile(
    r"token|secret|passw|api_?key|authorization|cookie|credential|private_?key", re.IGNORECASE
)


def carried_with(error: BaseException) -> dict[str, Any]:
    """Return what `ErrorFacts.extra` is to hold of an exception; {} where there is nothing."""
    found = _facts_of(error, _CHAIN_MAX, set())
    return {_KEY: found} if found else {}


def rebuild_raised(facts: ErrorFacts) -> BaseException:
    """Make the exception that was recorded with `carried_with`; others as `rebuild_error` does."""
    found = facts.extra.get(_KEY)
    if not isinstance(found, dict):
        return rebuild_error(facts)
    args = tuple(found.get("args", facts.args))
    attributes, left_out = found.get("attributes", {}), found.get("left_out", [])
    error = rebuild_error(ErrorFacts(facts.type_path, facts.message, args, facts.extra))
    kind = find_class(facts.type_path)
    if kind is not None and type(error) is not kind:
        error = _without_constructor(kind, args, attributes, facts.message) or error
    held = getattr(error, "__dict__", None)
    if isinstance(held, dict):
        held.update(attributes)
        for name in left_out:
            held.pop(name, None)
    for note in found.get("notes", []):
        error.add_note(note)
    if left_out:
        error.add_note(
            f"(served from the journal; not recorded, so not there: {', '.join(left_out)})"
        )
    if "cause" in found:
        error.__cause__ = _rebuilt(found["cause"])
    if "context" in found:
        error.__context__ = _rebuilt(found["context"])
    error.__suppress_context__ = bool(found.get("suppress", False))
    return error


def _without_constructor(
    kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any], message: str
) -> BaseException | None:
    """Make an exception whose constructor wants something else; None if it says another thing."""
    try:
        error: BaseException = kind.__new__(kind, *args)
        error.args = args
        error.__dict__.update(attributes)
        says_the_same = str(error) == message
    except Exception:  # noqa: BLE001 - a foreign class may refuse with anything
        return None
    return error if says_the_same else None


def _rebuilt(listed: list[Any]) -> BaseException:
    type_path, message, args, extra = listed
    return rebuild_raised(ErrorFacts(type_path, message, tuple(args), extra))


def _facts_of(error: BaseException, chain_max: int, seen: set[int]) -> dict[str, Any]:
    """Describe an exception and those behind it, each once."""
    seen.add(id(error))
    found: dict[str, Any] = {}
    attributes, left_out = _attributes_of(error)
    if attributes:
        found["attributes"] = attributes
    if left_out:
        found["left_out"] = left_out
    if notes := [each for each in getattr(error, "__notes__", ()) if type(each) is str]:
        found["notes"] = notes
    has_container = any(type(each) in _LISTS or type(each) is dict for each in error.args)
    if has_container and _is_plain(list(error.args)):
        found["args"] = list(error.args)
    behind = {"cause": error.__cause__, "context": error.__context__}
    for name, other in behind.items():
        if other is not None and id(other) not in seen and chain_max:
            facts = describe_error(other)
            extra = _facts_of(other, chain_max - 1, seen)
            more = {_KEY: extra} if extra else {}
            found[name] = [facts.type_path, facts.message, list(facts.args), more]
    if error.__suppress_context__:
        found["suppress"] = True
    return found


def _attributes_of(error: BaseException) -> tuple[dict[str, Any], list[str]]:
    """Return the attributes that are carried, and the names of the others."""
    attributes: dict[str, Any] = {}
    left_out: list[str] = []
    held = getattr(error, "__dict__", None)
    for name, value in list(held.items()) if isinstance(held, dict) else []:
        if type(name) is not str or name.startswith("__"):
            continue
        if _is_plain(value) and (value is None or not _SECRET.search(name)):
            attributes[name] = value
        else:
            left_out.append(name)
    return attributes, left_out


def _is_plain(value: Any) -> bool:
    return _size(value, _DEPTH_MAX) <= _SIZE_MAX


def _size(value: Any, depth_max: int) -> int:
    """Return about how many bytes a plain value takes; more than any may, if it is not plain.

    A dict with a secret's name among its keys (headers of a request) is none.
    """
    kind = type(value)
    if kind in _SCALARS:
        return 8
    if kind in _TEXTS:
        return len(value)
    too_much = _SIZE_MAX + 1
    if depth_max == 0 or (kind not in _LISTS and kind is not dict) or len(value) > _SIZE_MAX:
        return too_much
    if kind is dict and any(type(key) is str and _SECRET.search(key) for key in value):
        return too_much
    total = 8
    items = (each for pair in value.items() for each in pair) if kind is dict else iter(value)
    for each in items:
        total += _size(each, depth_max - 1)
        if total > _SIZE_MAX:
            return too_much
    return total
