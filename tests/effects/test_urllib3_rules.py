"""What the hook of urllib3 promises beyond equal replays."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3

from durable_kernel import effects
from durable_kernel.errors import DivergenceError, WorldClosedError
from durable_kernel.ports import (
    CURRENT_LANE,
    INSIDE_EFFECT,
    Ending,
    Lane,
    Secret,
    suspended,
)
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.forgetful import assert_little_memory
from tests.effects.http_service import LINES, HttpService
from tests.effects.http_sessions import record_and_replay, run


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


# --- what is recorded -----------------------------------------------------------------------------


def test_parts_are_payload_in_the_pieces_in_which_they_came(service: HttpService) -> None:
    port = FakePort()

    with port.cell(), requests.get(service.url("/lines"), stream=True) as response:
        seen = list(response.raw.stream())

    (recorded,) = port.journal().calls
    assert recorded.parts == seen == LINES
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.VALUE


def test_a_body_is_recorded_below_the_decoder(service: HttpService) -> None:
    port = FakePort()

    with port.cell():
        text = requests.get(service.url("/gzip")).content

    (recorded,) = port.journal().calls
    assert len(b"".join(recorded.parts)) < len(text)


def test_no_secret_of_a_request_and_no_open_secret_of_an_answer_is_recorded(
    service: HttpService,
) -> None:
    """H18: nor in an exception, which names the URL."""
    port = FakePort()

    with port.cell():
        requests.get(
            service.url("/cookies?token=sk-1"), auth=("me", "sk-1"), cookies={"sid": "sk-1"}
        )
        with contextlib.suppress(requests.Timeout):
            requests.get(service.url("/silent?token=sk-1"), timeout=0.05)

    cookies, _ = port.journal().calls
    secrets = [value for _, value in cookies.head["headers"] if isinstance(value, Secret)]
    assert "sk-1" not in repr(port.journal())
    assert "s3cret" not in repr(port.journal())
    assert secrets == [Secret(b"session=s3cret; Path=/"), Secret(b"theme=dark; Path=/")]


def test_each_attempt_is_one_call(service: HttpService) -> None:
    port = FakePort()
    retries = urllib3.Retry(3, status_forcelist=[503], backoff_factor=0)

    with port.cell(), urllib3.PoolManager(retries=retries) as pools:
        pools.request("GET", service.url("/busy/attempts"))

    assert [recorded.head["status"] for recorded in port.journal().calls] == [503, 503, 200]


def test_a_body_runs_in_the_lane(service: HttpService) -> None:
    """H28: live and on replay."""
    seen: list[tuple[Lane | None, bool]] = []

    def body() -> Iterator[bytes]:
        seen.append((CURRENT_LANE.get(), INSIDE_EFFECT.get()))
        yield b"x"

    live = FakePort()
    run(live, lambda: requests.post(service.url("/echo"), data=body()))
    again = FakePort(live.journal())
    run(again, lambda: requests.post(service.url("/echo"), data=body()))

    assert seen == [(live.make_lane(), False), (again.make_lane(), False)]


def test_a_large_generated_body_arrives_whole(service: HttpService) -> None:
    """H28: it is spooled to disk on its way."""
    pieces = [bytes([number]) * 30_000 for number in range(10)]

    def scenario() -> Any:
        return requests.post(service.url("/echo"), data=iter(pieces)).json()

    found, port = record_and_replay(service, scenario)

    whole = b"".join(pieces)
    assert (found["size"], found["digest"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert port.calls[0].identity["body"] == port.secrets.body_digest(whole)


def test_a_body_that_fails_is_the_cells_own_failure(service: HttpService) -> None:
    """Nothing was announced, and nothing was sent."""

    def body() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    port = FakePort()
    hits = service.hits()

    found = run(port, lambda: requests.post(service.url("/echo"), data=body()))

    assert found[1] is ZeroDivisionError
    assert port.calls == []
    assert service.hits() == hits


class Unseekable(io.RawIOBase):
    """A file that can only be read once, forwards."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


