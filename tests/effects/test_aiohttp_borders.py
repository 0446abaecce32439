"""Where the hook of aiohttp ends: other callers, other protocols, the pool, memory."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web

from durable_kernel.effects.aiohttp_client import install
from durable_kernel.errors import WorldClosedError
from durable_kernel.ports import suspended
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.aiohttp_sessions import fetching, in_session
from tests.effects.forgetful import assert_little_memory
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import record_and_replay, run


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


# --- borders --------------------------------------------------------------------------------------


def test_a_request_outside_a_cell_passes_and_the_witness_is_told(
    service: HttpService, witness: FakeWitness
) -> None:
    """H29."""
    fetching("GET", service.url("/hello?token=sk-1"))()
    fetching("POST", service.url("/echo"))()
    with suspended():
        fetching("POST", service.url("/echo"))()

    (get,) = witness.observations
    assert get.startswith(f"sends GET {service.url('/hello?token=hash:')}")
    assert witness.acts == [f"sends POST {service.url('/echo')} through aiohttp"]


def test_a_witness_that_closes_the_world_stops_a_request_before_it_is_sent(
    service: HttpService,
) -> None:
    install(FakeWitness(denies=True))
    hits = service.hits()

    with pytest.raises(WorldClosedError):
        fetching("POST", service.url("/echo"))()

    assert service.hits() == hits


async def _greet(request: Any) -> Any:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"hello {message.data}")
    return socket


async def talk_over_a_web_socket() -> str:
    application = web.Application()
    application.router.add_get("/", _greet)
    async with (
        test_utils.TestServer(application) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.make_url("/")) as socket,
    ):
        await socket.send_str("you")
        return str(await socket.receive_str())


def test_a_web_socket_passes_and_the_witness_is_told(witness: FakeWitness) -> None:
    """What is said over it after status 101 is not recorded."""
    with FakePort().cell():
        answer = asyncio.run(talk_over_a_web_socket())

    assert answer == "hello you"
    assert [act.partition(" that GET")[0] for act in witness.acts] == [
        "talks over a connection of aiohttp"
    ]


def test_an_upgrade_is_stopped_where_the_world_is_closed(service: HttpService) -> None:
    """Live the witness may refuse it as well; on replay there is nobody to talk to."""
    fetch = fetching("GET", service.url("/upgrade"), headers={"Upgrade": "word"})
    live = FakePort()
    run(
        live,
        in_session(
            lambda session: session.get(service.url("/upgrade"), headers={"Upgrade": "word"})
        ),
    )
    install(FakeWitness(denies=True))

    with pytest.raises(WorldClosedError):
        run(FakePort(live.journal()), fetch)
    with pytest.raises(WorldClosedError):
        run(FakePort(), fetch)


def test_a_replayed_connection_is_never_reused_live(service: HttpService) -> None:
    """At the switch to live the pool holds nothing that leads nowhere."""

    async def fetch(session: Any) -> list[str]:
        found = []
        for path in ("/hello", "/hello", "/port"):
            async with session.get(service.url(path)) as response:
                found.append(await response.text())
        return found

    live = FakePort()
    run(live, in_session(fetch))
    journal = live.journal()
    del journal.calls[2:]
    again = FakePort(journal)

    found = run(again, in_session(fetch))

    assert found[:2] == ["grüß Gott"] * 2
    assert found[2].isdigit()
    assert (again.answered, again.made) == (2, 1)


def test_installing_again_replaces_the_witness_and_hooks_once(
    service: HttpService, witness: FakeWitness
) -> None:
    newer = FakeWitness()
    install(newer)
    port = FakePort()

    run(port, fetching("GET", service.url("/hello")))
    fetching("GET", service.url("/hello"))()

    assert len(port.calls) == 1
    assert (len(newer.crossings), witness.crossings) == (1, [])


def test_the_library_is_hooked_when_the_user_imports_it_and_not_imported_before() -> None:
    program = """
import sys
from durable_kernel.effects.aiohttp_client import install
from durable_kernel.testing.fake_port import FakeWitness
install(FakeWitness())
assert "aiohttp" not in sys.modules
import aiohttp.client
from aiohttp import TCPConnector
assert hasattr(TCPConnector.connect, "durable_hook")
assert not hasattr(TCPConnector.connect.__wrapped__, "durable_hook")
"""

    subprocess.run([sys.executable, "-c", program], check=True)


# --- budgets --------------------------------------------------------------------------------------


def test_a_large_download_is_replayed(service: HttpService) -> None:
    async def download(session: Any) -> tuple[int, str]:
        digest = hashlib.sha256()
        size = 0
        async with session.get(service.url("/big/50")) as response:
            async for part in response.content.iter_chunked(1 << 16):
                digest.update(part)
                size += len(part)
        return size, digest.hexdigest()

    (size, _), _ = record_and_replay(service, in_session(download))

    assert size > 49_000_000


def test_a_large_download_needs_no_more_memory_than_without_the_hook(service: HttpService) -> None:
    """The tap holds one part at a time."""

    async def stream(session: Any) -> int:
        size = 0
        async with session.get(service.url("/big/50")) as response:
            async for part in response.content.iter_any():
                size += len(part)
        return size

    assert_little_memory(in_session(stream))
