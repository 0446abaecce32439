"""The guide says how a kernel can end; each row names the tests that let one end so."""

from __future__ import annotations

import re

import pytest

from tests.tidy import tree

pytestmark = pytest.mark.needs_tool("git")

HEADING = "### How a kernel ends"
COMMENT = re.compile(r"<!-- (test_\w+(?: test_\w+)*) -->")
ROWS_MIN = 20


def rows(guide: str) -> list[str]:
    """Return the rows of the table below the heading, without its head."""
    section = guide.partition(HEADING)[2].partition("\n#")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def named_in(row: str) -> list[str]:
    found = COMMENT.search(row)
    return found[1].split() if found else []


def test_each_row_names_tests_that_exist() -> None:
    known = {
        name
        for path in tree.files("tests/*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    table = rows((tree.ROOT / "docs" / "guide.md").read_text())

    faults = [row for row in table if not named_in(row) or set(named_in(row)) - known]

    assert len(table) >= ROWS_MIN
    assert faults == []


def test_a_row_without_a_test_is_found() -> None:
    guide = f"{HEADING}, say\n\n| a | b |\n|---|---|\n| x | y |\n\n### next\n\n| c | d |\n"

    assert rows(guide) == ["| x | y |"]
    assert named_in("| x | y |") == []
