"""The replay machine: one table of cases, and the rules about what decides that a run is live."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from durable_kernel.history import Observed, Record, Resolved, Resumed, Settled
from durable_kernel.ports import Act, Call
from durable_kernel.replay import Diverges, GoLive, PositionReplay, Serve, ServeValue, Unfinished
from tests.history.folding import act, cell, committed, history_of, look

URANDOM = "os.urandom/8"


def settled(ordinal: int) -> Settled:
    return Settled(ordinal=ordinal, lane="", value=ordinal)


def drawn(*values: object, kind: str = URANDOM, lane: str = "") -> Observed:
    return Observed(lane=lane, kind=kind, values=list(values), hard=True)


def read(*values: float) -> Observed:
    return Observed(lane="", kind="time.time", values=list(values))


def replay_of(*records: Record) -> PositionReplay:
    history = history_of(cell(), *records)
    return PositionReplay(history, is_open=history.committed is None)


def get(label: str = "GET /x", **identity: object) -> Call:
    return Call("http", label, identity)


def ask(replay: PositionReplay, question: str) -> object:
    """Ask "GET /x" as a call, "draw KIND" as a draw."""
    if question.startswith("draw "):
        return replay.ask_draw("", question.removeprefix("draw "))
    return replay.ask_call("", Call("http", question, {"label": question}))


def told(answer: object) -> str:
    """The verdict in a word, and what it carries."""
    match answer:
        case Serve(ordinal):
            return f"serve {ordinal}"
        case ServeValue(value):
            return f"value {value}"
        case Unfinished(ordinal):
            return f"unfinished {ordinal}"
        case GoLive(ordinal):
            return "live" if ordinal < 0 else f"live {ordinal}"
        case Diverges(recorded, asked):
            return f"{recorded} is not {asked}"
    raise AssertionError


@dataclass(frozen=True)
class Case:
    """Records behind the cell's own; questions; the verdict of each; whether it is live then."""

    records: list[Record]
    questions: list[str]
    verdicts: list[str]
    is_live: bool


A, B = "GET /a", "GET /b"


def call(ordinal: int, label: str) -> Record:
    return look(ordinal, label, identity={"label": label})


