"""Prompts: a person is asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import pytest

from durable_kernel.effects.prompts import ask
from durable_kernel.errors import AnswerRejectedError, DivergenceError
from durable_kernel.ports import (
    CURRENT_LANE,
    Act,
    AnswerParser,
    Call,
    Ending,
    Lane,
    Outcome,
    Secret,
)
from durable_kernel.testing.fake_port import FakePort, FakeStep


class NoFrontEndError(NotImplementedError):
    """As a kernel raises it when nobody can be asked."""


def nobody() -> Never:
    pytest.fail("a person was asked again")


def asked(port: FakePort, read: Callable[[], str], *, secret: bool = False) -> str:
    with port.cell() as lane:
        return ask(lane, "name? ", read, secret=secret)


@pytest.mark.parametrize("secret", [False, True])
def test_a_line_is_typed_once(secret: bool) -> None:
    live = FakePort()

    first = asked(live, lambda: "Ada", secret=secret)
    second = asked(FakePort(live.journal()), nobody, secret=secret)

    assert first == second == "Ada"


def test_a_password_is_recorded_as_a_secret_only() -> None:
    """H18: what replay needs is sealed, and nothing that is shown holds it."""
    live = FakePort()

    asked(live, lambda: "hunter2", secret=True)

    assert live.steps[0].entry.outcome == Outcome.of_value(Secret("hunter2"))
    assert "hunter2" not in repr(live.journal())


def test_a_question_is_an_observation_that_may_be_asked_again() -> None:
    """A crash while the prompt waits: the person sees it again."""
    live = FakePort()
    asked(live, lambda: "Ada")

    again = FakePort(live.journal().cut(0))
    found = asked(again, lambda: "Grace")

    assert found == "Grace"
    assert live.calls[0].act is Act.OBSERVATION


def test_another_question_than_the_recorded_one_diverges() -> None:
    live = FakePort()
    asked(live, lambda: "Ada")

    with FakePort(live.journal()).cell() as lane, pytest.raises(DivergenceError):
        ask(lane, "age? ", nobody, secret=False)


@pytest.mark.parametrize(
    ("raised", "ending"),
    [
        (EOFError("no more"), Ending.ERROR),
        (NoFrontEndError("frontend does not support input"), Ending.ERROR),
        (KeyboardInterrupt(), Ending.ABANDONED),
    ],
)
def test_what_a_prompt_raises_is_raised_again(raised: BaseException, ending: Ending) -> None:
    """H17: an interrupt leaves nothing in doubt either."""
    live = FakePort()

    def read() -> Never:
        raise raised

    with pytest.raises(type(raised)) as first:
        asked(live, read)
    with pytest.raises(type(raised)) as second:
        asked(FakePort(live.journal()), nobody)

    assert (type(second.value), str(second.value)) == (type(first.value), str(first.value))
    outcome = live.steps[0].entry.outcome
    assert outcome is not None
    assert outcome.ending is ending


def test_reading_the_line_is_not_the_cells_doing() -> None:
    lanes: list[object] = []

    def read() -> str:
        lanes.append(CURRENT_LANE.get())
        return ""

    asked(FakePort(), read)

    assert lanes == [None]


def test_an_answer_is_one_line_of_text() -> None:
    parsers: list[AnswerParser] = []

    class AnsweredPort(FakePort):
        def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> FakeStep:
            assert answer is not None
            parsers.append(answer)
            return super().begin(lane, call, answer)

    asked(AnsweredPort(), lambda: "")
    asked(AnsweredPort(), lambda: "", secret=True)

    assert parsers[0]("Zoë\r\n".encode()) == Outcome.of_value("Zoë")
    assert parsers[1](b"x\n") == Outcome.of_value(Secret("x"))
    with pytest.raises(AnswerRejectedError, match="UTF-8"):
        parsers[0](b"\xff")
