"""The short way of a recorded value says nothing else than the full verdict."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from durable_kernel.codec import Sealed
from durable_kernel.history import Choice, Head, Part, Record, Resolved, Settled
from durable_kernel.ports import Call, Ending
from durable_kernel.replay import PositionReplay, Serve
from durable_kernel.runtime.storing import is_plain_value
from tests.history.folding import act, cell, committed, history_of

NAMES = ["a", "b"]
SHAPES = ["value", "list", "error", "generators", "sealed", "stream", "answered", "cut"]


def settled(ordinal: int, **facts: Any) -> Settled:
    return Settled(ordinal=ordinal, lane="", **facts)


def records_of(ordinal: int, name: Any, shape: str) -> list[Record]:
    """Make what is recorded of one call."""
    announced = act(ordinal, str(name), identity={"name": name})
    match shape:
        case "value":
            rest: list[Record] = [settled(ordinal, value=ordinal)]
        case "list":
            rest = [settled(ordinal, value=[ordinal])]
        case "error":
            error = ["builtins:ValueError", "no", [], {}]
            rest = [settled(ordinal, ending=int(Ending.ERROR), error=error)]
        case "generators":
            rest = [settled(ordinal, value=1, generators={"random": [1]})]
        case "sealed":
            rest = [settled(ordinal, value="sealed")]
        case "stream":
            rest = [
                Head(ordinal=ordinal, lane="", value=1),
                Part(ordinal=ordinal, lane="", sizes=[1], content=b"x"),
                settled(ordinal, value=1),
            ]
        case "answered":
            answered = Resolved(
                position=0, lane="", ordinal=ordinal, choice=Choice.ANSWER.value, wall_ns=0, value=5
            )
            rest = [answered]
        case _:
            rest = []
    return [announced, *rest]


def replay_of(recorded: list[tuple[Any, str]], *, is_open: bool) -> PositionReplay:
    records: list[Record] = [cell()]
    for ordinal, (name, shape) in enumerate(recorded):
        records += records_of(ordinal, name, shape)
    history = history_of(*records, *([] if is_open else [committed()]))
    for call in history.calls.get("", []):
        if call.settled is not None and call.settled.value == "sealed":  # reading one takes a key
            call.settled.value = [{"of": Sealed("hidden")}]
    return PositionReplay(history, is_open=is_open)


def told(verdict: object) -> object:
    """Return a verdict, with what it would serve as plain values."""
    return (verdict.ordinal, verdict.call.settled) if isinstance(verdict, Serve) else verdict


CALLS = st.lists(st.tuples(st.sampled_from([*NAMES, 1, True]), st.sampled_from(SHAPES)), max_size=6)
ASKED = st.lists(st.sampled_from([*NAMES, 1, 1.0, True, None]), max_size=4)


@given(recorded=CALLS, behind=ASKED, is_open=st.booleans())
def test_the_short_way_and_the_full_verdict_agree(
    recorded: list[tuple[Any, str]],
    behind: list[Any],
    is_open: bool,
) -> None:
    """The questions are the recorded ones, then others."""
    full, short = (replay_of(recorded, is_open=is_open) for _ in range(2))

    for name in [*(name for name, _ in recorded), *behind]:
        asked = Call("http", str(name), {"name": name})
        ordinal = len(recorded) - len(short._own_calls)
        taken = short.take_value(asked, is_plain_value)
        answer = told(short.ask_call("", asked)) if taken is None else (ordinal, taken)

        assert repr(answer) == repr(told(full.ask_call("", asked)))
        assert short.hard_left == full.hard_left
        assert short.is_live == full.is_live
        assert short.next_call("") == full.next_call("")
        assert short.unmet_by("") == full.unmet_by("")


@given(recorded=CALLS, asked=st.sampled_from([*NAMES, 1, 1.0, True, None]))
def test_what_the_short_way_does_not_serve_it_leaves_there(
    recorded: list[tuple[Any, str]], asked: Any
) -> None:
    replay = replay_of(recorded, is_open=False)

    taken = replay.take_value(Call("http", str(asked), {"name": asked}), is_plain_value)

    if taken is None:
        assert replay.hard_left == len(recorded)
    else:
        assert (type(asked), asked) == (type(recorded[0][0]), recorded[0][0])
        assert recorded[0][1] in ("value", "list")
