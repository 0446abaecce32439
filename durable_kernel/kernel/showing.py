"""Showing: the answers of `%durable` as plain text, and the same as HTML.

A front end's colours are not known, light or dark: text has its own colour, lines and what is less
important are shades of it. No class, script or font of ours; what is shown is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Answer", "grid", "lines", "preformatted", "state_table"]

_CODE = re.compile(r"`([^`]+)`")
_BLOCK = '<div style="line-height: 1.5; font-size: 0.95em; text-align: left">{}</div>'
_TABLE = (
    '<table style="border-collapse: collapse; border: none; margin: 0.2em 0; color: inherit; '
    'line-height: 1.4; font-size: 0.95em">{}</table>'
)
_HEAD = (
    '<th style="text-align: left; vertical-align: top; font-weight: 600; opacity: 0.65; '
    'padding: 0.2em 1.2em 0.2em 0; border: none">{}</th>'
)
_CELL = (
    '<td style="text-align: left; vertical-align: top; padding: 0.2em 1.2em 0.2em 0; '
    'border: none; {}">{}</td>'
)
_ROW = '<tr style="background: none; {}">{}</tr>'
_LINE = "border-top: 1px solid rgba(128, 128, 128, 0.3)"
_TEXT = "white-space: pre-wrap; overflow-wrap: anywhere"
_DOT = (
    '<span style="display: inline-block; width: 0.6em; height: 0.6em; border-radius: 50%; '
    'margin-right: 0.5em; background: {}"></span>{}'
)
_SHORT_MAX = 28
_COLOURS: Mapping[str, str] = {
    "live": "#2e9e5b",
    "replaying": "#3b82d6",
    "restoring": "#3b82d6",
    "new": "#888888",
    "in doubt": "#d99a14",
    "diverged": "#d64545",
    "stopped": "#d64545",
}
"""Readable on white and on black: a dot, and the word beside it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the user sees: plain text, and the same as HTML."""

    text: str
    markup: str

    def bundle(self) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.markup}


def lines(sentences: Iterable[str]) -> Answer:
    """Show sentences; what stands between backquotes is code."""
    sentences = list(sentences)
    shown = "".join(f"<div>{_with_code(each)}</div>" for each in sentences)
    return Answer("\n".join(sentences), _BLOCK.format(shown))


def state_table(rows: Sequence[tuple[str, str]]) -> Answer:
    """Show names and values; the value of `state` has the colour of what it says."""
    width = max(len(key) for key, _ in rows)
    text = "\n".join(f"{key.ljust(width)}  {value}" for key, value in rows)
    body = "".join(
        _ROW.format("", _HEAD.format(html.escape(key)) + _CELL.format(_TEXT, _value(key, value)))
        for key, value in rows
    )
    return Answer(text, _TABLE.format(body))


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Answer:
    """Show rows under the names of their columns."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    )
    head = _ROW.format("", "".join(_HEAD.format(html.escape(each)) for each in columns))
    body = "".join(
        _ROW.format(_LINE, "".join(_CELL.format(_style(cell), _with_code(cell)) for cell in row))
        for row in rows
    )
    return Answer(text, _TABLE.format(head + body))


def preformatted(text: str, markup: str = "") -> Answer:
    """Show a value as it shows itself."""
    return Answer(text, markup or f"<pre>{html.escape(text)}</pre>")


def _style(cell: str) -> str:
    """Keep what is short on one line: a moment, an effect's name."""
    return "white-space: pre" if len(cell) <= _SHORT_MAX else _TEXT


def _value(key: str, value: str) -> str:
    colour = _COLOURS.get(value) if key == "state" else None
    return _DOT.format(colour, html.escape(value)) if colour else _with_code(value)


def _with_code(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text, quote=False))
