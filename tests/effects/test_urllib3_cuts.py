"""requests over urllib3, cut short by a death: downloads go on, acts in doubt wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
import requests.adapters
import urllib3

from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import AnswerParser, Call, Ending, Outcome
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, run


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


# --- a cut answer is repeated, and continued behind what was recorded (H23) -----------------------


def cut(journal: FakeJournal, *, size_bytes: int) -> FakeJournal:
    """End a journal inside the body of its last call, after so many bytes."""
    recorded = journal.cut(len(journal.calls) - 1)
    body = b"".join(recorded.calls[-1].parts)
    recorded.calls[-1].parts = [body[:size_bytes]] if size_bytes else []
    return recorded


def iterate(url: str) -> bytes:
    with requests.get(url, stream=True) as response:
        return b"".join(response.iter_content(4))


def read_at_once(url: str) -> bytes:
    return requests.get(url).content


def preload(url: str) -> Any:
    with urllib3.PoolManager() as pools:
        return pools.request("GET", url).data


@pytest.mark.parametrize("read", [iterate, read_at_once, preload])
@pytest.mark.parametrize("path", ["/lines", "/gzip", "/closing"])
@pytest.mark.parametrize("size_bytes", [0, 3, 7, 34])
def test_a_cut_download_goes_on_where_it_was_cut(
    size_bytes: int, path: str, read: Callable[[str], bytes], service: HttpService
) -> None:
    """H23: sent again, compared, and continued silently. The journal is then complete."""
    live = FakePort()
    whole = run(live, lambda: read(service.url(path)))
    hits = len(service.hits())
    resumed = FakePort(cut(live.journal(), size_bytes=size_bytes))

    again = run(resumed, lambda: read(service.url(path)))
    third = run(FakePort(resumed.journal()), lambda: read(service.url(path)))

    assert again == third == whole
    assert len(service.hits()) == hits + 1
    (complete,) = resumed.journal().calls
    assert b"".join(complete.parts) == b"".join(live.journal().calls[0].parts)
    assert complete.outcome is not None
    assert complete.outcome.ending is Ending.VALUE


def test_a_resumed_download_gives_its_connection_back(service: HttpService) -> None:
    """The next request goes over the connection on which the download went on."""

    def scenario() -> list[str]:
        with requests.Session() as session:
            return [session.get(service.url("/port")).text for _ in range(2)]

    live = FakePort()
    before = run(live, scenario)

    after = run(FakePort(live.journal().cut(0, parts=0)), scenario)

    assert after[0] == after[1]
    assert after != before


@pytest.mark.parametrize("path", ["changing", "tagged", "failing", "shrinking"])
def test_a_download_that_changed_is_a_lost_connection_and_an_interruption(
    path: str, service: HttpService
) -> None:
    """H23: user code may catch it under both names; the recorded beginning was served before."""
    url = service.url(f"/{path}/requests")

    def read() -> list[Any]:
        seen: list[Any] = []
        with requests.get(url, stream=True) as response:
            try:
                seen.extend(response.iter_content(1000))
            except requests.exceptions.ChunkedEncodingError as error:
                seen.append(error)
        return seen

    live = FakePort()
    (body,) = run(live, read)
    journal = cut(live.journal(), size_bytes=max(1, len(body) - 1))
    resumed = FakePort(journal)

    *beginning, error = run(resumed, read)
    hits = service.hits()
    *recorded_beginning, recorded = run(FakePort(resumed.journal()), read)

    assert b"".join(beginning) == b"".join(recorded_beginning)
    assert issubclass(type(error), RequestInterrupted)
    assert isinstance(error.args[0], urllib3.exceptions.ProtocolError)
    assert "was cut when the process died" in str(error)
    assert facts_of_error(recorded) == facts_of_error(error)
    assert service.hits() == hits


def test_a_cut_download_that_is_not_read_further_is_not_repeated(service: HttpService) -> None:
    def scenario() -> bytes:
        with requests.get(service.url("/big/3"), stream=True) as response:
            return bytes(response.raw.read(1000))

    live = FakePort()
    first = run(live, scenario)
    hits = service.hits()

    again = run(FakePort(live.journal().cut(0, parts=1)), scenario)

    assert again == first
    assert service.hits() == hits


def test_a_repeated_request_may_fail_where_it_is_read(service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: read_at_once(service.url("/lines")))
    journal = cut(live.journal(), size_bytes=7)
    dead = "http://127.0.0.1:1/lines"
    journal.calls[0].call.identity["url"] = dead  # type: ignore[index]  # as if the service left
    resumed = FakePort(journal)

    error = run(resumed, lambda: read_at_once(dead))
    again = run(FakePort(resumed.journal()), lambda: read_at_once(dead))

    assert error[1] is requests.exceptions.ChunkedEncodingError
    assert "refused" in error[2]
    assert again == error


# --- doubt ----------------------------------------------------------------------------------------


def post(service: HttpService, **options: Any) -> Callable[[], Any]:
    def scenario() -> Any:
        response = requests.post(service.url("/count/doubt"), **options)
        return response.status_code, response.text, response.reason, dict(response.cookies)

    return scenario


def test_a_post_in_doubt_is_not_sent_again(service: HttpService) -> None:
    live = FakePort()
    run(live, post(service))
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0)), post(service))

    assert service.hits() == hits


def test_a_post_with_a_key_in_doubt_is_sent_again(service: HttpService) -> None:
    scenario = post(service, headers={"Idempotency-Key": "k"})
    live = FakePort()
    run(live, scenario)
    hits = service.hits()

    found = run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    assert found[0] == 200
    assert len(service.hits()) == len(hits) + 1


def answer_with(given: dict[str, Any]) -> Callable[[Call, AnswerParser | None], Outcome]:
    def doubt(call: Call, parse: AnswerParser | None) -> Outcome:
        assert parse is not None
        return parse(json.dumps(given).encode())

    return doubt


def test_an_answer_given_for_a_post_in_doubt_is_served_as_the_librarys_response(
    service: HttpService,
) -> None:
    answer = {"status": 201, "body": "given", "headers": {"Set-Cookie": "a=1"}}
    live = FakePort()
    run(live, post(service))
    hits = service.hits()
    cut_off = live.journal().cut(0, head=False, parts=0)
    resolved = FakePort(cut_off, doubt=answer_with(answer))

    found = run(resolved, post(service))
    again = run(FakePort(resolved.journal()), post(service))

    assert found == again == (201, "given", "Created", {"a": "1"})
    assert service.hits() == hits


@pytest.mark.parametrize("path", ["/echo", "/lines"])
@pytest.mark.parametrize(("body", "fits"), [("12345", True), ("98765", False)])
def test_an_answer_given_for_a_cut_one_goes_on_behind_what_was_seen(
    body: str, fits: bool, path: str, service: HttpService
) -> None:
    """Whatever Content-Length the cut answer had, the one that was given counts."""

    def scenario() -> bytes:
        with requests.post(service.url(path), data=b"x", stream=True) as response:
            return b"".join(response.iter_content(2))

    live = FakePort()
    run(live, scenario)
    journal = live.journal().cut(0)
    journal.calls[0].parts = [b"12", b"3"]
    resolved = FakePort(journal, doubt=answer_with({"status": 200, "body": body}))

    found = run(resolved, scenario)

    if fits:
        assert found == b"12345"
    else:
        assert issubclass(found[1], RequestInterrupted)


@pytest.mark.parametrize("has_head", [False, True])
def test_a_post_marked_as_failed_is_a_lost_connection(has_head: bool, service: HttpService) -> None:
    live = FakePort()
    run(live, post(service))
    cut_off = live.journal().cut(0, head=has_head, parts=0)
    failed = FakePort(cut_off, doubt=lambda call, parse: Outcome(Ending.FAILED))

    kind, error_type, message, _ = run(failed, post(service))

    lost = requests.exceptions.ChunkedEncodingError if has_head else requests.ConnectionError
    assert (kind, error_type) == ("raised", lost)
    assert "marked as failed" in message
