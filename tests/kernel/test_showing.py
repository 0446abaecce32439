"""Showing: text for terminals, HTML that reads in light and dark and never runs anything."""

from __future__ import annotations

import re

import pytest

from durable_kernel.kernel.showing import Answer, grid, lines, preformatted, state_table

HOSTILE = '<script>alert("x")</script> `a` & "b"'


@pytest.mark.parametrize(
    "shown",
    [
        lines([HOSTILE]),
        state_table([("why", HOSTILE), (HOSTILE, "x")]),
        grid(["<b>name"], [[HOSTILE], [HOSTILE * 9]]),
        preformatted(HOSTILE),
    ],
)
def test_what_is_shown_is_never_markup(shown: Answer) -> None:
    assert "<script" not in shown.markup
    assert HOSTILE in shown.text
    assert set(shown.bundle()) == {"text/plain", "text/html"}


def test_no_colour_of_text_or_ground_is_set() -> None:
    """A front end is light or dark: text has its colour, and only a dot beside a word has ours."""
    markup = state_table([("state", "live")]).markup + grid(["a"], [["b"]]).markup
    markup += lines(["a sentence"]).markup

    assert set(re.findall(r"[^-]color: ([^;\"]+)", markup)) <= {"inherit"}
    assert set(re.findall(r"background: ([^;\"]+)", markup)) == {"none", "#2e9e5b"}


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    shown = grid(["effect", "label"], [["0.0", "GET /a"], ["10.1", "x"]])

    assert shown.text == "effect  label\n0.0     GET /a\n10.1    x"


def test_what_stands_between_backquotes_is_code() -> None:
    assert "<code>durable run</code> it" in lines(["Just `durable run` it."]).markup
