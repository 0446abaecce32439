"""The list of expected differences is strict, and every entry says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.expected import expected_of, read_listed
from tests.parity.suite import EXPECTED
from tests.transparency.compare import differences, judge

LIST = """
[[difference]]
stock = "passed"
durable = "failed"
reason = "It wants what is not offered."
tests = ["tests/test_a.py::test_one", "tests/test_a.py::test_two"]
"""
ALIKE = {"tests/test_a.py::test_three": "passed"}
ONE, TWO = "tests/test_a.py::test_one[x]", "tests/test_a.py::test_two"


def judged(tmp_path: Path, durable: dict[str, str], *, is_slice: bool = False) -> list[str]:
    """Return the tests that are findings, where all pass in stock."""
    (tmp_path / "list.toml").write_text(LIST)
    stock = dict.fromkeys(durable, "passed")
    expected = expected_of(read_listed(tmp_path / "list.toml"), stock, is_slice=is_slice)
    verdict = judge(differences(stock, durable), expected)
    return [each.test for each in (*verdict.unexpected, *verdict.gone)]


def test_a_listed_test_that_differs_as_listed_is_no_finding(tmp_path: Path) -> None:
    assert judged(tmp_path, {ONE: "failed", TWO: "failed", **ALIKE}) == []


def test_a_listed_test_that_passes_is_a_finding(tmp_path: Path) -> None:
    assert judged(tmp_path, {ONE: "failed", TWO: "passed", **ALIKE}) == [TWO]


def test_a_test_that_fails_and_is_not_listed_is_a_finding(tmp_path: Path) -> None:
    durable = {ONE: "failed", TWO: "failed", **dict.fromkeys(ALIKE, "failed")}

    assert judged(tmp_path, durable) == list(ALIKE)


def test_each_set_of_parameters_of_a_listed_test_has_to_differ(tmp_path: Path) -> None:
    other = ONE.replace("x", "y")

    assert judged(tmp_path, {ONE: "failed", other: "passed", TWO: "failed"}) == [other]


def test_a_listed_test_that_is_no_more_is_a_finding_of_a_whole_run(tmp_path: Path) -> None:
    assert judged(tmp_path, {ONE: "failed"}) == [TWO]
    assert judged(tmp_path, {ONE: "failed"}, is_slice=True) == []


def test_an_entry_without_a_sentence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(LIST.replace("It wants what is not offered.", "no"))

    with pytest.raises(ValueError, match="without a sentence"):
        read_listed(tmp_path / "list.toml")


def test_the_list_itself_is_short_and_says_why() -> None:
    listed = read_listed(EXPECTED)

    assert 0 < len(listed) <= 17
