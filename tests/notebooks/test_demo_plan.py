"""When the demo kills whom, how it settles doubt, and when it calls a promise broken."""

import json
from dataclasses import replace

import pytest

from notebooks.demo_plan import (
    Kill,
    KillPoint,
    PageRow,
    Victim,
    answer_file,
    describe_moment,
    judge,
    page_rows,
    plan_kills,
    settle,
)
from notebooks.flights_compare import Comparison, Difference
from notebooks.flights_log import Exchange

SAME = Comparison(compared=("a",), left_out=(), differences=())
KILL = Kill(Victim.KERNEL, at_s=1.0, moment="")


def page(number: int, at_s: float = 0.0) -> Exchange:
    return Exchange(number, 1, "GET", "/flights", f"page={number}", at_s, at_s + 0.01, 200)


def cut(exchange: Exchange) -> Exchange:
    return replace(exchange, sent_at_s=None, was_cut=True)


def open_(exchange: Exchange) -> Exchange:
    return replace(exchange, sent_at_s=None)


AIRLINES = Exchange(98, 1, "GET", "/airlines", "", 0.0, 0.01, 200)
REPORT = Exchange(99, 1, "POST", "/reports", "", 9.0, 9.01, 201)
STOCK = [AIRLINES, page(1), page(2), page(3), REPORT]
GOOD = [AIRLINES, page(1), page(2), cut(page(3)), page(3), cut(REPORT)]


def broken(exchanges: list[Exchange], **changed: object) -> list[str]:
    facts = {
        "pages": 3,
        "arrived_reports": 1,
        "kills": [KILL, KILL],
        "kills_left": [],
        "comparison": SAME,
    }
    promises = judge(exchanges, STOCK, **{**facts, **changed})  # type: ignore[arg-type]
    return [promise.sentence for promise in promises if not promise.holds]


def test_a_kill_between_pages_waits_until_the_answer_of_its_page_was_kept() -> None:
    point = KillPoint(Victim.KERNEL, after_page=40)
    done = page(40, at_s=10.0)
    assert done.sent_at_s is not None
    later = done.sent_at_s + 0.01

    assert point.is_due(done, kept_at_s=later)
    assert point.is_due(page(41, at_s=10.0), kept_at_s=later)
    assert not point.is_due(done, kept_at_s=done.sent_at_s), "it may not be in the journal yet"
    assert not point.is_due(open_(done), kept_at_s=later), "the next request is under way"
    assert not point.is_due(page(39, at_s=10.0), kept_at_s=later)


def test_a_kill_inside_the_post_is_due_from_its_arrival_to_its_answer() -> None:
    point = KillPoint(Victim.KERNEL, after_page=None)

    assert point.is_due(open_(REPORT), kept_at_s=9.0)
    assert not point.is_due(REPORT, kept_at_s=9.1)
    assert not point.is_due(cut(REPORT), kept_at_s=9.1)
    assert not point.is_due(page(169, at_s=9.0), kept_at_s=9.03)


def test_the_plan_kills_the_kernel_the_runner_and_the_kernel_in_the_post() -> None:
    assert plan_kills(169) == [
        KillPoint(Victim.KERNEL, 40),
        KillPoint(Victim.RUNNER, 100),
        KillPoint(Victim.KERNEL, None),
    ]


@pytest.mark.parametrize(
    ("newest", "words"),
    [
        (None, "before the first request"),
        (page(7), "after page 7, before the next request"),
        (open_(page(7)), "while page 7 was being served"),
        (open_(REPORT), "inside the POST"),
        (REPORT, "after the POST"),
        (AIRLINES, "after GET /airlines"),
    ],
)
def test_moments_are_told_in_words(newest: Exchange | None, words: str) -> None:
    assert describe_moment(newest) == words


def test_a_report_that_arrived_unanswered_is_settled_with_its_receipt() -> None:
    arrived = [{"receipt": "R-0001", "report_id": "a", "report": {}}]

    settlement = settle(arrived, [page(1), cut(REPORT)])

    assert settlement.answer == {"receipt": "R-0001", "report_id": "a"}


