"""The fake keeps the promises of the ports that effects rely on."""

from __future__ import annotations

import pytest

from durable_kernel.errors import DivergenceError, RequestInterrupted, WorldClosedError
from durable_kernel.ports import CURRENT_LANE, REPEAT_NEVER, Act, Call, Lane, Outcome
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness

GET = Call("http", "GET /", {"url": "/"})
POST = Call("http", "POST /", {"url": "/"}, act=Act.REMOTE, repeat=REPEAT_NEVER)


def streamed(port: FakePort, lane: Lane, call: Call) -> None:
    step = port.begin(lane, call)
    step.set_head(200)
    step.add_part(b"a")
    step.add_part(b"b")
    step.settle(Outcome.of_value("done"))


def recorded(call: Call) -> FakeJournal:
    port = FakePort()
    with port.cell() as lane:
        streamed(port, lane, call)
    return port.journal()


def test_a_recorded_call_is_answered_with_all_of_it() -> None:
    port = FakePort(recorded(GET))

    with port.cell() as lane:
        step = port.begin(lane, GET)

    assert step.outcome == Outcome.of_value("done")
    assert (step.head, step.parts) == (200, [b"a", b"b"])
    assert (port.made, port.answered) == (0, 1)
    assert port.journal() == recorded(GET)


def test_a_cut_call_is_live_and_holds_its_prefix() -> None:
    """H23."""
    port = FakePort(recorded(GET).cut(0, parts=1))

    with port.cell() as lane:
        step = port.begin(lane, GET)
        assert (step.outcome, step.head, step.parts) == (None, 200, [b"a"])
        step.add_part(b"b")
        step.settle(Outcome.of_value("done"))

    assert port.journal() == recorded(GET)


def test_an_act_in_doubt_is_raised_or_decided() -> None:
    doubtful = recorded(POST).cut(0)

    with FakePort(doubtful).cell() as lane, pytest.raises(RequestInterrupted):
        lane.port.begin(lane, POST)
    with FakePort(doubtful, doubt=lambda _c, _a: Outcome.of_value(5)).cell() as lane:
        assert lane.port.begin(lane, POST).outcome == Outcome.of_value(5)


def test_another_call_diverges() -> None:
    with FakePort(recorded(GET)).cell() as lane, pytest.raises(DivergenceError):
        lane.port.begin(lane, Call("http", "GET /b", {"url": "/b"}))


def test_lanes_match_apart() -> None:
    live = FakePort()
    for path in ("/t1", "/t2"):
        with live.cell(path) as lane:
            live.draw(lane, "d", lambda: path)  # noqa: B023 - produced at once
            lane.record["soft"](path)

    again = FakePort(live.journal())
    found = []
    for path in ("/t2", "/t1"):
        with again.cell(path) as lane:
            source = lane.replay["soft"]
            assert source is not None
            found.append((again.draw(lane, "d", str), source(str)))

    assert found == [("/t2", "/t2"), ("/t1", "/t1")]
    assert again.is_live


def test_the_idempotency_key_is_stable_over_restarts() -> None:
    keys = []
    for journal in (None, recorded(GET)):
        port = FakePort(journal)
        with port.cell() as lane:
            keys.append(port.begin(lane, GET).idempotency_key)

    assert keys[0] == keys[1]


def test_a_settled_step_takes_no_second_outcome() -> None:
    port = FakePort()
    with port.cell() as lane:
        step = port.begin(lane, GET)
        step.settle(Outcome.of_value(1))
        step.settle(Outcome.of_value(2))

    assert port.journal().calls[0].outcome == Outcome.of_value(1)


def test_the_lane_is_current_in_a_cell_only() -> None:
    port = FakePort()

    with port.cell() as lane:
        inside = CURRENT_LANE.get()

    assert inside is lane
    assert CURRENT_LANE.get() is None


def test_a_witness_that_denies_stops_acts_only() -> None:
    witness = FakeWitness(denies=True)

    witness.crossing("reads a", is_act=False)
    with pytest.raises(WorldClosedError):
        witness.crossing("opens b", is_act=True)

    assert (witness.observations, witness.acts) == (["reads a"], ["opens b"])
