"""What an access log says about who got which page how often."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks.flights_log import (
    AccessLog,
    LogTail,
    PageCount,
    count_pages,
    read_exchanges,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccessLog]:
    log = AccessLog(tmp_path / "access.jsonl")
    yield log
    log.close()


def lines(log: AccessLog) -> list[str]:
    return log.path.read_text().splitlines()


def ask(log: AccessLog, page: int, connection: int = 1) -> int:
    return log.received(connection, "GET", "/flights", f"page={page}", at_s=10.0)


def test_an_answer_that_went_out_whole_is_completed(log: AccessLog) -> None:
    number = ask(log, page=3)
    log.sent(number, 200, 5_000, at_s=10.5)

    (exchange,) = read_exchanges(lines(log))

    assert exchange.is_completed
    assert (exchange.page, exchange.status, exchange.sent_at_s) == (3, 200, 10.5)


def test_a_request_without_an_answer_is_asked_but_not_completed(log: AccessLog) -> None:
    ask(log, page=3)

    assert count_pages(read_exchanges(lines(log))) == [PageCount(3, asked=1, completed=0)]


def test_an_answer_that_found_nobody_is_cut(log: AccessLog) -> None:
    number = ask(log, page=3)
    log.cut(number, at_s=10.5)

    (exchange,) = read_exchanges(lines(log))

    assert exchange.was_cut
    assert not exchange.is_completed


def test_a_reset_cuts_only_the_last_exchange_of_its_own_connection(log: AccessLog) -> None:
    for page, connection in [(1, 1), (2, 1), (1, 2)]:
        log.sent(ask(log, page, connection), 200, 5_000, at_s=10.5)
    log.closed(1, is_reset=True, at_s=11.0)
    log.closed(2, is_reset=False, at_s=11.0)

    exchanges = read_exchanges(lines(log))

    assert [(e.page, e.connection, e.was_cut) for e in exchanges] == [
        (1, 1, False),
        (2, 1, True),
        (1, 2, False),
    ]


def test_a_page_cut_in_flight_and_asked_again_is_completed_once(log: AccessLog) -> None:
    log.cut(ask(log, page=7), at_s=10.2)
    log.sent(ask(log, page=7, connection=2), 200, 5_000, at_s=10.5)

    assert count_pages(read_exchanges(lines(log))) == [PageCount(7, asked=2, completed=1)]


def test_other_requests_are_no_pages(log: AccessLog) -> None:
    log.received(1, "GET", "/weather", "month=2", at_s=10.0)
    log.received(1, "GET", "/flights", "page=x", at_s=10.0)
    log.received(1, "POST", "/reports", "", at_s=10.0)

    exchanges = read_exchanges(lines(log))

    assert count_pages(exchanges) == []
    assert [e.is_report for e in exchanges] == [False, False, True]


def test_a_log_can_be_read_from_its_middle(log: AccessLog) -> None:
    first = ask(log, page=1)
    boundary = len(lines(log))
    log.sent(first, 200, 5_000, at_s=10.5)
    log.sent(ask(log, page=2), 200, 5_000, at_s=10.5)

    assert count_pages(read_exchanges(lines(log)[boundary:])) == [PageCount(2, 1, 1)]


def test_a_tail_hands_out_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    tail = LogTail(path)
    whole, half = json.dumps({"event": "one"}), '{"event": "tw'

    before_it_exists = tail.poll()
    path.write_text(f"{whole}\n{half}")
    with_a_half_line = tail.poll()
    with path.open("a") as file:
        file.write('o"}\n')
    at_the_end = tail.poll()

    assert before_it_exists == []
    assert with_a_half_line == [whole]
    assert at_the_end == ['{"event": "two"}']
    assert tail.lines == [whole, '{"event": "two"}']
