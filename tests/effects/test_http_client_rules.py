"""What the hook of http.client promises beyond equal replays, and what it does after a death."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from durable_kernel import effects
from durable_kernel.errors import DivergenceError, RequestInterrupted, WorldClosedError
from durable_kernel.ports import (
    CURRENT_LANE,
    INSIDE_EFFECT,
    AnswerParser,
    Call,
    Ending,
    Lane,
    Outcome,
    Secret,
    suspended,
)
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay, run


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


def fetch(url: str, **options: Any) -> bytes:
    with urllib.request.urlopen(url, **options) as response:
        found: bytes = response.read()
    return found


def connect_to(service: HttpService) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(service.origin.removeprefix("http://"))


# --- what is recorded -----------------------------------------------------------------------------


def test_no_secret_of_a_request_and_no_open_secret_of_an_answer_is_recorded(
    service: HttpService,
) -> None:
    """H18."""
    headers = {"Authorization": "Bearer sk-1", "Cookie": "sk-1"}
    request = urllib.request.Request(service.url("/cookies?token=sk-1"), headers=headers)
    port = FakePort()

    with port.cell():
        urllib.request.urlopen(request).read()

    (recorded,) = port.journal().calls
    secrets = [value for _, value in recorded.head["headers"] if isinstance(value, Secret)]
    assert "sk-1" not in repr(recorded)
    assert "s3cret" not in repr(recorded)
    assert secrets == [Secret(b"session=s3cret; Path=/"), Secret(b"theme=dark; Path=/")]


def test_a_body_runs_in_the_lane(service: HttpService) -> None:
    """H28: live and on replay."""
    seen: list[tuple[Lane | None, bool]] = []

    def scenario() -> bytes:
        def body() -> Iterator[bytes]:
            seen.append((CURRENT_LANE.get(), INSIDE_EFFECT.get()))
            yield b"x"

        return fetch(service.url("/echo"), data=body())

    live = FakePort()
    run(live, scenario)
    again = FakePort(live.journal())
    run(again, scenario)

    assert seen == [(live.make_lane(), False), (again.make_lane(), False)]


@pytest.mark.parametrize("make_body", [lambda: iter([b"one", b"two"]), lambda: io.BytesIO(b"12")])
def test_a_body_that_never_left_can_be_sent_elsewhere(
    make_body: Callable[[], Any], service: HttpService
) -> None:
    """H28: it was drained, but the caller finds it as a connection that failed leaves it."""

    def scenario() -> Any:
        body = make_body()
        with contextlib.suppress(urllib.error.URLError):
            fetch("http://127.0.0.1:1/", data=body)
        found = json.loads(fetch(service.url("/echo/elsewhere"), data=body))
        del found["hit"]
        return found

    without_us = scenario()
    found, _ = record_and_replay(service, scenario)

    assert found == without_us
    assert found["size"]


def test_another_body_is_another_call(service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: fetch(service.url("/echo"), data=b"one"))

    with pytest.raises(DivergenceError):
        run(FakePort(live.journal()), lambda: fetch(service.url("/echo"), data=b"two"))


def test_a_body_given_in_pieces_is_the_same_call_as_a_whole_one(service: HttpService) -> None:
    port = FakePort()
    conn = connect_to(service)

    with port.cell():
        conn.request("POST", "/echo", body=b"abcdef")
        conn.getresponse().read()
        conn.putrequest("POST", "/echo")
        conn.putheader("Content-Length", "6")
        conn.endheaders()
        conn.send(b"abc")
        conn.send(b"def")
        conn.getresponse().read()
    conn.close()

    whole, pieces = port.calls
    assert whole.identity == pieces.identity


def test_a_replayed_connection_serves_live_requests(service: HttpService) -> None:
    """A run goes live in the middle of a kept connection: there is no socket yet."""

    def scenario() -> list[bytes]:
        conn = connect_to(service)
        found = []
        for _ in range(3):
            conn.request("GET", "/port")
            found.append(conn.getresponse().read())
        conn.close()
        return found

    live = FakePort()
    before = run(live, scenario)
    journal = live.journal()
    del journal.calls[1:]

    after = run(FakePort(journal), scenario)

    assert after[0] == before[0]
    assert after[1] == after[2] != before[1]


def test_tls_is_below_the_hook(tmp_path_factory: pytest.TempPathFactory) -> None:
    service = HttpService.start(tmp_path_factory.mktemp("tls"), tls=True)
    trust = ssl.create_default_context(cafile=str(service.ca_file))

    def fail() -> Any:
        try:
            fetch(service.url("/hello"))
        except urllib.error.URLError as error:
            return type(error.reason), str(error)

    try:
        body, port = record_and_replay(
            service, lambda: fetch(service.url("/hello"), context=trust).decode()
        )
        error, _ = record_and_replay(service, fail)
    finally:
        service.stop()

    assert body == "grüß Gott"
    assert port.calls[0].identity["url"] == service.url("/hello")
    assert error[0] is ssl.SSLCertVerificationError


def test_a_tunnel_is_part_of_the_call(service: HttpService) -> None:
    host, _, port_number = service.origin.removeprefix("http://").partition(":")

    def scenario() -> bytes:
        conn = connect_to(service)
        conn.set_tunnel(host, int(port_number))
        conn.request("GET", "/hello")
        found = conn.getresponse().read()
        conn.close()
        return found

    found, port = record_and_replay(service, scenario)

    assert found.decode() == "grüß Gott"
    assert [call.label for call in port.calls] == [f"GET {service.url('/hello')}"]


# --- endings --------------------------------------------------------------------------------------


def test_a_request_that_is_never_answered_is_not_left_in_doubt(service: HttpService) -> None:
    """H17."""
    port = FakePort()
    conn = connect_to(service)

    with port.cell():
        conn.request("POST", "/echo", body=b"x")
        conn.close()
        del conn

    (recorded,) = port.journal().calls
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_reading_on_where_the_recorded_reader_closed_is_a_divergence(service: HttpService) -> None:
    def read(count: int) -> list[bytes]:
        with urllib.request.urlopen(service.url("/lines")) as response:
            return [response.read1() for _ in range(count)]

    live = FakePort()
    run(live, lambda: read(2))

    with pytest.raises(DivergenceError, match="closed or left by its reader"):
        run(FakePort(live.journal()), lambda: read(3))


# --- after a death --------------------------------------------------------------------------------


def cut(journal: FakeJournal, *, size_bytes: int) -> FakeJournal:
    """End a journal inside the body of its last call, after so many bytes."""
    recorded = journal.cut(len(journal.calls) - 1)
    body = b"".join(recorded.calls[-1].parts)
    recorded.calls[-1].parts = [body[:size_bytes]] if size_bytes else []
    return recorded


@pytest.mark.parametrize("path", ["/lines", "/closing", "/gzip"])
@pytest.mark.parametrize("size_bytes", [0, 3, 34])
def test_a_cut_download_goes_on_where_it_was_cut(
    size_bytes: int, path: str, service: HttpService
) -> None:
    """H23."""
    live = FakePort()
    whole = run(live, lambda: fetch(service.url(path)))
    hits = len(service.hits())
    resumed = FakePort(cut(live.journal(), size_bytes=size_bytes))

    again = run(resumed, lambda: fetch(service.url(path)))
    third = run(FakePort(resumed.journal()), lambda: fetch(service.url(path)))

    assert again == third == whole
    assert len(service.hits()) == hits + 1
    assert b"".join(resumed.journal().calls[0].parts) == whole


@pytest.mark.parametrize("path", ["changing", "tagged", "failing", "shrinking"])
def test_a_download_that_changed_is_a_lost_connection_and_an_interruption(
    path: str, service: HttpService
) -> None:
    """H23."""
    url = service.url(f"/{path}/standard")
    live = FakePort()
    whole = run(live, lambda: fetch(url))
    resumed = FakePort(cut(live.journal(), size_bytes=len(whole) - 1))

    error = run(resumed, lambda: fetch(url))
    again = run(FakePort(resumed.journal()), lambda: fetch(url))

    assert issubclass(error[1], RequestInterrupted)
    assert issubclass(error[1], ConnectionResetError)
    assert "was cut when the process died" in error[2]
    assert again == error


def test_a_repeated_upload_with_a_key_sends_its_body_again(service: HttpService) -> None:
    """A body in pieces, cut in its answer."""

    def scenario() -> Any:
        conn = connect_to(service)
        conn.putrequest("POST", "/echo/cut")
        conn.putheader("Idempotency-Key", "k")
        conn.putheader("Content-Length", "3")
        conn.endheaders()
        conn.send(b"abc")
        found = json.loads(conn.getresponse().read())
        conn.close()
        del found["hit"]
        return found

    live = FakePort()
    first = run(live, scenario)

    announced = run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)
    headed = run(FakePort(live.journal().cut(0, parts=0)), scenario)

    assert first == announced == headed


def test_a_post_in_doubt_is_not_sent_again(service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: fetch(service.url("/count/doubt"), data=b"x"))
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0)), lambda: fetch(service.url("/count/doubt"), data=b"x"))

    assert service.hits() == hits


def answer_with(given: dict[str, Any]) -> Callable[[Call, AnswerParser | None], Outcome]:
    def doubt(call: Call, parse: AnswerParser | None) -> Outcome:
        assert parse is not None
        return parse(json.dumps(given).encode())

    return doubt


def test_an_answer_given_for_a_post_in_doubt_is_served_as_the_librarys_response(
    service: HttpService,
) -> None:
    def scenario() -> Any:
        with urllib.request.urlopen(service.url("/count/answer"), data=b"x") as response:
            return type(response), response.status, response.msg, response.read()

    live = FakePort()
    run(live, scenario)
    hits = service.hits()
    cut_off = live.journal().cut(0, head=False, parts=0)
    resolved = FakePort(cut_off, doubt=answer_with({"status": 201, "body": "given"}))

    found = run(resolved, scenario)
    again = run(FakePort(resolved.journal()), scenario)

    assert found == again == (http.client.HTTPResponse, 201, "Created", b"given")
    assert service.hits() == hits


@pytest.mark.parametrize("has_head", [False, True])
def test_a_post_marked_as_failed_is_a_lost_connection(has_head: bool, service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: fetch(service.url("/count/failed"), data=b"x"))
    cut_off = live.journal().cut(0, head=has_head, parts=0)
    failed = FakePort(cut_off, doubt=lambda call, parse: Outcome(Ending.FAILED))

    error = run(failed, lambda: fetch(service.url("/count/failed"), data=b"x"))

    assert issubclass(error[1], ConnectionResetError)
    assert "marked as failed" in error[2]


# --- borders --------------------------------------------------------------------------------------


class Subclass(http.client.HTTPConnection):
    """As libraries have them that change how a connection is made."""


def test_a_subclass_is_not_hooked_but_heard(service: HttpService, witness: FakeWitness) -> None:
    port = FakePort()
    conn = Subclass(service.origin.removeprefix("http://"))

    with port.cell():
        conn.request("GET", "/hello")
        conn.getresponse().read()
    conn.close()

    assert port.calls == []
    assert witness.acts != []


def test_a_request_outside_a_cell_passes_and_the_witness_is_told(
    service: HttpService, witness: FakeWitness
) -> None:
    """H29."""
    fetch(service.url("/hello?token=sk-1"))
    fetch(service.url("/echo"), data=b"x")
    with suspended():
        fetch(service.url("/echo"), data=b"x")

    told = [what for what, _ in witness.crossings if what.endswith(" through http.client")]
    assert told[0].startswith(f"sends GET {service.url('/hello?token=hash:')}")
    assert told[1:] == [f"sends POST {service.url('/echo')} through http.client"]
    assert "sk-1" not in repr(witness.crossings)


def test_a_witness_that_closes_the_world_stops_a_request_before_it_is_sent(
    service: HttpService,
) -> None:
    effects.install(FakeWitness(denies=True))
    hits = service.hits()

    with pytest.raises(WorldClosedError):
        fetch(service.url("/echo"), data=b"x")

    assert service.hits() == hits


def test_an_upgraded_connection_is_told_to_the_witness(
    service: HttpService, witness: FakeWitness
) -> None:
    conn = connect_to(service)

    with FakePort().cell():
        conn.request("GET", "/upgrade", headers={"Connection": "Upgrade", "Upgrade": "word"})
        status = conn.getresponse().status
    conn.close()

    assert status == 101
    assert witness.acts == [
        f"talks over a connection of http.client that GET {service.url('/upgrade')} upgraded"
    ]


def test_an_exception_of_a_recorded_head_is_met_by_http_client_itself(
    service: HttpService,
) -> None:
    """It closes the connection as it did, so that the connection can be used again."""

    def scenario() -> Any:
        conn = connect_to(service)
        conn.timeout = 0.05
        conn.request("GET", "/silent")
        try:
            conn.getresponse()
        except TimeoutError as error:
            conn.close()
            conn.timeout = 60
            conn.request("GET", "/hello")
            found = conn.getresponse().read()
            conn.close()
            return facts_of_error(error), found

    (error, body), _ = record_and_replay(service, scenario)

    assert error[1] is TimeoutError
    assert body.decode() == "grüß Gott"
