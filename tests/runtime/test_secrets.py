"""Secrets: replay gets them, no reader of the disk does (H18)."""

from __future__ import annotations

import pytest

from durable_kernel.effects import prompts
from durable_kernel.errors import RunSuspendedError
from durable_kernel.ports import CURRENT_LANE, Act, Call, Outcome, Secret
from durable_kernel.store import Store
from tests.runtime.notebooks import RUN_ID, Notebook, Service

WORD = "correct horse battery staple"


def _ask(read: object) -> str:
    lane = CURRENT_LANE.get()
    assert lane is not None
    assert callable(read)
    return prompts.ask(lane, "Password: ", read, secret=True)


def test_getpass_is_answered_on_replay_and_not_on_disk(notebook: Notebook) -> None:
    """H18: there is nobody to ask during an eager replay; the line is sealed under the key."""
    asked: list[str] = []

    def read() -> str:
        asked.append("the person")
        return WORD

    notebook.names.update(getpass=lambda: _ask(read))
    notebook.lived("word = getpass()")

    again = notebook.replayed()

    assert again.namespace["word"] == WORD
    assert asked == ["the person"]
    assert WORD.encode() not in notebook.all_bytes()


NESTED = {
    "value": Secret(WORD),
    "in a dict": {"set-cookie": Secret(WORD)},
    "deep": [{"headers": [("set-cookie", Secret(WORD.encode()))]}],
    "large": {"cookie": Secret(WORD), "body": "x" * 100_000},
}


@pytest.mark.parametrize("value", NESTED.values(), ids=NESTED.keys())
def test_a_secret_anywhere_in_an_outcome_is_sealed(
    notebook: Notebook, service: Service, value: object
) -> None:
    service.during = lambda _name: value
    notebook.lived("x = service.ask('a')")

    again = notebook.replayed()

    assert again.namespace["x"] == value
    assert WORD.encode() not in notebook.all_bytes()


def test_a_secret_in_the_head_of_a_stream_is_sealed(notebook: Notebook) -> None:
    def read() -> object:
        lane = CURRENT_LANE.get()
        assert lane is not None
        step = lane.port.begin(lane, Call("fake", "stream", act=Act.REMOTE))
        step.set_head({"set-cookie": Secret(WORD)})
        step.settle(Outcome.of_value(None))
        return step.head

    notebook.names["read"] = read
    notebook.lived("head = read()")

    again = notebook.replayed()

    assert again.namespace["head"] == {"set-cookie": Secret(WORD)}
    assert WORD.encode() not in notebook.all_bytes()


def test_a_sealed_value_is_not_shown_in_the_log(notebook: Notebook, service: Service) -> None:
    service.during = lambda _name: Secret(WORD)
    with notebook.session() as session:
        session.execute("x = service.ask('a')")
        log, status = session.run.log(), session.run.status()

    assert WORD not in repr(log) + repr(status)


@pytest.mark.parametrize("is_head", [False, True], ids=["a value", "the head of a stream"])
def test_what_a_lost_key_sealed_stops_the_replay_and_is_not_asked_again(
    notebook: Notebook, service: Service, is_head: bool
) -> None:
    """The run was taken over with a new key: nobody may go on without what is sealed."""

    def stream() -> object:
        lane = CURRENT_LANE.get()
        assert lane is not None
        step = lane.port.begin(lane, Call("fake", "stream", act=Act.REMOTE))
        step.set_head({"set-cookie": Secret(WORD)})
        step.settle(Outcome.of_value(None))
        return step.head

    service.during = lambda _name: Secret(WORD)
    notebook.names["stream"] = stream
    sees = "stream()" if is_head else "service.ask('login')"
    notebook.lived(f"try: x = {sees}\nexcept Exception: x = 'swallowed'")
    (notebook.home / "key").write_bytes(b"\x01" * 32)
    store = Store(notebook.home)
    store.trust(store.get(RUN_ID))

    session = notebook.replayed()

    assert isinstance(session.run.latch, RunSuspendedError)
    assert "it was sealed with a key that is not at hand" in str(session.run.latch)
    assert "DURABLE_KEY_FILE" in str(session.run.latch)
    assert session.namespace.get("x") != "swallowed"
    assert service.requests == ([] if is_head else ["login"])
