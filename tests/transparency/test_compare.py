"""A difference is expected, new, or gone; nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transparency.compare import ABSENT, Difference, differences, judge, read_expected, within
from tests.transparency.run import EXPECTED
from tests.transparency.suites import SUITES

LOGS = Difference("t::logs", "passed", "failed")
KNOWN = Difference("t::logs", "passed", "failed", reason="It is read later.")


def test_tests_that_end_alike_do_not_differ() -> None:
    assert differences({"a": "failed", "b": "passed"}, {"b": "passed", "a": "failed"}) == []


def test_a_test_that_one_kernel_did_not_collect_differs() -> None:
    found = differences({"a": "passed"}, {"b": "passed"})

    assert found == [Difference("a", "passed", ABSENT), Difference("b", ABSENT, "passed")]


def test_a_difference_with_a_reason_is_good() -> None:
    verdict = judge([LOGS], [KNOWN])

    assert verdict.is_good
    assert verdict.expected == (KNOWN,)


def test_a_difference_without_a_reason_is_unexpected() -> None:
    verdict = judge([LOGS], [])

    assert not verdict.is_good
    assert verdict.unexpected == (LOGS,)
    assert verdict.doubtful == ("t::logs",)


def test_a_listed_difference_that_is_gone_is_as_wrong() -> None:
    verdict = judge([], [KNOWN])

    assert not verdict.is_good
    assert verdict.gone == (KNOWN,)


def test_another_outcome_than_the_listed_one_is_both() -> None:
    other = Difference("t::logs", "passed", "error")

    verdict = judge([other], [KNOWN])

    assert verdict.unexpected == (other,)
    assert verdict.gone == (KNOWN,)
    assert verdict.doubtful == ("t::logs",)


def test_a_slice_is_not_asked_for_what_it_did_not_run() -> None:
    assert within([KNOWN], ["t::other"]) == []
    assert within([KNOWN], ["t::logs"]) == [KNOWN]


def test_every_listed_difference_belongs_to_a_suite_and_has_a_reason() -> None:
    listed = EXPECTED.read_text().count("[[difference]]")

    read = [each for suite in SUITES for each in read_expected(EXPECTED, suite.name)]

    assert len(read) == listed
    assert all(each.reason for each in read)


def test_a_difference_without_a_sentence_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "differences.toml"
    listed.write_text('[[difference]]\nsuite = "x"\ntest = "t::logs"\nreason = "later"\n')

    with pytest.raises(ValueError, match=r"t::logs has no sentence for a reason"):
        read_expected(listed, "x")
