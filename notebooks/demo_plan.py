"""What the demo decides: when to kill whom, how doubt is settled, whether the promises held.

Pure: facts come in as exchanges of the access log and times, decisions go out. It starts, kills
and prints nothing; `demo` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from notebooks.flights_compare import Comparison
from notebooks.flights_log import Exchange, count_pages

__all__ = [
    "Kill",
    "KillPoint",
    "PageRow",
    "Promise",
    "Settlement",
    "Victim",
    "answer_file",
    "describe_moment",
    "judge",
    "page_rows",
    "plan_kills",
    "settle",
]


class Victim(StrEnum):
    """Which process is killed."""

    KERNEL = "kernel"
    RUNNER = "runner"


@dataclass(frozen=True)
class KillPoint:
    """One planned kill: between two pages, from `after_page` on, or (None) inside the POST."""

    victim: Victim
    after_page: int | None

    def is_due(self, newest: Exchange, kept_at_s: float) -> bool:
        """Tell whether this is the moment, `newest` being the last request that arrived.

        Between two pages: one is out, and since then something was written to the store at
        `kept_at_s`. So its answer is in the journal, however slow the machine is; the notebook
        parses it, or rests.
        """
        if self.after_page is None:
            return newest.is_report and newest.sent_at_s is None and not newest.was_cut
        if newest.page is None or newest.page < self.after_page or newest.sent_at_s is None:
            return False
        return kept_at_s > newest.sent_at_s


def plan_kills(pages: int) -> list[KillPoint]:
    """Plan the three kills: of 169 pages, at about page 40 and 100, and inside the POST."""
    return [
        KillPoint(Victim.KERNEL, after_page=pages * 40 // 169),
        KillPoint(Victim.RUNNER, after_page=pages * 100 // 169),
        KillPoint(Victim.KERNEL, after_page=None),
    ]


@dataclass(frozen=True)
class Kill:
    """A kill that was done."""

    victim: Victim
    at_s: float
    moment: str


def describe_moment(newest: Exchange | None) -> str:
    """Say in words what was under way, `newest` being the last request that arrived."""
    if newest is None:
        return "before the first request"
    if newest.is_report:
        return "after the POST" if newest.is_completed else "inside the POST"
    is_open = newest.sent_at_s is None
    if newest.page is None:
        return f"{'during' if is_open else 'after'} {newest.method} {newest.path}"
    if is_open:
        return f"while page {newest.page} was being served"
    return f"after page {newest.page}, before the next request"


@dataclass(frozen=True)
class Settlement:
    """How a POST in doubt is to be settled: with the answer that got lost, or (None) anew."""

    answer: Mapping[str, str] | None


def settle(arrived: Sequence[Mapping[str, Any]], exchanges: Sequence[Exchange]) -> Settlement:
    """Decide as a person would who looks at the server.

    `arrived` are the reports that the server has. If it has one more than it answered for, that
    one is the POST in doubt, and its receipt is the answer that nobody read. If it has none, the
    POST never arrived and can be made again. Raises ValueError for anything else: more than one
    unanswered report is a broken promise, not a doubt.
    """
    answered = sum(exchange.is_report and exchange.is_completed for exchange in exchanges)
    unanswered = arrived[answered:]
    if not unanswered:
        return Settlement(None)
    if len(unanswered) > 1:
        raise ValueError(f"{len(unanswered)} reports arrived without an answer; expected one")
    return Settlement(
        {"receipt": unanswered[0]["receipt"], "report_id": unanswered[0]["report_id"]}
    )


@dataclass(frozen=True)
class PageRow:
    """A stretch of pages with the same counts."""

    first: int
    last: int
    asked: int
    completed: int
    from_journal: int


def page_rows(exchanges: Sequence[Exchange], kernels_seen_s: Sequence[float]) -> list[PageRow]:
    """Count for each page, and join neighbours with the same counts.

    How often a page came from the journal is inferred from outside: each kernel that began after
    the page was completed needs it again, and gets it from the journal unless the server saw it
    ask. A kernel that died before it reached the page is counted too.
    """
    completed_at_s: dict[int, float] = {}
    asked_later: Counter[int] = Counter()
    for exchange in exchanges:
        if exchange.page is None:
            continue
        if exchange.page in completed_at_s:
            asked_later[exchange.page] += 1
        elif exchange.is_completed and exchange.sent_at_s is not None:
            completed_at_s[exchange.page] = exchange.sent_at_s
    rows = []
    for count in count_pages(exchanges):
        done_s = completed_at_s.get(count.page)
        later = sum(done_s is not None and seen_s > done_s for seen_s in kernels_seen_s)
        from_journal = max(0, later - asked_later[count.page])
        rows.append((count.page, (count.asked, count.completed, from_journal)))
    return [
        PageRow(stretch[0][0], stretch[-1][0], *counts)
        for counts, group in groupby(rows, key=lambda row: row[1])
        for stretch in [list(group)]
    ]


@dataclass(frozen=True)
class Promise:
    """One promise, whether it held, and what was found."""

    sentence: str
    holds: bool
    found: str


def judge(
    exchanges: Sequence[Exchange],
    stock: Sequence[Exchange],
    *,
    pages: int,
    arrived_reports: int,
    kills: Sequence[Kill],
    kills_left: Sequence[KillPoint],
    comparison: Comparison,
) -> list[Promise]:
    """Judge the run by the server's log and the two notebooks.

    `stock` is what the stock kernel's run asked for; `pages` is how many pages there are.
    """
    return [
        _pages_completed_once(exchanges, pages),
        _others_completed_once(exchanges, stock),
        _cut_only_by_kills(exchanges, len(kills)),
        _one_report(exchanges, arrived_reports),
        _same_notebook(comparison),
        _kills_done(kills, kills_left),
    ]


def _pages_completed_once(exchanges: Sequence[Exchange], pages: int) -> Promise:
    completed = {count.page: count.completed for count in count_pages(exchanges)}
    wrong = [page for page in range(1, pages + 1) if completed.get(page, 0) != 1]
    return Promise(
        "each page was completed exactly once",
        not wrong and len(completed) == pages,
        f"{pages - len(wrong)} of {pages} pages" + (f", not {_listed(wrong)}" if wrong else ""),
    )


def _others_completed_once(exchanges: Sequence[Exchange], stock: Sequence[Exchange]) -> Promise:
    completed = Counter(_label(e) for e in exchanges if _is_other(e) and e.is_completed)
    wanted = {_label(e) for e in stock if _is_other(e)}
    asked = {_label(e) for e in exchanges if _is_other(e)}
    wrong = sorted(label for label in wanted | asked if completed[label] != 1)
    wrong += sorted(asked - wanted - set(wrong))
    return Promise(
        "so was each other request for data that the stock kernel makes",
        not wrong and bool(wanted),
        f"{len(wanted)} requests" + (f", not {_listed(wrong)}" if wrong else ""),
    )


def _is_other(exchange: Exchange) -> bool:
    # Whoever settles a doubt looks at the reports; the notebook never does.
    return exchange.method == "GET" and exchange.page is None and exchange.path != "/reports"


def _label(exchange: Exchange) -> str:
    mark = "?" if exchange.query else ""
    return f"{exchange.method} {exchange.path}{mark}{exchange.query}"


def _cut_only_by_kills(exchanges: Sequence[Exchange], kills: int) -> Promise:
    cut = [exchange for exchange in exchanges if not exchange.is_completed]
    return Promise(
        "no more requests were cut than processes killed",
        len(cut) <= kills,
        f"{len(cut)} cut, {kills} killed"
        + (f": {_listed([_label(e) for e in cut])}" if cut else ""),
    )


def _one_report(exchanges: Sequence[Exchange], arrived_reports: int) -> Promise:
    posted = sum(exchange.is_report for exchange in exchanges)
    return Promise(
        "the report was handed in exactly once",
        posted == 1 and arrived_reports == 1,
        f"{posted} POST, {arrived_reports} report kept by the server",
    )


def _same_notebook(comparison: Comparison) -> Promise:
    differing = sorted({difference.cell for difference in comparison.differences})
    return Promise(
        "the finished notebook equals the stock kernel's, byte for byte",
        not comparison.differences and bool(comparison.compared),
        f"{len(comparison.compared)} code cells compared, {len(comparison.left_out)} with clock or "
        f"entropy left out" + (f", different: {_listed(differing)}" if differing else ""),
    )


def _kills_done(kills: Sequence[Kill], left: Sequence[KillPoint]) -> Promise:
    return Promise(
        "and all that although it was killed as planned",
        not left,
        f"{len(kills)} × kill -9"
        + (f", not done: {_listed([point.victim for point in left])}" if left else ""),
    )


def _listed(things: Sequence[object], shown_max: int = 5) -> str:
    """Name the first things and count the rest."""
    rest = len(things) - shown_max
    return ", ".join(map(str, things[:shown_max])) + (f" and {rest} more" if rest > 0 else "")


def answer_file(answer: Mapping[str, str]) -> bytes:
    """Return what `durable resolve --answer` takes for an HTTP call: the response as JSON."""
    response = {
        "status": 201,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(answer),
    }
    return json.dumps(response).encode()
