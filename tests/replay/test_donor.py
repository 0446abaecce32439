"""The donor: one table of what a new attempt may take from the attempts before, and its rules.

An attempt is a line of words: "GET a" and "POST b" are calls that were answered, "cut GET a" one
without an answer, "u7" and "t7" a drawn and a read value 7, "ok" its good end. Without one it
failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from durable_kernel.history import (
    Announced,
    Observed,
    PositionHistory,
    Record,
    RecordCodec,
    Resolved,
    Reused,
    Settled,
)
from durable_kernel.ports import Act, Call, Ending
from durable_kernel.replay import Donor, Forbidden, Reuse
from tests.history.folding import cell, committed, frames

URANDOM, TIME = "os.urandom/8", "time.time"


def announced(ordinal: int, word: str, lane: str = "") -> Announced:
    act = int(not word.startswith("GET"))
    return Announced(
        ordinal=ordinal,
        lane=lane,
        kind="http",
        label=word,
        wall_ns=0,
        act=act,
        identity={"label": word},
        repeat_s=60 if word.startswith("PUT") else 0.0 if act else None,
    )


def records_of(line: str, lane: str = "") -> list[Record]:
    records: list[Record] = [cell()]
    ordinal, status = 0, "error"
    for word in filter(None, line.split(", ")):
        if word == "ok":
            status = "ok"
        elif word[0] in "ut":
            kind = URANDOM if word[0] == "u" else TIME
            records.append(
                Observed(lane=lane, kind=kind, values=[int(word[1:])], hard=word[0] == "u")
            )
        elif word.startswith("reused"):
            records.append(Reused(lane=lane, ordinal=ordinal, count=int(word.split()[1])))
            ordinal += int(word.split()[1])
        else:
            records += _call(ordinal, word, lane)
            ordinal += 1
    return [*records, committed(status=status)]


ENDINGS = {
    "interrupted": (Ending.ABANDONED, "builtins:KeyboardInterrupt"),
    "closed": (Ending.ABANDONED, "builtins:GeneratorExit"),
    "left": (Ending.INTERRUPTED, ""),
    "lost": (Ending.LOST, ""),
    "refused": (Ending.ERROR, "durable_kernel.errors:JournalFullError"),
    "failing": (Ending.ERROR, "builtins:OSError"),
}


def _call(ordinal: int, word: str, lane: str) -> list[Record]:
    how, _, rest = word.partition(" ")
    if how == "cut":
        return [announced(ordinal, rest, lane)]
    if how == "denied":
        denied = Resolved(position=0, lane=lane, ordinal=ordinal, choice="fail", wall_ns=0)
        return [announced(ordinal, rest, lane), denied]
    if how not in ENDINGS:
        return [announced(ordinal, word, lane), Settled(ordinal=ordinal, lane=lane, value=ordinal)]
    ending, kind = ENDINGS[how]
    error = [kind, "", [], {}] if kind else None
    settled = Settled(ordinal=ordinal, lane=lane, ending=int(ending), error=error)
    return [announced(ordinal, rest, lane), settled]


def history(line: str, donors: tuple[PositionHistory, ...] = ()) -> PositionHistory:
    return PositionHistory.of(frames(*records_of(line)), RecordCodec(), donors)


def attempts_of(*lines: str) -> tuple[PositionHistory, ...]:
    """Build attempts, given newest first; each may reuse those behind it."""
    attempts: tuple[PositionHistory, ...] = ()
    for line in reversed(lines):
        attempts = (history(line, attempts), *attempts)
    return attempts


def donor_of(
    *lines: str, is_unchanged: bool = False, repeats_acts: bool = False, now_s: float = 10.0
) -> Donor:
    return Donor(
        attempts_of(*lines),
        is_unchanged=is_unchanged,
        now_ns=int(now_s * 1e9),
        repeats_acts=repeats_acts,
    )


def asked(word: str) -> Call:
    act = Act.OBSERVATION if word.startswith("GET") else Act.REMOTE
    return Call("http", word, {"label": word}, act=act)


def told(donor: Donor, question: str, lane: str = "") -> str:
    """Ask, and say the answer in a word."""
    if question == "u":
        value = donor.draw(lane, URANDOM)
        return f"u{value[0]}" if value else "fresh"
    if question == "t":
        value = donor.see(lane, TIME)
        return f"t{value[0]}" if value else "fresh"
    match donor.ask(lane, asked(question)):
        case Reuse(_, back):
            return f"reuse {back}"
        case Forbidden(acts):
            return "forbidden: " + " + ".join(each.label for each in acts)
    return "live"


@dataclass(frozen=True)
class Case:
    """Attempts, newest first; what the new one asks, and is told."""

    attempts: list[str]
    questions: str
    answers: str
    options: dict[str, Any] = field(default_factory=dict)


UNCHANGED = {"is_unchanged": True}
ALLOWED = {"repeats_acts": True}

CASES = {
    "edited: all that matches is reused, then live": Case(
        ["GET a, GET b"], "GET a, GET b, GET c", "reuse 1, reuse 1, live"
    ),
    "the first other call frees its lane for good": Case(
        ["GET a, GET b, GET c"], "GET a, GET x, GET c", "reuse 1, live, live"
    ),
    "unchanged: the last call is live": Case(
        ["GET a, GET b"], "GET a, GET b, GET c", "reuse 1, live, live", UNCHANGED
    ),
    "unchanged: the only call is live": Case(["GET a"], "GET a", "live", UNCHANGED),
    "unchanged: the last call is an act, so it is not made again": Case(
        ["GET a, POST b"], "GET a, POST b", "reuse 1, reuse 1", UNCHANGED
    ),
    "unchanged: the last act is made again where the user allowed it": Case(
        ["GET a, POST b"], "GET a, POST b", "reuse 1, live", UNCHANGED | ALLOWED
    ),
    "unchanged: the last act may be repeated by itself in its time": Case(
        ["GET a, PUT b"], "GET a, PUT b", "reuse 1, live", UNCHANGED
    ),
    "unchanged: and not behind its time": Case(
        ["GET a, PUT b"], "GET a, PUT b", "reuse 1, reuse 1", UNCHANGED | {"now_s": 61.0}
    ),
    "unchanged: an act that a user marked as failed did not happen": Case(
        ["GET a, denied POST b"], "GET a, POST b", "reuse 1, live", UNCHANGED
    ),
    "an act that failed is an act": Case(["failing POST b"], "POST b", "reuse 1", UNCHANGED),
    "another act is forbidden while acts of the lane are left": Case(
        ["GET a, POST b, POST c"], "GET a, POST x", "reuse 1, forbidden: POST b + POST c"
    ),
    "another observation is not": Case(
        ["GET a, POST b"], "GET a, GET x, GET b", "reuse 1, live, live"
    ),
    "but behind it every act is forbidden": Case(
        ["POST b"], "GET x, POST b", "live, forbidden: POST b"
    ),
    "forbidden stays forbidden": Case(["POST b"], "POST x, POST b", "forbidden: POST b, reuse 1"),
    "the user may allow it": Case(["POST b"], "POST x, POST b", "live, live", ALLOWED),
    "an act goes live once all acts are reused": Case(
        ["POST a, GET b"], "POST a, POST x", "reuse 1, live"
    ),
    "an act that may be repeated is in nobody's way": Case(["PUT a"], "POST x", "live"),
    "a cut observation is made again": Case(["GET a, cut GET b"], "GET a, GET b", "reuse 1, live"),
    "a cut act is in doubt here too": Case(
        ["GET a, cut POST b"], "GET a, POST b", "reuse 1, reuse 1"
    ),
    "another act does not push it aside": Case(["cut POST b"], "POST x", "forbidden: POST b"),
    "what Ctrl-C cut is not served": Case(
        ["GET a, interrupted GET b"], "GET a, GET b", "reuse 1, live"
    ),
    "an act that Ctrl-C cut is neither served nor made again": Case(
        ["interrupted POST b"], "POST b", "forbidden: POST b"
    ),
    "nor one whose answer the disk had no room for": Case(
        ["lost POST b"], "POST b", "forbidden: POST b"
    ),
    "nor one that nobody decided about": Case(["left POST b"], "POST b", "forbidden: POST b"),
    "a call that a full disk refused never left": Case(["refused POST b"], "POST b", "live"),
    "an answer left unread in the middle is served": Case(
        ["closed GET a, GET b"], "GET a, GET b", "reuse 1, reuse 1"
    ),
    "but not where the attempt broke off in it: more of it may be read now": Case(
        ["GET a, closed GET b"], "GET a, GET b", "reuse 1, live"
    ),
    "a good end is no break": Case(["closed GET a, ok"], "GET a", "reuse 1"),
    "a closed act is not made again": Case(["closed POST a"], "POST a", "reuse 1"),
    "draws follow up to the last call that can be reused": Case(
        ["u1, GET a, u2, GET b, u3"], "u, GET a, u, GET b, u", "u1, reuse 1, u2, reuse 1, fresh"
    ),
    "draws and clocks of a cell without a call are fresh": Case(["u1, t2"], "u, t", "fresh, fresh"),
    "clocks follow as well": Case(["t1, GET a, t2"], "t, GET a, t", "t1, reuse 1, fresh"),
    "unchanged: what the live call is made from is fresh": Case(
        ["u1, GET a, u2, GET b"], "u, GET a, u, GET b", "u1, reuse 1, fresh, live", UNCHANGED
    ),
    "a freed lane draws anew": Case(["GET a, u1, GET b"], "GET x, u", "live, fresh"),
    "a draw too many is fresh": Case(["u1, GET a"], "u, u, GET a", "u1, fresh, reuse 1"),
    "an attempt that broke off early hides nothing": Case(
        ["", "u1, GET a, GET b"], "u, GET a, GET b", "u1, reuse 2, reuse 2"
    ),
    "reuse reaches through": Case(
        ["reused 1, GET x", "GET a, GET b"], "GET a, GET x", "reuse 1, reuse 1"
    ),
    "and comes back to the older story": Case(
        ["reused 1, GET x", "GET a, GET b, GET c"],
        "GET a, GET b, GET c",
        "reuse 1, reuse 2, reuse 2",
    ),
    "stories are not mixed": Case(
        ["GET a, GET x", "GET a, GET b, GET c"], "GET a, GET x, GET c", "reuse 1, reuse 1, live"
    ),
    "unchanged: the last call is live though an older attempt has it": Case(
        ["reused 1, GET b", "GET a, GET b"], "GET a, GET b", "reuse 1, live", UNCHANGED
    ),
    "acts of older attempts are not forgotten": Case(
        ["reused 1, GET x", "GET a, POST b"],
        "GET a, GET x, POST b",
        "reuse 1, reuse 1, forbidden: POST b",
    ),
    "an act reused twice is one act": Case(
        ["reused 2", "GET a, POST b"], "GET a, POST b, POST c", "reuse 1, reuse 1, live"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_new_attempt_is_told(case: Case) -> None:
    donor = donor_of(*case.attempts, **case.options)

    answers = [told(donor, question) for question in case.questions.split(", ")]

    assert ", ".join(answers) == case.answers


@pytest.mark.parametrize("cut", range(4))
def test_an_interrupted_attempt_goes_on_where_it_was(cut: int) -> None:
    """Whatever it recorded before: the donor's cursors are behind it."""
    old = attempts_of("u1, GET a, t5, u2, GET b, GET c")
    donor = Donor(old, is_unchanged=False, now_ns=0, repeats_acts=False)
    lines = ["", "u1", "u1, reused 1, t5", "u1, reused 1, t5, u2, reused 1"]
    questions = ["u", "GET a", "t", "u", "GET b", "GET c"]
    answers = ["u1", "reuse 1", "t5", "u2", "reuse 1", "reuse 1"]
    done = [0, 1, 3, 5][cut]

    donor.follow(history(lines[cut], old))

    assert [told(donor, each) for each in questions[done:]] == answers[done:]


