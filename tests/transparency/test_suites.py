"""Where the suites come from, and what is written about them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.transparency import page
from tests.transparency.suites import SOURCES, SUITES, pinned

ROOT = Path(__file__).parents[2]


def test_each_suite_is_pinned_with_a_hash() -> None:
    lines = [line for line in SOURCES.read_text().splitlines() if not line.startswith("#")]

    assert sorted(pinned()) == sorted(suite.name for suite in SUITES)
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_the_libraries_are_installed_in_the_versions_of_their_suites() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["transparency"]
    installed = dict(re.sub(r"\[.*\]", "", each).split("==") for each in extra)

    assert {name: installed[name] for name in pinned()} == pinned()


def test_what_is_left_out_of_a_suite_has_a_reason() -> None:
    for suite in SUITES:
        assert all(why for _, why in suite.left_out)
        assert suite.arguments(is_slice=False).count("--deselect") == len(suite.left_out)


def test_the_document_has_figures_of_every_suite_in_its_pinned_version() -> None:
    text = page.PAGE.read_text()

    for name, version in pinned().items():
        assert f"| {name} {version} |" in text, "make transparency ARGS=--write"


def test_figures_take_the_place_of_figures() -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"

    assert page.put(text, "new") == f"before\n{page.BEGIN}\nnew\n{page.END}\nafter\n"