@pytest.mark.parametrize(
    "make_body",
    [lambda: iter([b"one", b"two"]), lambda: io.BytesIO(b"onetwo"), lambda: Unseekable(b"onetwo")],
)
def test_a_body_that_never_left_can_be_sent_elsewhere(
    make_body: Callable[[], Any], service: HttpService
) -> None:
    """H28: it was drained, but the caller finds it as a connection that failed leaves it."""

    def scenario() -> Any:
        body = make_body()
        with contextlib.suppress(requests.ConnectionError):
            requests.post("http://127.0.0.1:1/", data=body)
        found = requests.post(service.url("/echo/elsewhere"), data=body).json()
        del found["hit"]
        return found

    without_us = scenario()
    found, _ = record_and_replay(service, scenario)

    assert found == without_us
    assert found["size"] == 6


def test_another_body_is_another_call(service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: requests.post(service.url("/echo"), data=b"one"))

    with pytest.raises(DivergenceError):
        run(FakePort(live.journal()), lambda: requests.post(service.url("/echo"), data=b"two"))


def test_connections_are_kept_alive_under_the_hook(service: HttpService) -> None:
    def scenario() -> set[str]:
        with requests.Session() as session:
            return {session.get(service.url("/port")).text for _ in range(3)}

    ports, _ = record_and_replay(service, scenario)

    assert len(ports) == 1


def test_the_pool_of_a_replayed_session_serves_live_requests(service: HttpService) -> None:
    """A run goes live in the middle of a session: its pool has no connection yet."""

    def scenario(session: requests.Session) -> list[str]:
        return [session.get(service.url("/port")).text for _ in range(3)]

    live = FakePort()
    with requests.Session() as session:
        before = run(live, lambda: scenario(session))
    journal = live.journal()
    del journal.calls[1:]

    with requests.Session() as session:
        after = run(FakePort(journal), lambda: scenario(session))

    assert after[0] == before[0]
    assert after[1] == after[2] != before[1]