def test_an_interrupted_attempt_that_was_free_stays_free() -> None:
    old = attempts_of("GET a, GET b")
    donor = Donor(old, is_unchanged=False, now_ns=0, repeats_acts=False)

    donor.follow(history("reused 1, GET x", old))

    assert told(donor, "GET b") == "live"


def test_lanes_follow_apart() -> None:
    """Another lane's difference frees that lane only."""
    records = records_of("GET a, GET b")[:-1] + records_of("GET c, GET d", lane="/t1")[1:]
    old = PositionHistory.of(frames(*records), RecordCodec())
    donor = Donor([old], is_unchanged=False, now_ns=0, repeats_acts=False)

    answers = [
        told(donor, "GET c", "/t1"),
        told(donor, "GET x", "/t1"),
        told(donor, "GET a"),
        told(donor, "GET b"),
    ]

    assert answers == ["reuse 1", "live", "reuse 1", "reuse 1"]


def test_the_main_lane_draws_on_while_another_lane_can_reuse() -> None:
    """A cell draws a name, and its threads make the calls: they are to be the same calls."""
    records = [*records_of("u1")[:-1], *records_of("GET c", lane="/t1")[1:]]
    old = PositionHistory.of(frames(*records), RecordCodec())
    donor = Donor([old], is_unchanged=False, now_ns=0, repeats_acts=False)

    answers = [told(donor, "u"), told(donor, "GET c", "/t1"), told(donor, "u")]

    assert answers == ["u1", "reuse 1", "fresh"]


def test_an_act_that_another_lane_did_is_not_done_again() -> None:
    records = [*records_of("GET a")[:-1], *records_of("POST c", lane="/t1")[1:]]
    old = PositionHistory.of(frames(*records), RecordCodec())
    donor = Donor([old], is_unchanged=False, now_ns=0, repeats_acts=False)

    assert told(donor, "POST x") == "live"
    assert told(donor, "POST c") == "forbidden: POST c"


def test_what_is_left_behind_is_known() -> None:
    donor = donor_of("POST a, GET b, POST c, PUT d")
    donor.ask("", asked("POST a"))

    left = donor.left_behind()

    assert [each.label for each in left] == ["POST c"]
    assert donor.reused == 1


def test_the_act_that_keeps_an_unchanged_cell_failing_is_known() -> None:
    assert donor_of("GET a").kept is None
    kept = donor_of("GET a, POST b", is_unchanged=True).kept
    assert kept is not None
    assert kept.label == "POST b"


def test_how_many_calls_can_be_reused_is_known() -> None:
    assert donor_of("GET a, GET b").offered == 2
    assert donor_of("GET a, GET b", is_unchanged=True).offered == 1
    assert donor_of("", "GET a, GET b").offered == 2
