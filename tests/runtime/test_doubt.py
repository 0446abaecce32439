"""An act in doubt: it waits inside the call, and only a user's decision ends that (rule 5, §8)."""

from __future__ import annotations

from typing import Any

import pytest

from durable_kernel.errors import AnswerRejectedError, RunSuspendedError, UsageError
from durable_kernel.journal import Inbox
from durable_kernel.ports import Act, Outcome, Secret
from durable_kernel.replay import InDoubtPolicy
from durable_kernel.runtime import AskedResolution, queue_resolution
from tests.runtime.notebooks import Notebook, Service, Session, interrupt_main

PAYS = "x = service.ask('pay'); y = service.ask('thank')"


@pytest.fixture(autouse=True)
def _dies_in_the_payment(notebook: Notebook) -> None:
    notebook.die_during("pay")


def _resolved(notebook: Notebook, *decision: Any) -> Session:
    """Resume, and decide from another thread once the call is parked."""
    with notebook.session() as session:
        session.when_parked(lambda: session.run.resolve("0.0", *decision))
        session.recover()
    return session


def test_a_parked_call_is_made_again_on_retry(notebook: Notebook, service: Service) -> None:
    notebook.died(PAYS)

    session = _resolved(notebook, "retry", None)

    assert service.requests == ["pay", "pay", "thank"]
    assert session.namespace["x"] == "pay: done"
    assert session.run.state == "live"


def test_a_retried_call_has_the_key_of_its_first_attempt(
    notebook: Notebook, service: Service
) -> None:
    """The idempotency key is the place in the notebook, not the attempt."""
    notebook.died(PAYS)

    _resolved(notebook, "retry", None)

    first, again, other = service.keys
    assert first == again != other


def test_an_answer_is_what_the_call_returns(notebook: Notebook, service: Service) -> None:
    notebook.died(PAYS)

    session = _resolved(notebook, "answer", b'{"paid": 7}')

    assert session.namespace["x"] == {"paid": 7}
    assert service.requests == ["pay", "thank"]


def test_a_call_marked_as_failed_raises_what_its_library_raises(
    notebook: Notebook, service: Service
) -> None:
    notebook.died("try: service.ask('pay')\nexcept ConnectionError as e: x = str(e)")

    session = _resolved(notebook, "fail", None)

    assert session.namespace["x"] == "connection lost"
    assert service.requests == ["pay"]


@pytest.mark.parametrize(("choice", "answer"), [("retry", None), ("answer", b"7"), ("fail", None)])
def test_a_decision_replays(notebook: Notebook, choice: str, answer: bytes | None) -> None:
    notebook.died("try: x = service.ask('pay')\nexcept ConnectionError as e: x = str(e)\nprint(x)")
    decided = _resolved(notebook, choice, answer)
    asked = list(notebook.service.requests)

    again = notebook.replayed()

    assert again.text() == decided.text()
    assert notebook.service.requests == asked


def test_nothing_unwinds_while_a_call_is_parked(notebook: Notebook, service: Service) -> None:
    """H4: a folder with three hours of downloads is there, and stays."""
    notebook.names["seen"] = []
    notebook.died(
        "import tempfile, pathlib\n"
        "def pay(): return service.ask('pay')\n"
        "class Folder:\n"
        "    def __enter__(self): seen.append('made')\n"
        "    def __exit__(self, *_): seen.append('removed')\n"
        "with Folder(): x = pay()"
    )
    seen_while_parked: list[str] = []
    notebook.names["seen"].clear()

    with notebook.session() as session:

        def decide() -> None:
            seen_while_parked.extend(notebook.names["seen"])
            session.run.resolve(None, "retry", None)

        session.when_parked(decide)
        session.recover()

    assert seen_while_parked == ["made"]
    assert notebook.names["seen"] == ["made", "removed"]


def test_a_cell_that_runs_is_not_interrupted_and_its_act_is_not_in_doubt(
    notebook: Notebook,
) -> None:
    statuses: list[dict[str, Any]] = []
    notebook.service.during = lambda _name: statuses.append(session.run.status())

    with notebook.session() as session:
        session.execute("service.ask('pay')")

    (status,) = statuses
    assert (status["state"], status["status"]) == ("live", "running")
    assert status["acts_in_doubt"] == []


