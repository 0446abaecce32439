"""Calls that a death cut short: a download goes on, an act in doubt waits for its answer."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from durable_kernel.effects.httpx_transport import install
from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import (
    AnswerParser,
    Call,
    Ending,
    Outcome,
)
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, run


@pytest.fixture(params=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


# --- a cut answer is repeated, and continued behind what was recorded (H23) -----------------------


def read_lines(lib: Any, service: HttpService) -> bytes:
    with lib.stream("GET", service.url("/lines")) as response:
        return b"".join(response.iter_raw())


async def read_lines_async(lib: Any, service: HttpService) -> bytes:
    async with lib.AsyncClient() as client, client.stream("GET", service.url("/lines")) as response:
        return b"".join([part async for part in response.aiter_raw()])


def cut(journal: FakeJournal, *, size_bytes: int) -> FakeJournal:
    """End a journal inside the body of its last call, after so many bytes."""
    recorded = journal.cut(len(journal.calls) - 1)
    body = b"".join(recorded.calls[-1].parts)
    recorded.calls[-1].parts = [body[:size_bytes]] if size_bytes else []
    return recorded


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("size_bytes", [0, 3, 7, 35])
def test_a_cut_download_goes_on_where_it_was_cut(
    size_bytes: int, is_async: bool, lib: Any, service: HttpService
) -> None:
    """H23: sent again, compared, and continued silently. The journal is then complete."""

    def scenario() -> Any:
        if is_async:
            return asyncio.run(read_lines_async(lib, service))
        return read_lines(lib, service)

    live = FakePort()
    whole = run(live, scenario)
    hits = len(service.hits())
    resumed = FakePort(cut(live.journal(), size_bytes=size_bytes))

    again = run(resumed, scenario)
    third = run(FakePort(resumed.journal()), scenario)

    assert again == third == whole
    assert len(service.hits()) == hits + 1
    assert b"".join(resumed.journal().calls[0].parts) == whole


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("path", ["changing", "tagged", "failing", "shrinking"])
def test_a_download_that_changed_is_a_lost_connection_and_an_interruption(
    path: str, is_async: bool, lib: Any, service: HttpService
) -> None:
    """H23: user code may catch it under both names; the recorded beginning was served before."""
    url = service.url(f"/{path}/{lib.__name__}/{is_async}")

    async def read_async() -> list[Any]:
        seen: list[Any] = []
        async with lib.AsyncClient() as client, client.stream("GET", url) as response:
            try:
                async for part in response.aiter_raw():
                    seen.append(part)  # noqa: PERF401 - kept where the loop ends
            except lib.HTTPError as error:
                seen.append(error)
        return seen

    def read() -> list[Any]:
        if is_async:
            return asyncio.run(read_async())
        seen: list[Any] = []
        with lib.stream("GET", url) as response:
            try:
                seen.extend(response.iter_raw())
            except lib.HTTPError as error:
                seen.append(error)
        return seen

    live = FakePort()
    (body,) = run(live, read)
    resumed = FakePort(cut(live.journal(), size_bytes=len(body)))

    beginning, error = run(resumed, read)
    hits = service.hits()
    recorded_beginning, recorded = run(FakePort(resumed.journal()), read)

    assert beginning == recorded_beginning == body
    assert isinstance(error, lib.ReadError)
    assert issubclass(type(error), RequestInterrupted)
    assert str(error.request.url) == url
    assert "was cut when the process died" in str(error)
    assert facts_of_error(recorded) == facts_of_error(error)
    assert service.hits() == hits


def test_a_cut_download_that_is_not_read_further_is_not_repeated(
    lib: Any, service: HttpService
) -> None:
    def scenario() -> bytes:
        with lib.stream("GET", service.url("/big/3")) as response:
            return bytes(next(response.iter_raw()))

    live = FakePort()
    first = run(live, scenario)
    hits = service.hits()

    again = run(FakePort(cut(live.journal(), size_bytes=len(first))), scenario)

    assert again == first
    assert service.hits() == hits


def test_a_repeated_request_may_fail_where_it_is_read(lib: Any, service: HttpService) -> None:
    short_lived = service.url("/lines")
    live = FakePort()
    run(live, lambda: lib.get(short_lived).content)
    journal = cut(live.journal(), size_bytes=7)
    dead = "http://127.0.0.1:1/lines"
    journal.calls[0].call.identity["url"] = dead  # type: ignore[index]  # as if the service left
    resumed = FakePort(journal)

    error = run(resumed, lambda: lib.get(dead))
    again = run(FakePort(resumed.journal()), lambda: lib.get(dead))

    assert error[1] is lib.ConnectError
    assert again == error


# --- doubt ----------------------------------------------------------------------------------------


def post(lib: Any, service: HttpService, **options: Any) -> Callable[[], Any]:
    def scenario() -> Any:
        response = lib.post(service.url("/count/doubt"), **options)
        return response.status_code, response.text, response.reason_phrase, dict(response.cookies)

    return scenario


def test_a_post_in_doubt_is_not_sent_again(lib: Any, service: HttpService) -> None:
    live = FakePort()
    run(live, post(lib, service))
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0)), post(lib, service))

    assert service.hits() == hits


def test_a_post_with_a_key_in_doubt_is_sent_again(lib: Any, service: HttpService) -> None:
    scenario = post(lib, service, headers={"Idempotency-Key": "k"})
    live = FakePort()
    run(live, scenario)
    hits = service.hits()

    found = run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    assert found[0] == 200
    assert len(service.hits()) == len(hits) + 1


ANSWER = {"status": 201, "body": "given", "headers": {"Set-Cookie": "a=1"}}


def answer_with(given: dict[str, Any]) -> Callable[[Call, AnswerParser | None], Outcome]:
    def doubt(call: Call, parse: AnswerParser | None) -> Outcome:
        assert parse is not None
        return parse(json.dumps(given).encode())

    return doubt


def test_an_answer_given_for_a_post_in_doubt_is_served_as_the_librarys_response(
    lib: Any, service: HttpService
) -> None:
    live = FakePort()
    run(live, post(lib, service))
    hits = service.hits()
    cut_off = live.journal().cut(0, head=False, parts=0)
    resolved = FakePort(cut_off, doubt=answer_with(ANSWER))

    found = run(resolved, post(lib, service))
    again = run(FakePort(resolved.journal()), post(lib, service))

    assert found == again == (201, "given", "Created", {"a": "1"})
    assert service.hits() == hits


@pytest.mark.parametrize(("body", "fits"), [("12345", True), ("98765", False)])
def test_an_answer_given_for_a_cut_one_goes_on_behind_what_was_seen(
    body: str, fits: bool, lib: Any, service: HttpService
) -> None:
    def scenario() -> list[bytes]:
        seen: list[bytes] = []
        with lib.stream("POST", service.url("/echo"), content=b"x") as response:
            seen.extend(response.iter_raw())
        return seen

    live = FakePort()
    run(live, scenario)
    journal = live.journal().cut(0)
    journal.calls[0].parts = [b"12", b"3"]
    resolved = FakePort(journal, doubt=answer_with({"status": 200, "body": body}))

    found = run(resolved, scenario)

    if fits:
        assert found == [b"12", b"3", b"45"]
    else:
        assert issubclass(found[1], RequestInterrupted)


@pytest.mark.parametrize("has_head", [False, True])
def test_a_post_marked_as_failed_is_a_lost_connection(
    has_head: bool, lib: Any, service: HttpService
) -> None:
    live = FakePort()
    run(live, post(lib, service))
    cut_off = live.journal().cut(0, head=has_head)
    failed = FakePort(cut_off, doubt=lambda call, parse: Outcome(Ending.FAILED))

    kind, error_type, message, url = run(failed, post(lib, service))

    assert (kind, error_type) == ("raised", lib.ReadError)
    assert "marked as failed" in message
    assert url == service.url("/count/doubt")
