"""What the frames of one position mean: attempts add up; what was withdrawn or unseen is void."""

from __future__ import annotations

import pytest

from durable_kernel.history import (
    Choice,
    Crossed,
    Head,
    Noted,
    Observed,
    Opened,
    Output,
    Part,
    PositionHistory,
    Record,
    Resolved,
    Resumed,
    Settled,
    Shutdown,
    TurnKind,
    Withdrawn,
)
from durable_kernel.ports import Ending
from tests.history.folding import act, cell, committed, history_of, look

RESUMED = Resumed(position=0, wall_ns=0)
HEAD = Head(ordinal=0, lane="", value={"status": 200})
INTERRUPTED = Settled(ordinal=0, lane="", ending=int(Ending.INTERRUPTED))
SETTLED = Settled(ordinal=0, lane="", value=1)


def part(text: bytes, ordinal: int = 0) -> Part:
    return Part(ordinal=ordinal, lane="", sizes=[len(text)], content=text)


def drawn(*values: object, kind: str = "os.urandom/8") -> Observed:
    return Observed(lane="", kind=kind, values=list(values), hard=True)


def read(*values: float) -> Observed:
    return Observed(lane="", kind="time.time", values=list(values))


def printed(text: str) -> Output:
    return Output(kind="stream", content={"name": "stdout", "text": text})


def resolved(choice: Choice, position: int = 0) -> Resolved:
    return Resolved(position=position, lane="", ordinal=0, choice=choice.value, wall_ns=0)


def texts(history: PositionHistory) -> list[str]:
    return [each.content["text"] for each in history.outputs if each.content is not None]


# --- attempts -------------------------------------------------------------------------------------


def test_observations_and_calls_add_up_over_attempts() -> None:
    history = history_of(
        *(cell(), drawn(b"a"), read(1.0), look(0), SETTLED),
        *(RESUMED, drawn(b"b"), read(2.0), look(1)),
    )

    assert history.hard == {("", "os.urandom/8"): [b"a", b"b"]}
    assert history.soft == {("", "time.time"): [1.0, 2.0]}
    assert [call.is_complete for call in history.calls[""]] == [True, False]
    assert history.attempts == 2


def test_outputs_and_notes_of_an_earlier_attempt_are_superseded() -> None:
    history = history_of(
        *(cell(), printed("one"), Noted(sentence="slow"), RESUMED, printed("o")), committed()
    )

    assert texts(history) == ["o"]
    assert [each.content for each in history.superseded] == [{"name": "stdout", "text": "one"}]
    assert history.notes == []


def test_a_crossing_of_any_attempt_taints_the_position() -> None:
    crossed = Crossed(what="wrote a file", where="cell 0", is_act=True)

    assert history_of(cell(), crossed, RESUMED, committed()).is_tainted


def test_late_text_belongs_to_the_position_that_it_names() -> None:
    """H20: what an earlier cell printed late stands among this one's frames."""
    late = Output(kind="stream", content={"name": "stdout", "text": "late"}, late=0)

    assert texts(history_of(cell(0), committed(0), late)) == ["late"]
    assert texts(history_of(cell(1), late, printed("own"))) == ["own"]


# --- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "is_complete"),
    [
        ([], False),
        ([SETTLED], True),
        ([resolved(Choice.ANSWER)], True),
        ([resolved(Choice.FAIL)], True),
        ([resolved(Choice.RETRY)], False),
        ([resolved(Choice.RETRY), SETTLED], True),
        ([resolved(Choice.RETRY), RESUMED, resolved(Choice.ANSWER)], True),
        ([resolved(Choice.ANSWER, position=3)], False),
    ],
)
def test_a_call_is_complete_when_replay_needs_nothing_more(
    records: list[Record], *, is_complete: bool
) -> None:
    history = history_of(cell(), act(), *records)

    assert history.calls[""][0].is_complete is is_complete


# --- withdrawn ------------------------------------------------------------------------------------


