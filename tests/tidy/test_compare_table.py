"""The comparison in the README is one that `make compare` makes: its rows and its columns."""

from __future__ import annotations

from benchmarks.compare_figures import MARKS, ROWS
from benchmarks.compare_tools import TOOLS
from tests.tidy import tree


def table_of(document: str) -> list[list[str]]:
    """Return the cells of the table between the marks, without the line below its head."""
    between = document.partition(MARKS[0])[2].partition(MARKS[1])[0]
    lines = [line for line in between.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for index, line in enumerate(lines)
        if index != 1
    ]


def test_the_comparison_in_the_readme_has_the_rows_and_columns_that_the_program_makes() -> None:
    head, *rows = table_of((tree.ROOT / "README.md").read_text())

    assert head == ["", *(tool.name for tool in TOOLS)]
    assert [row[0] for row in rows] == [row.title for row in ROWS]
    assert {len(row) for row in rows} == {len(TOOLS) + 1}


def test_the_comparison_in_the_readme_has_every_figure() -> None:
    _, *rows = table_of((tree.ROOT / "README.md").read_text())

    assert [row[0] for row in rows if "" in row or "not measured" in row] == []
