"""Comparing: what a replay shows against what is recorded that the cell showed (H20).

How text is cut into messages is a matter of timing, and so is the order of the two streams: only
the whole text of each stream is compared. Text of lanes that outlive their cell comes before its
commit or late, so of that only the amount is known: what is recorded and was not made again yet is
*owed*, and what is beyond it is new.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["amounts", "beyond", "comparable", "without_text"]

_STREAM = "stream "
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")

Shown = tuple[str, Any]
"""Kind and content of an output message."""


def comparable(outputs: Iterable[Shown]) -> dict[str, list[Any]]:
    """Reduce outputs to what H20 compares.

    The text of each stream joined, the rest in order by kind; addresses masked everywhere.
    """
    result: dict[str, list[Any]] = {}
    for kind, content in outputs:
        if kind == "stream":
            text = result.setdefault(_kind_of(kind, content), [""])
            text[0] += content.get("text", "")
        elif kind == "error":
            result.setdefault(kind, []).append(
                (content.get("ename"), _masked(str(content.get("evalue"))))
            )
        elif kind in ("display_data", "execute_result", "update_display_data"):
            data = content.get("data", {})
            result.setdefault(kind, []).append(_masked(str(data.get("text/plain", sorted(data)))))
    return {
        kind: [_masked(each) if isinstance(each, str) else each for each in items]
        for kind, items in result.items()
    }


def without_text(compared: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Leave the streams out of what is compared."""
    return {kind: items for kind, items in compared.items() if not kind.startswith(_STREAM)}


def amounts(outputs: Iterable[Shown]) -> Counter[str]:
    """Count the characters of each stream, and the messages of each other kind."""
    found: Counter[str] = Counter()
    for kind, content in outputs:
        found[_kind_of(kind, content)] += len(content["text"]) if kind == "stream" else 1
    return found


def beyond(owed: Counter[str], kind: str, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what of an output is not owed; None: nothing. It is owed less from now on."""
    name = _kind_of(kind, content)
    size = len(content["text"]) if kind == "stream" else 1
    known = min(owed[name], size)
    owed[name] -= known
    if known == size:
        return None
    return {**content, "text": content["text"][known:]} if known else content


def _kind_of(kind: str, content: Mapping[str, Any]) -> str:
    return f"{_STREAM}{content.get('name')}" if kind == "stream" else kind


def _masked(text: str) -> str:
    return _ADDRESS.sub("0x…", text)
