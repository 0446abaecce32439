"""An answer that was cut: what was seen of it stays, what nobody saw is asked for again (H23)."""

from __future__ import annotations

import json

from durable_kernel.ports import (
    CURRENT_LANE,
    REPEAT_ALWAYS,
    REPEAT_NEVER,
    Act,
    Call,
    Ending,
    Outcome,
    suspended,
    value_of,
)
from tests.runtime.notebooks import Notebook, Session

ALL_OF_IT = """\
got = read("page", {act})
print(got)"""
PART_BY_PART = """\
got = read("page", {act}, say=print)
print(got)"""


def answer(given: bytes) -> Outcome:
    return Outcome.of_value({"given": json.loads(given)})


class Streams:
    """A service whose answers come in a head and two parts, and are numbered."""

    def __init__(self) -> None:
        self.asked = 0
        self.dies_after_parts = 0
        self.prefixes: list[tuple[object, list[bytes]]] = []

    def put_into(self, session: Session) -> None:
        """Give a session's cells `read(name, act, say)`: the answer, each part said before."""

        def read(name: str, act: int, say: object = None) -> object:
            return self._read(session, name, Act(act), say)

        session.namespace["read"] = read

    def _read(self, session: Session, name: str, act: Act, say: object) -> object:
        lane = CURRENT_LANE.get()
        assert lane is not None
        repeat = REPEAT_NEVER if act else REPEAT_ALWAYS
        step = lane.port.begin(lane, Call("stream", name, {}, {}, act, repeat), answer)
        self.prefixes.append((step.head, list(step.parts)))
        if step.outcome is not None:
            if step.outcome.ending is not Ending.VALUE:
                raise AssertionError
            if isinstance(value := value_of(step.outcome, AssertionError), dict):
                return value["given"]
            return [step.head, *step.parts]
        if step.head is not None:
            return "resumed"
        with suspended():
            self.asked += 1
        step.set_head(f"head {self.asked}")
        for count in (1, 2):
            step.add_part(b"part %d of %d" % (count, self.asked))
            if callable(say):
                say("part", count)
            if count == self.dies_after_parts:
                lane.port.flush()  # the timer would, sooner or later
                session.die()
        step.settle(Outcome.of_value(None))
        return [f"head {self.asked}", *(b"part %d of %d" % (n, self.asked) for n in (1, 2))]


def first_life(notebook: Notebook, streams: Streams, source: str) -> Session:
    streams.dies_after_parts = 1
    with notebook.session(may_die=True) as session:
        streams.put_into(session)
        session.execute(source)
    streams.dies_after_parts = 0
    return session


def second_life(notebook: Notebook, streams: Streams) -> Session:
    with notebook.session() as session:
        streams.put_into(session)
        session.recover()
    return session


def test_an_answer_that_nobody_saw_is_asked_for_from_the_start(notebook: Notebook) -> None:
    """H23: the timer had written its beginning; the repeated answer is another one."""
    streams = Streams()
    first_life(notebook, streams, ALL_OF_IT.format(act=0))

    resumed = second_life(notebook, streams)

    assert streams.prefixes[-1] == (None, [])
    assert resumed.namespace["got"] == ["head 2", b"part 1 of 2", b"part 2 of 2"]


def test_what_was_asked_for_again_is_what_a_third_life_gets(notebook: Notebook) -> None:
    """H23: of two recorded beginnings the second one counts."""
    streams = Streams()
    first_life(notebook, streams, ALL_OF_IT.format(act=0))
    second_life(notebook, streams)

    third = second_life(notebook, streams)

    assert streams.asked == 2
    assert third.namespace["got"] == ["head 2", b"part 1 of 2", b"part 2 of 2"]


def test_an_answer_that_was_shown_is_resumed_behind_its_prefix(notebook: Notebook) -> None:
    """H23: an output rests on it."""
    streams = Streams()
    first_life(notebook, streams, PART_BY_PART.format(act=0))

    resumed = second_life(notebook, streams)

    assert streams.prefixes[-1] == ("head 1", [b"part 1 of 1"])
    assert resumed.namespace["got"] == "resumed"


def test_a_given_answer_comes_with_what_was_shown_before(notebook: Notebook) -> None:
    """The first time and on every replay: the effect decides whether they fit together."""
    streams = Streams()
    first_life(notebook, streams, PART_BY_PART.format(act=1))
    notebook.decide("0.0", "answer", b'"all of it"')

    decided = second_life(notebook, streams)
    replayed = second_life(notebook, streams)

    assert streams.prefixes[-2:] == [("head 1", [b"part 1 of 1"])] * 2
    assert decided.namespace["got"] == replayed.namespace["got"] == "all of it"