def test_the_log_of_urllib3_tells_the_same(
    service: HttpService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")

    def scenario() -> list[str]:
        caplog.clear()
        requests.get(service.url("/redirect/1"))
        messages = [record.getMessage() for record in caplog.records]
        # On replay no connection of a pool is ever open.
        return [message for message in messages if "Resetting dropped connection" not in message]

    messages, _ = record_and_replay(service, scenario)

    assert '"GET /redirect/1 HTTP/1.1" 302' in messages[1]


# --- endings --------------------------------------------------------------------------------------


def test_reading_on_where_the_recorded_reader_closed_is_a_divergence(service: HttpService) -> None:
    def read(count: int) -> list[bytes]:
        with requests.get(service.url("/lines"), stream=True) as response:
            parts = response.iter_content(None)
            return [next(parts) for _ in range(count)]

    live = FakePort()
    run(live, lambda: read(2))

    with pytest.raises(DivergenceError, match="closed or left by its reader"):
        run(FakePort(live.journal()), lambda: read(3))


def test_an_answer_that_is_dropped_unread_is_not_left_in_doubt(service: HttpService) -> None:
    """H17: every begun act ends on every way out."""
    port = FakePort()
    with port.cell(), urllib3.PoolManager() as pools:
        response = pools.request("POST", service.url("/echo"), preload_content=False)

        response.close()

    (recorded,) = port.journal().calls
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_an_interrupted_request_is_interrupted_again(service: HttpService) -> None:
    """H17: the interrupt belongs to the call, so the act is not in doubt."""

    class Interrupting(urllib3.connection.HTTPConnection):
        def getresponse(self) -> Any:
            super().getresponse().close()  # the server has counted it
            raise KeyboardInterrupt

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Interrupting

    def scenario() -> None:
        host, _, port = service.origin.removeprefix("http://").partition(":")
        with Pool(host, int(port)) as pool:
            pool.request("POST", "/echo")

    live = FakePort()
    with pytest.raises(KeyboardInterrupt):
        run(live, scenario)
    hits = service.hits()

    with pytest.raises(KeyboardInterrupt):
        run(FakePort(live.journal()), scenario)

    assert service.hits() == hits


# --- borders --------------------------------------------------------------------------------------


def test_urllib3_is_recorded_once_although_http_client_is_hooked_too(service: HttpService) -> None:
    port = FakePort()

    with port.cell():
        requests.post(service.url("/echo"), data=b"x")

    assert hasattr(http.client.HTTPConnection.endheaders, "durable_hook")
    assert [call.label for call in port.calls] == [f"POST {service.url('/echo')}"]


def test_a_request_outside_a_cell_passes_and_the_witness_is_told(
    service: HttpService, witness: FakeWitness
) -> None:
    """H29."""
    requests.get(service.url("/hello?token=sk-1"))
    requests.post(service.url("/echo"))
    with suspended():
        requests.post(service.url("/echo"))

    told = [what for what, _ in witness.crossings if what.endswith(" through urllib3")]
    assert told[0].startswith(f"sends GET {service.url('/hello?token=hash:')}")
    assert told[1:] == [f"sends POST {service.url('/echo')} through urllib3"]
    assert "sk-1" not in repr(witness.crossings)


def test_a_witness_that_closes_the_world_stops_a_request_before_it_is_sent(
    service: HttpService,
) -> None:
    effects.install(FakeWitness(denies=True))
    hits = service.hits()

    with pytest.raises(WorldClosedError):
        requests.post(service.url("/echo"))

    assert service.hits() == hits


def test_an_answer_of_an_unknown_kind_is_told_and_not_recorded(
    service: HttpService, witness: FakeWitness
) -> None:
    """As HTTP/2 in urllib3: the call is not left in doubt, and the cell not executed again."""

    class Strange(urllib3.connection.HTTPConnection):
        def getresponse(self) -> Any:
            super().getresponse().close()
            return urllib3.HTTPResponse(b"strange", preload_content=False)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Strange

    host, _, number = service.origin.removeprefix("http://").partition(":")
    port = FakePort()

    with port.cell(), Pool(host, int(number)) as pool:
        found = pool.request("GET", "/hello").data

    (recorded,) = port.journal().calls
    assert found == b"strange"
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED
    assert witness.acts == [f"gets an unknown kind of answer to GET {service.url('/hello')}"]


def test_an_upgraded_connection_is_told_to_the_witness(
    service: HttpService, witness: FakeWitness
) -> None:
    """What is said over it after status 101 is not recorded."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "word"}

    with FakePort().cell():
        response = requests.get(service.url("/upgrade"), headers=upgrade)

    assert response.status_code == 101
    assert witness.acts == [
        f"talks over a connection of urllib3 that GET {service.url('/upgrade')} upgraded"
    ]


def test_a_connection_that_is_taken_out_of_a_response_is_told(
    service: HttpService, witness: FakeWitness
) -> None:
    """As clients of container engines do, to talk both ways."""
    with FakePort().cell(), requests.get(service.url("/lines"), stream=True) as response:
        assert response.raw._fp.fp.raw is not None

    assert witness.acts == [f"takes over a connection of urllib3 after GET {service.url('/lines')}"]


def test_urllib3_and_requests_are_hooked_when_they_are_imported_and_not_imported_before() -> None:
    program = """
import sys, time
from durable_kernel import effects
from durable_kernel.testing.fake_port import FakeWitness
witness = FakeWitness()
effects.install(witness)
assert not {"urllib3", "requests"} & sys.modules.keys()
import requests, urllib3
assert witness.acts == [], witness.acts
hooked = urllib3.HTTPConnectionPool._make_request
assert hasattr(hooked, "durable_hook")
effects.install(FakeWitness())
assert urllib3.HTTPConnectionPool._make_request is hooked
assert requests.sessions.preferred_clock == time.perf_counter
"""

    subprocess.run([sys.executable, "-c", program], check=True)


# --- budgets --------------------------------------------------------------------------------------


def test_a_large_download_needs_no_more_memory_than_without_the_hook(service: HttpService) -> None:
    """The tee holds one part at a time."""

    def stream() -> int:
        with requests.get(service.url("/big/50"), stream=True) as response:
            return sum(map(len, response.iter_content(8192)))

    assert_little_memory(stream)


def test_a_large_download_is_served_again(service: HttpService) -> None:
    def scenario() -> str:
        digest = hashlib.sha256()
        with requests.get(service.url("/big/50"), stream=True) as response:
            for piece in response.iter_content(100_000):
                digest.update(piece)
        return digest.hexdigest()

    _, port = record_and_replay(service, scenario)

    assert sum(map(len, port.journal().calls[0].parts)) > 49_000_000
