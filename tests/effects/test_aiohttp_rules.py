"""What the hook of aiohttp promises beyond equal replays."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import random
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from durable_kernel.effects.aiohttp_client import install
from durable_kernel.errors import DivergenceError
from durable_kernel.ports import (
    CURRENT_LANE,
    INSIDE_EFFECT,
    Ending,
    Lane,
    Secret,
)
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.aiohttp_sessions import fetching, in_session
from tests.effects.http_service import LINES, HttpService
from tests.effects.http_sessions import record_and_replay, run
from tests.effects.sessions import awaited


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


# --- what is recorded -----------------------------------------------------------------------------


def test_the_wire_behind_the_head_is_recorded(service: HttpService) -> None:
    port = FakePort()

    found = run(port, fetching("GET", service.url("/lines")))

    (recorded,) = port.journal().calls
    framed = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in LINES)
    assert found == b"".join(LINES)
    assert b"".join(recorded.parts) == framed + b"0\r\n\r\n"
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.VALUE
    assert len(recorded.outcome.value["arrivals"]) == len(recorded.parts)


def test_no_secret_of_a_request_and_no_open_secret_of_an_answer_is_recorded(
    service: HttpService,
) -> None:
    """H18."""
    port = FakePort()
    url = service.url("/cookies?token=sk-1").replace("//", "//me:sk-1@")

    run(port, fetching("GET", url, headers={"X-Key": "sk-1", "Cookie": "sk-1"}))

    (recorded,) = port.journal().calls
    secrets = [value for _, value in recorded.head["headers"] if isinstance(value, Secret)]
    assert "sk-1" not in repr(recorded)
    assert "s3cret" not in repr(recorded)
    assert secrets == [Secret(b"session=s3cret; Path=/"), Secret(b"theme=dark; Path=/")]


def test_a_body_runs_in_the_lane_and_the_connecting_out_of_it(service: HttpService) -> None:
    """H28: live and on replay; what the library does to connect is suspended."""
    seen: list[tuple[str, Lane | None, bool]] = []

    async def body() -> AsyncIterator[bytes]:
        seen.append(("body", CURRENT_LANE.get(), INSIDE_EFFECT.get()))
        yield b"x"

    async def trace(*_: Any) -> None:
        seen.append(("trace", CURRENT_LANE.get(), INSIDE_EFFECT.get()))

    async def post(session: Any) -> None:
        async with session.post(service.url("/echo"), data=body()):
            pass

    async def go() -> None:
        config = aiohttp.TraceConfig()
        config.on_connection_create_start.append(trace)
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            await post(session)

    live = FakePort()
    run(live, lambda: awaited(go))
    assert seen == [("body", live.make_lane(), False), ("trace", None, True)]
    assert "trace" in live.notes[0]
    seen.clear()

    again = FakePort(live.journal())
    run(again, lambda: awaited(go))

    assert seen == [("body", again.make_lane(), False)]


@pytest.mark.parametrize("kind", ["generator", "file", "form"])
def test_a_large_body_arrives_whole(kind: str, tmp_path: Path, service: HttpService) -> None:
    """H28: it is spooled to disk on its way, and says the same of its size as without us."""
    whole = bytes(range(256)) * 1000
    (tmp_path / "body").write_bytes(whole)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 30_000):
            yield whole[at : at + 30_000]

    async def post(session: Any) -> Any:
        if kind == "file":
            with (tmp_path / "body").open("rb") as file:
                async with session.post(service.url("/echo"), data=file) as response:
                    return await response.json()
        body: Any = pieces()
        if kind == "form":
            body = aiohttp.MultipartWriter("form-data", boundary="frontier")
            body.append(io.BytesIO(whole))
        async with session.post(service.url("/echo"), data=body) as response:
            return await response.json()

    found, port = record_and_replay(service, in_session(post))

    sent = port.calls[0].details["headers"]
    if kind == "form":
        assert found["size"] > len(whole)
    else:
        assert (found["size"], port.calls[0].identity["body"]) == (
            len(whole),
            port.secrets.body_digest(whole),
        )
    assert ("content-length" in sent) is (kind != "generator")


def test_a_body_that_raises_is_a_failed_request_that_was_not_sent(service: HttpService) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("y")

    port = FakePort()
    hits = service.hits()

    error = run(port, lambda: fetching("POST", service.url("/echo"), data=body())())

    assert error[1] is aiohttp.ClientConnectionError
    assert port.calls == []
    assert service.hits() == hits


@pytest.mark.parametrize("kind", ["generator", "file"])
def test_what_a_redirect_sends_of_a_body_is_what_it_sends_without_us(
    kind: str, tmp_path: Path, service: HttpService
) -> None:
    """Versions differ: an exhausted generator is sent empty, or refused; a file is rewound."""
    (tmp_path / "body").write_bytes(b"piece")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"piece"

    async def post(session: Any) -> Any:
        body: Any = pieces() if kind == "generator" else (tmp_path / "body").open("rb")
        try:
            async with session.post(service.url("/moved"), data=body) as response:
                return (await response.json())["size"]
        except (aiohttp.ClientError, ValueError):  # before 3.12 a closed file is one or the other
            return "refused"
        finally:
            if kind == "file":
                body.close()

    without_us = in_session(post)()

    found, _ = record_and_replay(service, in_session(post))

    assert found == without_us


def test_another_body_is_another_call(service: HttpService) -> None:
    live = FakePort()
    run(live, fetching("POST", service.url("/echo"), data=b"one"))

    with pytest.raises(DivergenceError):
        run(FakePort(live.journal()), fetching("POST", service.url("/echo"), data=b"two"))


def test_boundaries_of_forms_are_drawn_again(hooked: FakeWitness, service: HttpService) -> None:
    """The entropy of a cell is recorded; a boundary is part of a request's identity."""

    async def post(session: Any) -> Any:
        form = aiohttp.FormData()
        form.add_field("file", b"z" * 1000, filename="a.txt")
        async with session.post(service.url("/echo"), data=form) as response:
            return await response.json()

    install(hooked)

    record_and_replay(service, in_session(post))


