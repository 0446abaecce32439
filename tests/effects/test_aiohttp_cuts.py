"""Exchanges of aiohttp that a death cut short: continued, parked, answered, or given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from durable_kernel.effects.aiohttp_client import install
from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import AnswerParser, Call, Ending, Outcome
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness
from tests.effects.http_service import BIG_CHUNK, LINES, HttpService
from tests.effects.http_sessions import facts_of_error, run


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


def in_session(scenario: Callable[[Any], Awaitable[Any]]) -> Callable[[], Any]:
    async def go() -> Any:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            return await scenario(session)

    return lambda: asyncio.run(go())


def reading(url: str) -> Callable[[], Any]:
    """Read what comes, and what ends it."""

    async def read(session: Any) -> tuple[bytes, Any]:
        seen = b""
        async with session.get(url) as response:
            try:
                async for part in response.content.iter_any():
                    seen += part
            except aiohttp.ClientError as error:
                return seen, error
        return seen, None

    return in_session(read)


def cut(journal: FakeJournal, *, size_bytes: int) -> FakeJournal:
    """End a journal inside the body of its last call, after so many bytes."""
    recorded = journal.cut(len(journal.calls) - 1)
    body = b"".join(recorded.calls[-1].parts)
    recorded.calls[-1].parts = [body[:size_bytes]] if size_bytes else []
    return recorded


# --- a cut answer is repeated, and continued behind what was recorded (H23) -----------------------

FRAMED_LINES = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in LINES)


# Not inside the lines around a chunk: the tap keeps them until they are complete.
@pytest.mark.parametrize("size_bytes", [0, 3, 6, 10, 12, 15, len(FRAMED_LINES)])
def test_a_cut_download_goes_on_where_it_was_cut(size_bytes: int, service: HttpService) -> None:
    """H23: sent again, compared, and continued silently. The journal is then complete."""
    scenario = reading(service.url("/lines"))
    live = FakePort()
    whole = run(live, scenario)
    hits = len(service.hits())
    resumed = FakePort(cut(live.journal(), size_bytes=size_bytes))

    again = run(resumed, scenario)
    third = run(FakePort(resumed.journal()), scenario)

    assert again == third == whole == (b"".join(LINES), None)
    assert len(service.hits()) == hits + 1


@pytest.mark.parametrize("path", ["/gzip", "/big/2", "/endless", "/hello"])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_each_framing_and_packing_is_continued(
    share: float, path: str, service: HttpService
) -> None:
    """H23."""
    scenario = reading(service.url(path))
    live = FakePort()
    whole = run(live, scenario)
    size_bytes = sum(len(part) for part in live.journal().calls[0].parts)
    resumed = FakePort(cut(live.journal(), size_bytes=int(share * size_bytes)))

    again = run(resumed, scenario)
    third = run(FakePort(resumed.journal()), scenario)

    assert again == third == whole
    assert b"".join(resumed.journal().calls[0].parts) == b"".join(live.journal().calls[0].parts)


def test_a_download_goes_on_into_a_file(service: HttpService) -> None:
    """H23: something happens after each chunk; sizes of reads are the same after the resumption."""
    sizes: list[int] = []

    async def download(session: Any) -> int:
        total = 0
        async with session.get(service.url("/big/2")) as response:
            async for part in response.content.iter_chunked(100_000):
                sizes.append(len(part))
                total += len(part)
        return total

    live = FakePort()
    run(live, in_session(download))
    resumed = FakePort(live.journal().cut(0, parts=5))
    sizes.clear()

    total = run(resumed, in_session(download))
    seen = list(sizes)
    sizes.clear()
    run(FakePort(resumed.journal()), in_session(download))

    assert total == 2_000_000 // len(BIG_CHUNK) * len(BIG_CHUNK)
    assert sizes == seen


@pytest.mark.parametrize("path", ["changing", "tagged", "failing", "shrinking"])
def test_a_download_that_changed_is_a_lost_connection_and_an_interruption(
    path: str, service: HttpService
) -> None:
    """H23: user code may catch it under both names; the recorded beginning was served before."""
    url = service.url(f"/{path}/aiohttp")
    live = FakePort()
    body, _ = run(live, reading(url))
    journal = live.journal()
    whole = b"".join(journal.calls[0].parts)
    journal.calls[0].head["headers"] = [
        pair for pair in journal.calls[0].head["headers"] if pair[0] != b"Content-Length"
    ]
    resumed = FakePort(cut(journal, size_bytes=len(whole)))

    beginning, error = run(resumed, reading(url))
    hits = service.hits()
    recorded_beginning, recorded = run(FakePort(resumed.journal()), reading(url))

    assert beginning == recorded_beginning == body
    assert isinstance(error, aiohttp.ClientPayloadError)
    assert issubclass(type(error), RequestInterrupted)
    assert "was cut when the process died" in str(error)
    assert facts_of_error(recorded) == facts_of_error(error)
    assert service.hits() == hits


def test_a_cut_download_that_is_not_read_further_is_not_repeated(service: HttpService) -> None:
    async def begin(session: Any) -> bytes:
        async with session.get(service.url("/big/3")) as response:
            return bytes(await response.content.readexactly(10))

    live = FakePort()
    first = run(live, in_session(begin))
    hits = service.hits()
    resumed = FakePort(cut(live.journal(), size_bytes=100))

    again = run(resumed, in_session(begin))

    assert again == first
    assert service.hits() == hits
    (recorded,) = resumed.journal().calls
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_a_repeated_request_may_fail_where_it_is_read(service: HttpService) -> None:
    live = FakePort()
    run(live, reading(service.url("/lines")))
    journal = cut(live.journal(), size_bytes=10)
    dead = "http://127.0.0.1:1/lines"
    journal.calls[0].call.identity["url"] = dead  # type: ignore[index]  # as if the service left
    resumed = FakePort(journal)

    seen, error = run(resumed, reading(dead))
    seen_again, again = run(FakePort(resumed.journal()), reading(dead))

    assert seen == seen_again == LINES[0]
    assert isinstance(error, aiohttp.ClientConnectorError)
    assert facts_of_error(again) == facts_of_error(error)


def test_a_reader_may_be_cancelled_while_the_rest_is_fetched(service: HttpService) -> None:
    """H17: the repeated request is silent where the first one was not."""

    async def read(session: Any) -> Any:
        seen = b""
        async with session.get(service.url("/stalling")) as response:
            try:
                async with asyncio.timeout(None) as limit:
                    async for part in response.content.iter_any():
                        seen += part
                        if len(seen) == len(LINES[0] + LINES[1]):
                            limit.reschedule(asyncio.get_running_loop().time() + 0.05)
            except TimeoutError:
                return seen, "too slow"

    live = FakePort()
    run(live, in_session(read))
    resumed = FakePort(cut(live.journal(), size_bytes=12))

    found = run(resumed, in_session(read))
    hits = service.hits()
    again = run(FakePort(resumed.journal()), in_session(read))

    assert found == again == (LINES[0] + LINES[1], "too slow")
    assert service.hits() == hits


# --- doubt ----------------------------------------------------------------------------------------


def posting(service: HttpService, **options: Any) -> Callable[[], Any]:
    async def post(session: Any) -> Any:
        async with session.post(service.url("/count/doubt"), **options) as response:
            text = await response.text()
            cookies = {name: each.value for name, each in response.cookies.items()}
            return response.status, text, response.reason, cookies

    return in_session(post)


def test_a_post_in_doubt_is_not_sent_again(service: HttpService) -> None:
    live = FakePort()
    run(live, posting(service))
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0)), posting(service))

    assert service.hits() == hits


def test_a_post_with_a_key_in_doubt_is_sent_again(service: HttpService) -> None:
    scenario = posting(service, headers={"Idempotency-Key": "k"})
    live = FakePort()
    run(live, scenario)
    hits = service.hits()

    found = run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    assert found[0] == 200
    assert len(service.hits()) == len(hits) + 1


def test_a_generated_body_with_a_key_is_sent_again_from_its_spool(service: HttpService) -> None:
    """H23, H28: the answer was cut behind its head, so the request is sent by its reader."""

    async def body() -> Any:
        yield b"piece"

    async def read(session: Any) -> Any:
        headers = {"Idempotency-Key": "k"}
        async with session.post(service.url("/lines"), data=body(), headers=headers) as response:
            return await response.read()

    live = FakePort()
    whole = run(live, in_session(read))
    hits = service.hits()
    resumed = FakePort(cut(live.journal(), size_bytes=12))

    again = run(resumed, in_session(read))

    assert again == whole == b"".join(LINES)
    assert len(service.hits()) == len(hits) + 1


ANSWER = {"status": 201, "body": "given", "headers": {"Set-Cookie": "a=1"}}


def answer_with(given: dict[str, Any]) -> Callable[[Call, AnswerParser | None], Outcome]:
    def doubt(call: Call, parse: AnswerParser | None) -> Outcome:
        assert parse is not None
        return parse(json.dumps(given).encode())

    return doubt


def test_an_answer_given_for_a_post_in_doubt_is_served_as_the_librarys_response(
    service: HttpService,
) -> None:
    live = FakePort()
    run(live, posting(service))
    hits = service.hits()
    cut_off = live.journal().cut(0, head=False, parts=0)
    resolved = FakePort(cut_off, doubt=answer_with(ANSWER))

    found = run(resolved, posting(service))
    again = run(FakePort(resolved.journal()), posting(service))

    assert found == again == (201, "given", "Created", {"a": "1"})
    assert service.hits() == hits


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_may_be_given(status: int, service: HttpService) -> None:
    live = FakePort()
    run(live, posting(service))
    cut_off = live.journal().cut(0, head=False, parts=0)

    found = run(FakePort(cut_off, doubt=answer_with({"status": status})), posting(service))

    assert found[:2] == (status, "")


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("body", "fits"), [("12345", True), ("98765", False)])
def test_an_answer_given_for_a_cut_one_goes_on_behind_what_was_seen(
    body: str, fits: bool, is_chunked: bool, service: HttpService
) -> None:
    async def post(session: Any) -> Any:
        path = "/lines" if is_chunked else "/echo"
        async with session.post(service.url(path), data=b"x") as response:
            seen = b""
            try:
                async for part in response.content.iter_any():
                    seen += part
            except aiohttp.ClientPayloadError as error:
                return seen, type(error)
            return seen, None

    live = FakePort()
    run(live, in_session(post))
    journal = live.journal().cut(0)
    journal.calls[0].parts = [b"2\r\n12\r\n3\r\n3"] if is_chunked else [b"12", b"3"]
    resolved = FakePort(journal, doubt=answer_with({"status": 200, "body": body}))

    seen, error = run(resolved, in_session(post))

    if fits:
        assert (seen, error) == (b"12345", None)
    else:
        assert seen == b"123"
        assert issubclass(error, RequestInterrupted)


@pytest.mark.parametrize("has_head", [False, True])
def test_a_post_marked_as_failed_is_a_lost_connection(has_head: bool, service: HttpService) -> None:
    live = FakePort()
    run(live, posting(service))
    hits = service.hits()
    cut_off = live.journal().cut(0, head=has_head, parts=0)
    failed = FakePort(cut_off, doubt=lambda call, parse: Outcome(Ending.FAILED))

    kind, error_type, message, _ = run(failed, posting(service))

    expected = aiohttp.ClientPayloadError if has_head else aiohttp.ClientConnectionError
    assert (kind, error_type) == ("raised", expected)
    assert "marked as failed" in message
    assert service.hits() == hits


def test_a_put_marked_as_failed_is_not_sent_again_by_the_library(service: HttpService) -> None:
    """The library repeats a PUT by itself when a server hangs up; the user said it failed."""

    async def put(session: Any) -> None:
        async with session.put(service.url("/count/put"), headers={"If-Match": "x"}):
            pass

    live = FakePort()
    run(live, in_session(put))
    hits = service.hits()
    cut_off = live.journal().cut(0, head=False, parts=0)
    failed = FakePort(cut_off, doubt=lambda call, parse: Outcome(Ending.FAILED))

    error = run(failed, in_session(put))

    assert error[1] is aiohttp.ClientConnectionError
    assert service.hits() == hits