def test_the_status_names_what_waits_and_how_to_decide(notebook: Notebook) -> None:
    notebook.died(PAYS)
    statuses: list[dict[str, Any]] = []

    with notebook.session() as session:

        def look() -> None:
            statuses.append(session.run.status())
            session.run.resolve(None, "retry", None)

        session.when_parked(look)
        session.recover()

    (status,) = statuses
    assert status["state"] == "in doubt"
    (waiting,) = status["in_doubt"]
    assert (waiting["effect"], waiting["label"]) == ("0.0", "ask pay")
    assert "durable resolve notebook 0.0 --retry" in waiting["what"]
    assert status["acts_in_doubt"][0]["effect"] == "0.0"


def test_an_answer_of_the_wrong_shape_keeps_the_call_parked(notebook: Notebook) -> None:
    notebook.died(PAYS)
    refusals: list[str] = []

    with notebook.session() as session:

        def answer() -> None:
            for bad in (b"no json", b'"good"'):
                try:
                    session.run.resolve(None, "answer", bad)
                except AnswerRejectedError as error:
                    refusals.append(str(error))
                    assert session.run.port.parked

        session.when_parked(answer)
        session.recover()

    assert len(refusals) == 1
    assert "The act is still in doubt" in refusals[0]
    assert session.namespace["x"] == "good"