CASES = {
    "nothing recorded": Case([], [A, f"draw {URANDOM}"], ["live 0", "live"], is_live=True),
    "all answered, then live": Case(
        [call(0, A), settled(0), drawn(7)],
        [A, f"draw {URANDOM}", B, f"draw {URANDOM}"],
        ["serve 0", "value 7", "live 1", "live"],
        is_live=True,
    ),
    "not live before the last hard record": Case(
        [call(0, A), settled(0), drawn(7)], [A], ["serve 0"], is_live=False
    ),
    "cut": Case([call(0, A)], [A, B], ["unfinished 0", "live 1"], is_live=True),
    "answers of two attempts": Case(
        [call(0, A), settled(0), Resumed(position=0, wall_ns=0), call(1, B), settled(1)],
        [A, B],
        ["serve 0", "serve 1"],
        is_live=True,
    ),
    "another call": Case([call(0, A), settled(0)], [B], ["GET /a is not GET /b"], is_live=False),
    "a draw too many before a call": Case(
        [drawn(7), call(0, A), settled(0)],
        [f"draw {URANDOM}", f"draw {URANDOM}"],
        ["value 7", f"GET /a is not a draw of {URANDOM}"],
        is_live=False,
    ),
    "a call before the draws that were left": Case(
        [call(0, A), settled(0), drawn(7)],
        [A, B],
        ["serve 0", f"a draw of {URANDOM} is not GET /b"],
        is_live=False,
    ),
    "entropy of another size": Case(
        [drawn(7)],
        ["draw os.urandom/16"],
        [f"a draw of {URANDOM} is not a draw of os.urandom/16"],
        is_live=False,
    ),
    "committed": Case([call(0, A), settled(0), committed()], [A], ["serve 0"], is_live=False),
    "a call too many in a committed cell": Case(
        [call(0, A), settled(0), committed()],
        [A, B],
        ["serve 0", "nothing more in this cell is not GET /b"],
        is_live=False,
    ),
    "a draw too many in a committed cell": Case(
        [committed()],
        [f"draw {URANDOM}"],
        [f"nothing more in this cell is not a draw of {URANDOM}"],
        is_live=False,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_verdicts_follow_the_table(case: Case) -> None:
    """H6, H31: hard records match one by one; an extra hard question diverges at once."""
    replay = replay_of(*case.records)

    verdicts = [told(ask(replay, question)) for question in case.questions]

    assert verdicts == case.verdicts
    assert replay.is_live is case.is_live


def test_soft_records_never_keep_a_run_from_being_live() -> None:
    """H31: a clock that nobody reads any more is dropped."""
    replay = replay_of(read(1.0, 2.0), call(0, A), settled(0))

    ask(replay, A)

    assert replay.is_live
    assert replay.untaken_soft() == 2


def test_a_soft_column_is_handed_over_once() -> None:
    replay = replay_of(read(1.0), read(2.0))

    assert replay.take_soft("", "time.time") == [1.0, 2.0]
    assert replay.take_soft("", "time.time") == []


def test_a_diverging_question_consumes_nothing() -> None:
    """The latch decides what happens next; the journal's cursor stays where it was."""
    replay = replay_of(call(0, A), settled(0))

    ask(replay, B)

    assert told(ask(replay, A)) == "serve 0"


def test_kinds_of_entropy_are_consumed_apart() -> None:
    """H31: entropy is hard per (lane, call, size)."""
    replay = replay_of(drawn(1, 2), drawn(9, kind="uuid.uuid1"), drawn(3))

    drawn_again = [told(ask(replay, f"draw {kind}")) for kind in ("uuid.uuid1", URANDOM, URANDOM)]

    assert drawn_again == ["value 9", "value 1", "value 2"]
    assert not replay.is_live


def test_a_lane_that_used_up_its_records_goes_on_while_others_have_some() -> None:
    """Only its own left-overs keep an open position's lane from going live."""
    replay = replay_of(drawn(1, lane="/t1"))

    assert told(replay.ask_draw("", URANDOM)) == "live"
    assert not replay.is_live


@pytest.mark.parametrize(
    ("records", "asked", "unmet"),
    [
        ([call(0, A), settled(0)], [A], ""),
        ([read(1.0)], [], ""),
        ([call(0, A), settled(0), call(1, B), settled(1)], [A], B),
        ([drawn(1, 2)], [f"draw {URANDOM}"], f"a draw of {URANDOM}"),
    ],
)
def test_what_a_committed_cell_never_asked_for_is_named(
    records: list[Record], asked: list[str], unmet: str
) -> None:
    replay = replay_of(*records, committed())

    for question in asked:
        ask(replay, question)

    found = replay.unmet_by("")
    assert (found.recorded if found is not None else "") == unmet


def test_each_field_of_the_identity_that_differs_is_shown() -> None:
    recorded = look(identity={"method": "GET", "url": "/a", "body": "1f"})
    replay = replay_of(recorded)

    verdict = replay.ask_call("", get(method="GET", url="/b", key="k"))

    assert isinstance(verdict, Diverges)
    assert verdict.differences == (
        "url: recorded '/a', asked '/b'",
        "body: recorded '1f', asked nothing",
        "key: recorded nothing, asked 'k'",
    )


def test_details_are_never_verified() -> None:
    """H32: headers, durations and time-outs are only shown."""
    replay = replay_of(look(details={"timeout": 5.0, "headers": {"user-agent": "1"}}))

    verdict = replay.ask_call("", Call("http", "GET /x", {}, {"timeout": 9.9}))

    assert isinstance(verdict, Unfinished)


@pytest.mark.parametrize(
    ("recorded", "asked"), [(1, True), (1, 1.0), ("1", b"1"), ((1,), [1]), (None, "")]
)
def test_equal_looking_values_of_two_types_are_different(recorded: object, asked: object) -> None:
    replay = replay_of(look(identity={"body": recorded}))

    assert isinstance(replay.ask_call("", get(body=asked)), Diverges)


def test_another_kind_of_call_says_so() -> None:
    replay = replay_of(look())

    verdict = replay.ask_call("", Call("step", "GET /x"))

    assert isinstance(verdict, Diverges)
    assert verdict.differences == ("kind: recorded http, asked step",)


@pytest.mark.parametrize(("asked", "is_named"), [(B, True), ("GET /c", False)])
def test_a_call_that_stands_later_points_at_the_order(asked: str, *, is_named: bool) -> None:
    """H40: a set of plain objects iterates by their addresses."""
    replay = replay_of(call(0, A), settled(0), call(1, B), settled(1))

    verdict = ask(replay, asked)

    assert isinstance(verdict, Diverges)
    assert ("order" in verdict.likely_cause) is is_named


def test_a_call_answered_by_a_user_is_served() -> None:
    answered = Resolved(
        position=0, lane="", ordinal=0, choice="answer", wall_ns=0, value="paid already"
    )
    replay = replay_of(act(0, "POST /x"), answered)

    assert isinstance(replay.ask_call("", Call("http", "POST /x", act=Act.REMOTE)), Serve)


def test_a_position_that_never_ran_is_live_from_the_start() -> None:
    assert PositionReplay(None, is_open=True).is_live


def test_its_representation_tells_where_it_stands() -> None:
    replay = replay_of(drawn(1, 2))

    assert repr(replay) == "<PositionReplay replaying, 2 hard records left>"
    ask(replay, f"draw {URANDOM}")
    ask(replay, f"draw {URANDOM}")
    assert repr(replay) == "<PositionReplay live>"
