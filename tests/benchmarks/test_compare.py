"""The comparison runs, and counts what it says it counts. Its figures are for people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare_figures import (
    ROWS,
    Absent,
    Attempt,
    Measured,
    Undisturbed,
    markdown_table,
    printed,
    put_between_marks,
    shown_values,
)
from benchmarks.compare_story import KILL_POINTS, Glance, Size
from benchmarks.compare_tools import TOOLS, code_cells, lines_changed
from notebooks.flights_log import Exchange

ROOT = Path(__file__).parents[2]


def attempt(killed: str, shown: dict[str, str], pages: list[int], posts: int = 0) -> Attempt:
    return Attempt(9.0, 2.0, 0, killed, shown, pages, posts)


def measured(*attempts: Attempt, name: str = "a tool") -> Measured:
    return Measured(
        name=name,
        lines_changed=0,
        packages=1,
        kernel="",
        attempts=attempts,
        undisturbed=[Undisturbed(seconds=3.0, cpu_s=2.5, first_request_s=0.5, kept_bytes=0)],
        plain_seconds=[2.5],
    )


def column(found: Measured) -> dict[str, str]:
    return {row.title: row.cells([found])[0].text for row in ROWS}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pipeline_killed_thrice_under_durable_is_seen_once_from_outside(tmp_path: Path) -> None:
    """One report, no page asked for twice but one in the air at a kill, nothing read changes."""
    answer = tmp_path / "found.json"

    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.compare", "--smoke", "--only", "durable"),
            *("--rounds", "1", "--folder", str(tmp_path), "--json", str(answer)),
        ],
        cwd=ROOT,
        check=True,
        timeout=840,
    )

    (found,) = json.loads(answer.read_text())["tools"]
    assert len([each for each in found["attempts"] if each["killed"]]) == 3
    assert found["posts"] == 1
    assert max(found["gets_repeated"]) <= 1
    assert found["values_changed"] == 0
    assert found["values_read"] > 0
    assert found["hands"] != []
    assert found["lines_changed"] == 0


def test_a_killer_that_looks_when_the_report_is_out_was_too_late_between_the_pages() -> None:
    report = Exchange(9, 1, "POST", "/reports", "", 9.0, None, None)
    glance = Glance(report, None, 9.1, Size())

    is_due = [each.is_due(glance) for each in KILL_POINTS]
    is_over = [each.is_over(glance) for each in KILL_POINTS]

    assert is_due == [False, True, False]
    assert is_over == [True, False, False]


def test_pages_count_as_fetched_again_once_for_each_kill_before() -> None:
    found = measured(
        attempt("between two pages", {}, [1, 2, 3]),
        attempt("inside the POST", {}, [1, 2, 3, 4], posts=1),
        attempt("", {}, []),
        attempt("", {}, [4, 5], posts=1),
    )

    assert found.gets_repeated == [3, 1]
    assert found.posts == 2


def test_a_value_has_changed_if_the_finished_run_shows_another_or_none() -> None:
    found = measured(
        attempt("between two pages", {"started": "9:00", "sample": "[1]"}, []),
        attempt("", {"started": "8:00"}, []),  # ended by itself: nobody had to start again
        attempt("inside the POST", {"started": "9:00"}, []),
        attempt("", {"started": "9:00"}, []),
    )

    assert found.values_changed == (1, 3)


def test_what_was_redone_is_the_cpu_time_of_all_attempts_beyond_an_undisturbed_run() -> None:
    found = measured(attempt("between two pages", {}, []), attempt("", {}, []))

    assert found.cpu_redone_s == 1.5
    assert column(found)["CPU time redone after the three kills"] == "1.5 s"


def test_lines_that_were_only_moved_or_indented_do_not_count() -> None:
    before = '"""Said before the first cell."""\n# %%\na = 1\n\n# %%\nprint(a)\n'

    assert code_cells(before) == ["a = 1", "print(a)"]
    assert lines_changed(before, before) == 0
    assert lines_changed(before, "# %%\nif True:\n    a = 1\n    print(a)\n") == 1
    assert lines_changed(before, "# %%\na = 2\nprint(a)\n") == 2


def test_only_labelled_lines_are_values_that_a_person_reads() -> None:
    text = "12:00:00 [INFO] ready: yes\nstarted: 9:00\nreport id: 7: 8\nWarning: no\n"

    assert shown_values(text) == {"started": "9:00", "report id": "7: 8"}


def test_a_line_that_was_cut_into_two_outputs_is_read_whole() -> None:
    """The kernel sends what has been printed when its timer ends, not when a line does."""
    pieces = [{"output_type": "stream", "text": text} for text in (["slope:"], " 0.5\n")]
    cells = [{"outputs": pieces}, {"source": "no outputs"}]

    assert shown_values(printed(json.dumps({"cells": cells}))) == {"slope": "0.5"}


def test_the_best_of_a_row_is_marked_unless_all_are_alike() -> None:
    quick, slow = measured(attempt("", {}, [])), measured(attempt("", {}, []), name="another")
    slow = Measured(**{**slow.__dict__, "packages": 2})

    rows = {row.title: [cell.is_best for cell in row.cells([quick, slow])] for row in ROWS}

    assert rows["packages that it brings"] == [True, False]
    assert rows["run that nobody kills"] == [False, False]


def test_a_tool_that_is_missing_keeps_its_column_and_has_no_figures() -> None:
    lines = markdown_table([measured(attempt("", {}, [])), Absent("DBOS", "not installed")])

    assert lines.splitlines()[0] == "|  | a tool | DBOS |"
    assert all(line.endswith("| not measured |") for line in lines.splitlines()[2:])


def test_a_table_replaces_the_one_between_the_marks_and_nothing_else() -> None:
    document = "before\n<!-- compare: begin -->\nold\n<!-- compare: end -->\nafter\n"

    again = put_between_marks(document, "| new |\n")

    assert again == ("before\n<!-- compare: begin -->\n\n| new |\n\n<!-- compare: end -->\nafter\n")
    assert put_between_marks(again, "| new |\n") == again
    with pytest.raises(ValueError, match="compare: begin"):
        put_between_marks("no marks", "| new |\n")


def test_every_tool_is_given_a_pipeline_that_compiles(tmp_path: Path) -> None:
    for tool in TOOLS:
        folder = tmp_path / tool.name
        tool.prepare(folder)

        assert (folder / tool.given).stat().st_size > 0
        source = (ROOT / "benchmarks" / "compare" / tool.script).read_text()
        for cell in code_cells(source):
            compile(cell, tool.script, "exec")
