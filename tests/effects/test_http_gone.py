"""A DELETE that was cut and repeated finds nothing: that is a doubt and no answer (H21)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import AnswerParser, Call, Ending, Outcome
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_clients import CLIENTS
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


def deleting(client: Any, service: HttpService, status: int = 404, **options: Any) -> Any:
    url = service.url(f"/deletable/{status}/{next(_numbers)}")
    return lambda: client("DELETE", url, **options)


def cut_of(scenario: Any) -> Any:
    """Delete once; return the journal of a process that died before the answer."""
    live = FakePort()
    assert run(live, scenario).body == b"deleted"
    return live.journal().cut(0, head=False, parts=0)


@pytest.mark.parametrize("status", [404, 410])
def test_a_repeated_delete_that_finds_nothing_is_in_doubt(
    client: Any, status: int, service: HttpService
) -> None:
    """Was it the first one that deleted it? `raise_for_status` would say it failed."""
    delete = deleting(client, service, status)
    again = FakePort(cut_of(delete))

    with pytest.raises(RequestInterrupted):
        run(again, delete)

    assert again.doubted == [f"was answered {status} {'Not Found' if status == 404 else 'Gone'}"]
    assert again.made == 1


def given(body: bytes) -> Any:
    def answer(call: Call, parse: AnswerParser | None) -> Outcome:
        assert parse is not None
        return parse(body)

    return answer


def test_an_answer_that_a_person_gives_is_served_as_the_librarys_own(
    client: Any, service: HttpService
) -> None:
    delete = deleting(client, service, is_strict=True)
    again = FakePort(cut_of(delete), doubt=given(b'{"status": 200, "body": "it was us"}'))

    seen = run(again, delete)
    replayed = run(FakePort(again.journal()), delete)

    assert (seen.status, seen.body) == (200, b"it was us")
    assert replayed == seen


def test_one_that_is_marked_as_failed_is_a_lost_connection(
    client: Any, service: HttpService
) -> None:
    delete = deleting(client, service)
    again = FakePort(cut_of(delete), doubt=lambda *_: Outcome(Ending.FAILED))

    error = run(again, delete)

    assert error[0] == "raised"
    assert "marked as failed" in error[2]
    assert run(FakePort(again.journal()), delete) == error


def test_a_repeated_delete_with_an_answer_of_its_own_is_delivered(
    client: Any, service: HttpService
) -> None:
    """Here the first one never arrived."""
    live = FakePort()
    url = service.url("/lines")
    first = run(live, lambda: client("DELETE", url))
    again = FakePort(live.journal().cut(0, head=False, parts=0))

    seen = run(again, lambda: client("DELETE", url))
    replayed = run(FakePort(again.journal()), lambda: client("DELETE", url))

    assert seen.body == first.body
    assert seen.kind is first.kind
    assert replayed == seen
    assert again.doubted == []


def test_a_first_delete_that_finds_nothing_is_delivered(client: Any, service: HttpService) -> None:
    url = service.url("/nothing")
    port = FakePort()

    seen = run(port, lambda: client("DELETE", url))

    assert seen.status == 404
    assert port.doubted == []


def test_another_method_that_finds_nothing_is_delivered(client: Any, service: HttpService) -> None:
    live = FakePort()
    url = service.url("/nothing")
    run(live, lambda: client("PUT", url, body=b"x"))
    again = FakePort(live.journal().cut(0, head=False, parts=0))

    seen = run(again, lambda: client("PUT", url, body=b"x"))

    assert seen.status == 404
    assert again.doubted == []


def test_a_repeated_delete_that_is_not_answered_fails_as_it_does(
    client: Any, service: HttpService
) -> None:
    live = FakePort()
    url = service.url("/failing")
    run(live, lambda: client("DELETE", url, timeout_s=0.3))
    journal = live.journal().cut(0, head=False, parts=0)
    journal.calls[0].call.identity["url"] = service.url("/mute")  # type: ignore[index]
    again = FakePort(journal)

    error = run(again, lambda: client("DELETE", service.url("/mute")))

    assert error[0] == "raised"
    assert run(FakePort(again.journal()), lambda: client("DELETE", service.url("/mute"))) == error