@pytest.mark.parametrize(
    ("effect", "choice", "answer", "sentence"),
    [
        ("7.3", "retry", None, "effect 7.3 is not in doubt. In doubt is 0.0: ask pay."),
        (None, "guess", None, "'guess' is no way to resolve an act"),
        (None, "answer", None, "an answer needs a file"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_refused(
    notebook: Notebook, effect: str | None, choice: str, answer: bytes | None, sentence: str
) -> None:
    notebook.died(PAYS)
    refusals: list[str] = []

    with notebook.session() as session:

        def decide() -> None:
            try:
                session.run.resolve(effect, choice, answer)
            except UsageError as error:
                refusals.append(str(error))
            session.run.resolve(None, "retry", None)

        session.when_parked(decide)
        session.recover()

    assert sentence in refusals[0]


def test_only_the_first_decision_counts(notebook: Notebook, service: Service) -> None:
    notebook.died(PAYS)
    refusals: list[UsageError] = []

    with notebook.session() as session:

        def decide() -> None:
            with session.run.port.lock:  # the main thread can't take the first one meanwhile
                session.run.resolve(None, "answer", b"1")
                try:
                    session.run.resolve(None, "retry", None)
                except UsageError as error:
                    refusals.append(error)

        session.when_parked(decide)
        session.recover()

    assert session.namespace["x"] == 1
    assert service.requests == ["pay", "thank"]
    assert "decided" in str(refusals[0])


def test_nothing_in_doubt_is_said_when_nothing_is(notebook: Notebook) -> None:
    with notebook.session() as session, pytest.raises(UsageError, match="no act is in doubt"):
        session.run.resolve(None, "retry", None)


def test_an_effect_may_read_the_answer_in_its_own_way(notebook: Notebook, service: Service) -> None:
    """The parser of the effect makes the outcome from the file's bytes."""
    service.answer = lambda content: Outcome.of_value(content.decode().upper())
    notebook.died(PAYS)

    session = _resolved(notebook, "answer", b"paid")

    assert session.namespace["x"] == "PAID"


def test_a_large_answer_comes_back_on_replay(notebook: Notebook) -> None:
    notebook.died("x = service.ask('pay')")
    _resolved(notebook, "answer", b'"%s"' % (b"x" * 100_000))

    assert notebook.replayed().namespace["x"] == "x" * 100_000


def test_a_secret_in_an_answer_is_sealed(notebook: Notebook, service: Service) -> None:
    """H18: an answer that a user supplied is no less secret than one that was recorded."""
    service.answer = lambda content: Outcome.of_value({"cookie": Secret(content.decode())})
    notebook.died("x = service.ask('pay')['cookie'].value")

    session = _resolved(notebook, "answer", b"hunter-two")

    assert session.namespace["x"] == "hunter-two"
    assert b"hunter-two" not in notebook.all_bytes()
    assert notebook.replayed().namespace["x"] == "hunter-two"


# --- through the inbox ----------------------------------------------------------------------------


def test_a_decision_that_waits_in_the_inbox_is_taken(notebook: Notebook, service: Service) -> None:
    notebook.died(PAYS)
    notebook.decide("0.0", "retry")

    session = notebook.replayed()

    assert session.run.latch is None
    assert service.requests == ["pay", "pay", "thank"]
    assert notebook.queued() == []


def test_a_decision_that_comes_while_parked_is_taken(notebook: Notebook) -> None:
    notebook.died(PAYS)

    with notebook.session() as session:
        session.when_parked(lambda: notebook.decide("0.0", "answer", b"5"))
        session.recover()

    assert session.namespace["x"] == 5


def test_a_bad_decision_in_the_inbox_is_told_and_dropped(notebook: Notebook) -> None:
    notebook.died(PAYS)
    notebook.decide("0.0", "answer", b"no json")

    with notebook.session() as session:
        session.when_parked(lambda: session.run.resolve(None, "fail", None))
        session.recover()

    assert any("no json" in each or "not JSON" in each for each in session.run.take_notices())
    assert notebook.queued() == []


def test_a_decision_for_another_effect_waits_on(notebook: Notebook) -> None:
    notebook.died(PAYS)
    notebook.decide("0.1", "retry")

    _resolved(notebook, "retry", None)

    assert [each.effect for each in notebook.queued()] == ["0.1"]


def test_a_decision_is_not_used_twice_after_a_crash(notebook: Notebook, service: Service) -> None:
    """The message is named in the record: a crash before it is taken does not make it a new one."""
    notebook.died(PAYS)
    notebook.decide("0.0", "retry")
    notebook.die_during("pay")
    notebook.died()
    _untake(notebook)
    assert service.requests == ["pay", "pay"]
    parked: list[str] = []

    with notebook.session() as session:

        def decide() -> None:
            parked.append(session.run.state)
            session.run.resolve(None, "answer", b"1")

        session.when_parked(decide)
        session.recover()

    assert parked == ["in doubt"]
    assert service.requests == ["pay", "pay", "thank"]


def _untake(notebook: Notebook) -> None:
    """Put the message back: the process died after its record and before it was taken."""
    (taken,) = (notebook.folder / "inbox" / "taken").iterdir()
    taken.rename(notebook.folder / "inbox" / taken.name)
    assert notebook.queued() != []


def test_a_message_left_behind_by_a_crash_is_taken_on_replay(notebook: Notebook) -> None:
    """Otherwise it would decide about the same place of a later branch."""
    notebook.died(PAYS)
    notebook.decide("0.0", "answer", b"1")
    notebook.replayed()
    _untake(notebook)

    notebook.replayed()

    assert notebook.queued() == []


def test_a_damaged_message_is_told_and_decides_nothing(notebook: Notebook) -> None:
    notebook.died(PAYS)
    notebook.decide("0.0", "retry")
    (message,) = (notebook.folder / "inbox").glob("[0-9a-f]*")
    message.write_bytes(message.read_bytes()[:-1])

    session = _resolved(notebook, "answer", b"1")

    (told,) = [each for each in session.run.take_notices() if "was refused: it is damaged" in each]
    assert "It decides nothing, and is kept as" in told
    assert session.namespace["x"] == 1


def test_a_decision_of_another_hand_is_told_and_never_used(
    notebook: Notebook, service: Service
) -> None:
    """Rule 8: who can write the store can leave a message, and can't sign it."""
    notebook.died(PAYS)
    theirs = Inbox(notebook.folder / "inbox", b"\1" * 32)
    asked = AskedResolution("0.0", "answer", b'"stolen"')
    queue_resolution(theirs, "resolve", asked)

    session = _resolved(notebook, "answer", b"1")

    told = [each for each in session.run.take_notices() if "not signed with your key" in each]
    assert len(told) == 1
    assert session.namespace["x"] == 1
    assert len(list((notebook.folder / "inbox").glob("*.refused"))) == 1


def test_a_refused_message_keeps_no_decision_from_being_used(notebook: Notebook) -> None:
    notebook.died(PAYS)
    (notebook.folder / "inbox").mkdir()
    (notebook.folder / "inbox" / ("0" * 32)).write_bytes(b"")
    notebook.decide("0.0", "answer", b"5")

    session = notebook.replayed()

    assert session.namespace["x"] == 5


def test_a_decision_about_another_announcement_of_that_name_waits_on(notebook: Notebook) -> None:
    """A branch may have another act there: an old message must not decide about it."""
    notebook.died(PAYS)
    asked = AskedResolution("0.0", "answer", b"5", announced_ns=1)
    queue_resolution(notebook.inbox(), "of another branch", asked)

    session = _resolved(notebook, "answer", b"1")

    assert session.namespace["x"] == 1


# --- policies -------------------------------------------------------------------------------------


def test_the_policy_stop_leaves_without_unwinding(notebook: Notebook, service: Service) -> None:
    """H4: headless, nobody is there to ask: exit 3 from inside the call, nothing journaled."""
    notebook.died(PAYS)

    with notebook.session(in_doubt=InDoubtPolicy.STOP) as session:
        session.recover()

    assert notebook.left == [3]
    assert isinstance(session.run.latch, RunSuspendedError)
    assert service.requests == ["pay"]
    assert session.run.read_outline().status == "in doubt"


def test_the_policy_raise_raises_though_nobody_names_it(notebook: Notebook) -> None:
    notebook.died("try: service.ask('pay')\nexcept BaseException as e: x = type(e).__name__")

    with notebook.session(in_doubt=InDoubtPolicy.RAISE) as session:
        session.recover()

    assert session.namespace["x"] == "RequestInterrupted"


def test_the_policy_stop_goes_on_with_a_decision_that_waits(
    notebook: Notebook, service: Service
) -> None:
    notebook.died(PAYS)
    notebook.decide("0.0", "retry")

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == []
    assert session.run.latch is None
    assert service.requests == ["pay", "pay", "thank"]


def test_an_observation_in_doubt_is_simply_made_again(notebook: Notebook, service: Service) -> None:
    """Rule 5: what changes nothing outside is repeated."""
    notebook.names["act"] = Act.OBSERVATION
    notebook.died("x = service.ask('pay', act=act)")

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert session.namespace["x"] == "pay: done"
    assert service.requests == ["pay", "pay"]


def test_an_interrupt_while_parked_leaves_the_call_in_doubt(
    notebook: Notebook, service: Service
) -> None:
    """H4: the user gave up waiting; nothing is decided, nothing is journaled."""
    notebook.died(PAYS)
    with notebook.session() as session:
        session.when_parked(interrupt_main)
        session.recover()

    assert isinstance(session.run.latch, RunSuspendedError)
    assert service.requests == ["pay"]
    assert session.run.read_outline().status == "in doubt"

    decided = _resolved(notebook, "retry", None)
    assert decided.namespace["x"] == "pay: done"


def test_a_parked_asynchronous_call_lets_the_loop_go_on(
    notebook: Notebook, service: Service
) -> None:
    notebook.names["ticks"] = []
    notebook.died(
        "import asyncio\n"
        "async def tick():\n"
        "    while True:\n        ticks.append(1)\n        await asyncio.sleep(0)\n"
        "task = asyncio.create_task(tick())\n"
        "x = await service.ask_async('pay')\n"
        "task.cancel()"
    )
    notebook.names["ticks"].clear()
    ticks: list[int] = []

    with notebook.session() as session:

        def decide() -> None:
            before = len(notebook.names["ticks"])
            while len(notebook.names["ticks"]) < before + 10:
                pass
            ticks.append(len(notebook.names["ticks"]) - before)
            session.run.resolve(None, "retry", None)

        session.when_parked(decide)
        session.recover()

    assert ticks[0] >= 10
    assert session.namespace["x"] == "pay: done"