def test_tls_is_below_the_hook(tmp_path_factory: pytest.TempPathFactory) -> None:
    service = HttpService.start(tmp_path_factory.mktemp("tls"), tls=True)
    trust = ssl.create_default_context(cafile=str(service.ca_file))
    try:
        text, _ = record_and_replay(service, fetching("GET", service.url("/hello"), ssl=trust))
        error, _ = record_and_replay(service, fetching("GET", service.url("/hello")))
        big, _ = record_and_replay(
            service,
            lambda: hashlib.sha256(fetching("GET", service.url("/big/2"), ssl=trust)()).hexdigest(),
        )
    finally:
        service.stop()

    assert text == "grüß Gott".encode()
    assert error[1] is aiohttp.ClientConnectorCertificateError
    assert big


def test_the_cause_of_a_refusal_is_an_error_of_the_system(service: HttpService) -> None:
    async def fetch(session: Any) -> Any:
        try:
            await session.get("http://127.0.0.1:1/")
        except aiohttp.ClientConnectorError as error:
            cause = error.__cause__
            return error.host, error.port, error.errno, type(error.os_error), type(cause)

    found, _ = record_and_replay(service, in_session(fetch))

    assert found[3:] == (ConnectionRefusedError, ConnectionRefusedError)


# --- generators (H9) ------------------------------------------------------------------------------


def test_waiting_for_connections_does_not_move_the_users_generator(service: HttpService) -> None:
    """H9: the connector shuffles those who wait."""
    urls = [service.url("/hello"), service.url("/hello").replace("127.0.0.1", "localhost")]

    async def fetch_all(session: Any) -> None:
        async def fetch(url: str) -> None:
            async with session.get(url) as response:
                await response.read()

        await asyncio.gather(*(fetch(url) for url in urls * 4))

    async def go() -> None:
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            await fetch_all(session)

    before = random.getstate()

    run(FakePort(), lambda: asyncio.run(go()))

    assert random.getstate() == before


# --- endings --------------------------------------------------------------------------------------


def test_reading_on_where_the_recorded_reader_closed_is_a_divergence(service: HttpService) -> None:
    def reading(count: int) -> Callable[[], Any]:
        async def read(session: Any) -> Any:
            async with session.get(service.url("/stalling")) as response:
                return [await response.content.readline() for _ in range(count)]

        return in_session(read)

    live = FakePort()
    run(live, reading(1))

    with pytest.raises(DivergenceError, match="closed or left by its reader"):
        run(FakePort(live.journal()), reading(3))


# Their __del__ closes a connection whose loop is gone.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_answer_that_is_dropped_unread_is_not_left_in_doubt(service: HttpService) -> None:
    """H17: every begun act ends on every way out; here nobody closes anything."""
    port = FakePort()

    async def drop() -> None:
        await aiohttp.ClientSession().post(service.url("/stalling"))

    run(port, lambda: asyncio.run(drop()))
    gc.collect()

    (recorded,) = port.journal().calls
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_an_exchange_ends_with_its_session(service: HttpService) -> None:
    """H17."""

    async def go() -> Any:
        session = aiohttp.ClientSession()
        response = await session.get(service.url("/stalling"))
        await session.close()
        try:
            async with asyncio.timeout(0.2):  # 3.9 waits for ever
                await response.read()
        except (RuntimeError, TimeoutError) as error:
            return type(error), str(error)

    found, port = record_and_replay(service, lambda: asyncio.run(go()))

    outcome = port.journal().calls[0].outcome
    assert outcome is not None
    assert outcome.ending is Ending.ABANDONED
    assert found is not None


def test_a_cancelled_call_without_a_canceller_is_cancelled_by_itself(service: HttpService) -> None:
    """H17: an interrupt of the process is not repeated by anything inside it; no hang."""

    async def fetch(*, is_live: bool) -> None:
        async with aiohttp.ClientSession() as session:
            call = asyncio.ensure_future(session.get(service.url("/silent")))
            if is_live:
                # What happens in another process sets no event.
                while not any("/silent" in hit for hit in service.hits()):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0)
                call.cancel()
            await call

    live = FakePort()
    with pytest.raises(asyncio.CancelledError), live.cell():
        asyncio.run(fetch(is_live=True))

    with pytest.raises(asyncio.CancelledError), FakePort(live.journal()).cell():
        asyncio.run(fetch(is_live=False))