def test_a_report_that_never_arrived_is_made_again() -> None:
    assert settle([], [page(1)]).answer is None


def test_an_answered_report_is_not_taken_for_the_one_in_doubt() -> None:
    arrived = [{"receipt": "R-0001", "report_id": "a", "report": {}}]

    assert settle(arrived, [REPORT]).answer is None


def test_two_unanswered_reports_are_no_doubt_but_a_broken_promise() -> None:
    arrived = [{"receipt": f"R-{n}", "report_id": "a", "report": {}} for n in range(2)]

    with pytest.raises(ValueError, match="2 reports"):
        settle(arrived, [cut(REPORT), cut(REPORT)])


def test_an_answer_file_holds_the_whole_response() -> None:
    response = json.loads(answer_file({"receipt": "R-0001", "report_id": "a"}))

    assert response["status"] == 201
    assert json.loads(response["body"])["receipt"] == "R-0001"


def test_a_page_comes_from_the_journal_once_for_each_later_kernel() -> None:
    exchanges = [page(1, 1.0), page(2, 2.0), cut(page(3, 3.0)), page(3, 13.0), page(4, 23.0)]

    rows = page_rows(exchanges, kernels_seen_s=[0.0, 12.0, 22.0])

    assert rows == [
        PageRow(1, 2, asked=1, completed=1, from_journal=2),
        PageRow(3, 3, asked=2, completed=1, from_journal=1),
        PageRow(4, 4, asked=1, completed=1, from_journal=0),
    ]


def test_a_page_that_a_later_kernel_asked_for_again_did_not_come_from_the_journal() -> None:
    exchanges = [page(1, 1.0), page(1, 13.0), page(2, 14.0)]

    rows = page_rows(exchanges, kernels_seen_s=[0.0, 12.0, 22.0])

    assert [(row.first, row.asked, row.from_journal) for row in rows] == [(1, 2, 1), (2, 1, 1)]


def test_a_good_run_breaks_nothing() -> None:
    assert broken(GOOD) == []


def test_a_person_who_looks_at_the_reports_breaks_nothing() -> None:
    look = replace(AIRLINES, path="/reports")

    assert broken([*GOOD, look, look]) == []


@pytest.mark.parametrize("exchanges", [[*GOOD, page(2)], GOOD[:-2], [*GOOD, page(4)]])
def test_a_page_twice_or_never_or_too_many_is_told(exchanges: list[Exchange]) -> None:
    assert "each page was completed exactly once" in broken(exchanges)


def test_other_data_asked_for_twice_or_never_or_beyond_the_stock_kernel_are_told() -> None:
    told = ["so was each other request for data that the stock kernel makes"]
    weather = replace(AIRLINES, path="/weather", query="month=1")

    assert broken([*GOOD, AIRLINES]) == told
    assert broken(GOOD[1:]) == told
    assert broken([*GOOD, weather]) == told


def test_more_cuts_than_kills_are_told() -> None:
    assert broken(GOOD, kills=[KILL]) == ["no more requests were cut than processes killed"]


def test_a_second_post_is_told_whichever_side_saw_it() -> None:
    told = ["the report was handed in exactly once"]

    assert broken([*GOOD, REPORT]) == told
    assert broken(GOOD, arrived_reports=2) == told


def test_a_differing_or_an_empty_notebook_is_told() -> None:
    told = ["the finished notebook equals the stock kernel's, byte for byte"]
    difference = Difference("a", "outputs", "1", "2")

    assert broken(GOOD, comparison=Comparison(("a",), (), (difference,))) == told
    assert broken(GOOD, comparison=Comparison((), (), ())) == told


def test_a_kill_that_was_never_due_is_told() -> None:
    left = [KillPoint(Victim.RUNNER, 100)]

    assert broken(GOOD, kills_left=left) == ["and all that although it was killed as planned"]
