"""When two executions of a notebook count as the same."""

from typing import Any

from notebooks.flights_compare import Difference, compare


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def cell(identity: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": identity,
        "source": ["print(1)\n", "2"],
        "execution_count": 1,
        "metadata": {"tags": list(tags)},
        "outputs": list(outputs),
    }


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, str]]:
    found = compare(notebook(ours), notebook(theirs)).differences
    return [(difference.cell, difference.field) for difference in found]


def test_equal_cells_are_compared_and_do_not_differ() -> None:
    comparison = compare(notebook(cell("a"), cell("b")), notebook(cell("a"), cell("b")))

    assert comparison.compared == ("a", "b")
    assert comparison.differences == ()


def test_one_changed_byte_of_an_output_is_a_difference() -> None:
    assert differing(cell("a", stream("1\n")), cell("a", stream("1"))) == [("a", "outputs")]


def test_a_cell_with_clock_or_entropy_is_left_out_and_named() -> None:
    ours = notebook(cell("a", stream("1"), tags=("clock",)), cell("b"))
    theirs = notebook(cell("a", stream("2"), tags=("clock",)), cell("b"))

    comparison = compare(ours, theirs)

    assert (comparison.compared, comparison.left_out) == (("b",), ("a",))
    assert comparison.differences == ()


def test_the_tags_of_the_stock_notebook_decide_what_is_left_out() -> None:
    ours = cell("a", stream("1"), tags=("clock",))

    assert ("a", "outputs") in differing(ours, cell("a", stream("2")))


def test_where_a_stream_was_cut_does_not_matter_but_its_order_with_others_does() -> None:
    cut = cell("a", stream("1"), stream("2"))
    whole = cell("a", stream("12"))
    mixed = cell("a", stream("1"), stream("!", "stderr"), stream("2"))

    assert differing(cut, whole) == []
    assert differing(mixed, cell("a", stream("12"), stream("!", "stderr"))) == [("a", "outputs")]


def test_lines_and_text_are_the_same_text() -> None:
    lines = {**stream(""), "text": ["1\n", "2"]}

    assert differing(cell("a", lines), cell("a", stream("1\n2"))) == []


def test_time_stamps_of_the_executor_do_not_matter_but_any_other_metadata_does() -> None:
    ours, theirs = cell("a"), cell("a")
    ours["metadata"]["execution"] = {"shell.execute_reply": "2026"}
    stamped = differing(ours, theirs)
    ours["metadata"]["collapsed"] = True

    assert stamped == []
    assert differing(ours, theirs) == [("a", "metadata")]


def test_prose_is_compared_but_not_counted() -> None:
    prose = {"cell_type": "markdown", "id": "p", "source": "one", "metadata": {}}

    comparison = compare(notebook(prose), notebook({**prose, "source": "two"}))

    assert comparison.compared == ()
    assert [(d.cell, d.field) for d in comparison.differences] == [("p", "source")]


def test_excerpts_surround_the_first_difference() -> None:
    difference = Difference("a", "outputs", "x" * 100 + "left", "x" * 100 + "right")

    assert difference.excerpts(before=2, behind=3) == ("xxlef", "xxrig")


def test_another_number_is_a_difference() -> None:
    assert differing({**cell("a"), "execution_count": 2}, cell("a")) == [("a", "execution_count")]


def test_missing_and_moved_cells_are_a_difference() -> None:
    ours, theirs = notebook(cell("a"), cell("b")), notebook(cell("b"), cell("a"))

    assert [d.field for d in compare(ours, theirs).differences] == ["order"]
    assert [d.field for d in compare(notebook(cell("a")), theirs).differences] == ["order"]