def test_what_followed_a_withdrawn_interruption_is_void() -> None:
    """H4: RequestInterrupted reached the top, so the handler's work never happened."""
    history = history_of(
        *(cell(), drawn(b"before"), read(1.0), act(0)),
        *(RESUMED, INTERRUPTED, drawn(b"handler"), read(2.0), look(1), drawn(1, kind="uuid.uuid1")),
        Settled(ordinal=1, lane="", value=2),
        Withdrawn(lane="", ordinal=0),
    )

    (interrupted,) = history.calls[""]
    assert not interrupted.is_complete
    assert history.hard[("", "os.urandom/8")] == [b"before"]
    assert history.hard[("", "uuid.uuid1")] == []
    assert history.soft == {("", "time.time"): [1.0]}


def test_a_withdrawn_interruption_has_no_turn() -> None:
    """Its call is delivered once, when it is decided: a second turn would never be taken."""
    history = history_of(
        *(cell(), act(0), RESUMED, INTERRUPTED, look(1), Withdrawn(lane="", ordinal=0)),
        Settled(ordinal=0, lane="", value=1),
    )

    assert [(turn.kind, turn.number) for turn in history.turns] == [(TurnKind.END, 0)]


def test_a_second_interruption_alone_is_withdrawn() -> None:
    """H4: the first one was handled, and what it led to stays."""
    history = history_of(
        *(cell(), act(0), RESUMED, INTERRUPTED, act(1)),
        *(RESUMED, Settled(ordinal=1, lane="", ending=int(Ending.INTERRUPTED)), look(2)),
        Withdrawn(lane="", ordinal=1),
    )

    assert [call.is_complete for call in history.calls[""]] == [True, False]


# --- unseen ---------------------------------------------------------------------------------------

NEUTRAL: dict[str, list[Record]] = {
    "nothing": [],
    "its own parts": [part(b"one"), part(b"two")],
    "observations": [part(b"one"), drawn(b"later"), read(5.0), part(b"two")],
    "an opener": [Opened(wall_ns=0, pid=1, boot_id="", host="")],
    "a shutdown": [Shutdown(wall_ns=0, restart=False)],
}
SEEN: dict[str, list[Record]] = {
    "an output": [printed("got it")],
    "another call": [look(1)],
    "a note": [Noted(sentence="it is slow")],
    "a crossing": [Crossed(what="reads a file", where="cell 0", is_act=False)],
}


@pytest.mark.parametrize("behind", NEUTRAL.values(), ids=NEUTRAL)
def test_an_answer_that_nothing_rests_on_is_forgotten(behind: list[Record]) -> None:
    """H23: the call is made again as if it was only announced, so another answer is no harm."""
    history = history_of(cell(), drawn(b"before"), read(1.0), look(0), HEAD, *behind)

    history.forget_unseen()

    (call,) = history.calls[""]
    assert call.head is None
    assert call.parts == []
    assert history.hard == {("", "os.urandom/8"): [b"before"]}
    assert history.soft == {("", "time.time"): [1.0]}


@pytest.mark.parametrize("behind", SEEN.values(), ids=SEEN)
def test_an_answer_that_something_rests_on_stays(behind: list[Record]) -> None:
    """H23: then a repeated one must begin alike."""
    history = history_of(cell(), look(0), HEAD, *behind)

    history.forget_unseen()

    assert history.calls[""][0].head == HEAD


def test_an_answer_is_seen_once_another_stream_goes_on() -> None:
    """H23: which of the two was read may rest on it."""
    second = Head(ordinal=1, lane="", value={"status": 200})
    history = history_of(cell(), look(0), HEAD, look(1), second, part(b"of the first", ordinal=0))

    history.forget_unseen()

    assert [call.head for call in history.calls[""]] == [HEAD, second]


def test_a_settled_answer_is_never_forgotten() -> None:
    history = history_of(cell(), look(0), HEAD, part(b"all"), SETTLED)

    history.forget_unseen()

    assert history.calls[""][0].head == HEAD
    assert len(history.calls[""][0].parts) == 1


def test_a_further_attempt_began_without_what_was_unseen() -> None:
    """H23: what the second attempt recorded stands behind an empty place."""
    second = Head(ordinal=0, lane="", value={"status": 203})
    history = history_of(
        *(cell(), look(0), HEAD, part(b"first"), drawn(b"void")),
        *(RESUMED, second, part(b"second"), drawn(b"real"), SETTLED, committed()),
    )

    (call,) = history.calls[""]
    assert call.head == second
    assert [each.content for each in call.parts] == [b"second"]
    assert history.hard == {("", "os.urandom/8"): [b"real"]}
