"""A judge that never finds anything is worth nothing: each kind of violation is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.attempt import Attempt
from tests.crash.judge import Journal, Judge
from tests.crash.witness import Arrival

POST = "POST /post/1"
GET = "GET /get/1"


def arrival(label: str, *, acted: bool = False) -> Arrival:
    kind, rid = label.split("/")[1:3]
    return Arrival(0, label, kind, rid, acted)


def shown(text: str, kind: str = "stdout", position: int = 0) -> dict[str, Any]:
    return {"what": "shown", "position": position, "kind": kind, "text": text}


def ended(reason: str | None = None, *notices: str) -> dict[str, Any]:
    return {"what": "end", "stopped_by": reason, "notices": list(notices)}


DONE = Journal({0: "ok"}, {POST}, texts={0: {"stdout": "1 2"}})


class Trial:
    """A case of one cell."""

    def __init__(self) -> None:
        self.judge = Judge(1)
        self.arrivals: list[Arrival] = []

    def killed(self, journal: Journal, *arrivals: Arrival, events: Any = ()) -> Trial:
        return self._attempt(Attempt(list(events), "killed"), journal, arrivals)

    def done(self, journal: Journal, *arrivals: Arrival, events: Any = ()) -> Trial:
        return self._attempt(Attempt(list(events), "done"), journal, arrivals)

    def ended_as(self, how: str, *events: dict[str, Any]) -> Trial:
        return self._attempt(Attempt(list(events), how), DONE, ())

    def _attempt(self, attempt: Attempt, journal: Journal, arrivals: tuple[Arrival, ...]) -> Trial:
        self.judge.hear(attempt, journal, list(arrivals))
        self.arrivals += arrivals
        return self

    def found(self) -> list[str]:
        self.judge.conclude(self.arrivals)
        return [each.kind for each in self.judge.violations]


@pytest.mark.parametrize(
    "trial",
    [
        Trial().done(DONE, arrival(POST, acted=True), events=[shown("1 2"), shown("ok", "reply")]),
        Trial().killed(Journal(), arrival(POST, acted=True)).done(DONE),
        Trial().killed(Journal(cut={GET}), arrival(GET)).done(DONE, arrival(GET)),
        Trial()
        .killed(Journal(cut={"PUT /put/1"}), arrival("PUT /put/1", acted=True))
        .done(DONE, arrival("PUT /put/1", acted=True)),
        Trial().killed(Journal(), events=[shown("1 ")]).done(DONE, events=[shown("1 2")]),
        Trial()
        .killed(Journal())
        .ended_as("stopped", ended("RunSuspendedError: decide with --retry"))
        .done(DONE),
        Trial().killed(Journal()).ended_as("left").done(DONE),
    ],
)
def test_what_the_promise_allows_is_no_finding(trial: Trial) -> None:
    assert trial.found() == []


@pytest.mark.parametrize(
    ("kind", "trial"),
    [
        ("repeated", Trial().killed(DONE, arrival(POST)).done(DONE, arrival(POST))),
        ("repeated", Trial().done(DONE, arrival(GET), arrival(GET))),
        (
            "repeated",
            Trial()
            .killed(Journal(cut={POST}), arrival(POST, acted=True))
            .done(DONE, arrival(POST, acted=True)),
        ),
        (
            "repeated",
            Trial()
            .killed(Journal(), arrival("PUT /put/1", acted=True))
            .done(DONE, arrival("PUT /put/1", acted=True)),
        ),
        ("lost", Trial().killed(Journal(), events=[shown("ok", "reply")]).done(DONE)),
        ("lost", Trial().killed(DONE).done(Journal({0: "error"}, {POST}))),
        ("lost", Trial().killed(Journal(settled={GET})).done(DONE)),
        ("lost", Trial().done(Journal())),
        ("lost", Trial().ended_as("failed", {"what": "failed", "error": "Boom"})),
        ("lost", Trial().ended_as("stopped", ended("DivergenceError: another call"))),
        ("changed", Trial().killed(Journal(), events=[shown("1 3")]).done(DONE)),
        ("changed", Trial().killed(Journal(), events=[shown("oops", "error")]).done(DONE)),
        ("changed", Trial().ended_as("done", ended(None, "cell 0 printed something else"))),
        (
            "changed",
            Trial().done(Journal({0: "error"}, texts={0: {"error": "ReadError: changed"}})),
        ),
        ("hung", Trial().ended_as("hung")),
    ],
)
def test_each_violation_is_found_once(kind: str, trial: Trial) -> None:
    assert trial.found() == [kind]


def test_a_replay_of_all_shows_all() -> None:
    trial = Trial().done(DONE, events=[shown("1 2")]).done(DONE, events=[shown("1 ")])

    trial.judge.conclude_replay()

    assert trial.found() == ["changed"]
