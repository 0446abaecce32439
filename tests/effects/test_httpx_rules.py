"""What the hook of httpx and httpx2 promises beyond equal replays."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from durable_kernel.effects.httpx_transport import install
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


@pytest.fixture(params=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


# --- what is recorded -----------------------------------------------------------------------------


def test_raw_bytes_are_recorded_part_by_part(lib: Any, service: HttpService) -> None:
    port = FakePort()

    with port.cell(), lib.stream("GET", service.url("/lines")) as response:
        seen = list(response.iter_raw())

    (recorded,) = port.journal().calls
    assert recorded.parts == seen
    assert b"".join(seen) == b"".join(LINES)
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.VALUE


def test_a_call_has_ended_when_the_last_byte_of_a_known_length_arrives(
    lib: Any, service: HttpService
) -> None:
    port = FakePort()

    with port.cell(), lib.stream("GET", service.url("/hello")) as response:
        part = next(response.iter_raw())
        (recorded,) = port.journal().calls
        is_settled = recorded.outcome is not None and recorded.outcome.ending is Ending.VALUE

    assert part == b"".join(recorded.parts)
    assert is_settled


def test_a_part_is_delivered_before_another_chunk_is_waited_for(
    lib: Any, service: HttpService
) -> None:
    """RFC 9112 §6.3: where both are given, chunks count and not the length."""
    port = FakePort()

    with port.cell(), lib.stream("GET", service.url("/framed")) as response:
        part = next(response.iter_raw())

    (recorded,) = port.journal().calls
    assert part == LINES[0]
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_no_secret_of_a_request_and_no_open_secret_of_an_answer_is_recorded(
    lib: Any, service: HttpService
) -> None:
    """H18."""
    port = FakePort()

    with port.cell():
        lib.get(
            service.url("/cookies?token=sk-1").replace("//", "//me:sk-1@"),
            headers={"Authorization": "Bearer sk-1", "Cookie": "sk-1"},
        )

    (recorded,) = port.journal().calls
    secrets = [value for _, value in recorded.head["headers"] if isinstance(value, Secret)]
    assert "sk-1" not in repr(recorded)
    assert "s3cret" not in repr(recorded)
    assert secrets == [Secret(b"session=s3cret; Path=/"), Secret(b"theme=dark; Path=/")]


def test_a_body_runs_in_the_lane_and_the_request_out_of_it(lib: Any, service: HttpService) -> None:
    """H28: live and on replay; what the library does with the body is suspended."""
    seen: list[tuple[str, Lane | None, bool]] = []

    def body() -> Iterator[bytes]:
        seen.append(("body", CURRENT_LANE.get(), INSIDE_EFFECT.get()))
        yield b"x"

    def trace(name: str, info: dict[str, Any]) -> None:
        seen.append(("trace", CURRENT_LANE.get(), INSIDE_EFFECT.get()))

    def scenario() -> None:
        with lib.Client() as client:
            client.post(service.url("/echo"), content=body(), extensions={"trace": trace})

    live = FakePort()
    run(live, scenario)
    assert seen[0] == ("body", live.make_lane(), False)
    assert set(seen[1:]) == {("trace", None, True)}
    assert "trace" in live.notes[0]
    seen.clear()

    again = FakePort(live.journal())
    run(again, scenario)

    assert seen == [("body", again.make_lane(), False)]


def test_a_large_generated_body_arrives_whole(lib: Any, service: HttpService) -> None:
    """H28: it is spooled to disk on its way."""
    pieces = [bytes([number]) * 30_000 for number in range(10)]

    def scenario() -> Any:
        return lib.post(service.url("/echo"), content=iter(pieces)).json()

    found, port = record_and_replay(service, scenario)

    whole = b"".join(pieces)
    assert (found["size"], found["digest"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert port.calls[0].identity["body"] == port.secrets.body_digest(whole)


def test_another_body_is_another_call(lib: Any, service: HttpService) -> None:
    live = FakePort()
    run(live, lambda: lib.post(service.url("/echo"), content=b"one"))

    with pytest.raises(DivergenceError):
        run(FakePort(live.journal()), lambda: lib.post(service.url("/echo"), content=b"two"))


def test_connections_are_kept_alive_under_the_hook(lib: Any, service: HttpService) -> None:
    def scenario() -> set[str]:
        with lib.Client() as client:
            return {client.get(service.url("/port")).text for _ in range(3)}

    ports, _ = record_and_replay(service, scenario)

    assert len(ports) == 1


def test_tls_is_below_the_hook(lib: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    service = HttpService.start(tmp_path_factory.mktemp("tls"), tls=True)
    trust = ssl.create_default_context(cafile=str(service.ca_file))

    async def fetch() -> str:
        async with lib.AsyncClient(verify=trust) as client:
            return str((await client.get(service.url("/hello"))).text)

    try:
        texts, _ = record_and_replay(
            service,
            lambda: (lib.get(service.url("/hello"), verify=trust).text, asyncio.run(fetch())),
        )
        error, _ = record_and_replay(service, lambda: lib.get(service.url("/hello")))
    finally:
        service.stop()

    assert texts == ("grüß Gott", "grüß Gott")
    assert error[1] is lib.ConnectError


# --- endings --------------------------------------------------------------------------------------


def test_reading_on_where_the_recorded_reader_closed_is_a_divergence(
    lib: Any, service: HttpService
) -> None:
    def read(count: int | None) -> list[bytes]:
        with lib.stream("GET", service.url("/big/3")) as response:
            parts = response.iter_raw()
            return list(parts) if count is None else [next(parts) for _ in range(count)]

    live = FakePort()
    run(live, lambda: read(2))

    with pytest.raises(DivergenceError, match="closed or left by its reader"):
        run(FakePort(live.journal()), lambda: read(None))


def test_an_answer_that_is_dropped_unread_is_not_left_in_doubt(
    lib: Any, service: HttpService
) -> None:
    """H17: every begun act ends on every way out."""
    port = FakePort()
    with port.cell(), lib.Client() as client:
        request = client.build_request("POST", service.url("/echo"))
        response = client.send(request, stream=True)
        client.close()

        del response
        gc.collect()

    (recorded,) = port.journal().calls
    assert recorded.outcome is not None
    assert recorded.outcome.ending is Ending.ABANDONED


def test_an_interrupted_request_is_interrupted_again(lib: Any, service: HttpService) -> None:
    """H17: the interrupt belongs to the call, so the act is not in doubt."""

    def interrupt(name: str, info: dict[str, Any]) -> None:
        if name == "http11.receive_response_headers.complete":
            raise KeyboardInterrupt

    def scenario() -> None:
        with lib.Client() as client:
            client.post(service.url("/echo"), extensions={"trace": interrupt})

    live = FakePort()
    with pytest.raises(KeyboardInterrupt):
        run(live, scenario)
    hits = service.hits()

    with pytest.raises(KeyboardInterrupt):
        run(FakePort(live.journal()), scenario)

    assert service.hits() == hits


def test_a_cancelled_call_without_a_canceller_is_cancelled_by_itself(
    lib: Any, service: HttpService
) -> None:
    """H17: an interrupt of the process is not repeated by anything inside it; no hang."""

    async def fetch(*, is_live: bool) -> None:
        is_waiting = asyncio.Event()

        async def trace(name: str, info: dict[str, Any]) -> None:
            if name == "http11.receive_response_headers.started":
                is_waiting.set()

        async with lib.AsyncClient() as client:
            request = client.get(service.url("/silent"), extensions={"trace": trace})
            call = asyncio.ensure_future(request)
            if is_live:
                await is_waiting.wait()
                call.cancel()
            await call

    live = FakePort()
    with pytest.raises(asyncio.CancelledError), live.cell():
        asyncio.run(fetch(is_live=True))

    with pytest.raises(asyncio.CancelledError), FakePort(live.journal()).cell():
        asyncio.run(fetch(is_live=False))


# --- borders --------------------------------------------------------------------------------------


def test_a_request_outside_a_cell_passes_and_the_witness_is_told(
    lib: Any, service: HttpService, witness: FakeWitness
) -> None:
    """H29."""
    lib.get(service.url("/hello?token=sk-1"))
    lib.post(service.url("/echo"))
    with suspended():
        lib.post(service.url("/echo"))

    (get,) = witness.observations
    assert get.startswith(f"sends GET {service.url('/hello?token=hash:')}")
    assert witness.acts == [f"sends POST {service.url('/echo')} through {lib.__name__}"]


def test_a_witness_that_closes_the_world_stops_a_request_before_it_is_sent(
    lib: Any, service: HttpService
) -> None:
    install(FakeWitness(denies=True))
    hits = service.hits()

    with pytest.raises(WorldClosedError):
        lib.post(service.url("/echo"))

    assert service.hits() == hits


def test_an_upgraded_connection_is_told_to_the_witness(
    lib: Any, service: HttpService, witness: FakeWitness
) -> None:
    """What is said over it after status 101 is not recorded."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "word"}

    with FakePort().cell():
        response = lib.get(service.url("/upgrade"), headers=upgrade)

    assert response.status_code == 101
    assert witness.acts == [
        f"talks over a connection of {lib.__name__} that GET {service.url('/upgrade')} upgraded"
    ]


def test_other_transports_are_not_hooked(lib: Any) -> None:
    port = FakePort()
    transport = lib.MockTransport(lambda request: lib.Response(200, text="made up"))

    with port.cell(), lib.Client(transport=transport) as client:
        text = client.get("http://a.example/").text

    assert text == "made up"
    assert port.calls == []


def test_installing_again_replaces_the_witness_and_hooks_once(
    lib: Any, service: HttpService, witness: FakeWitness
) -> None:
    newer = FakeWitness()
    install(newer)
    port = FakePort()

    with port.cell():
        lib.get(service.url("/hello"))
    lib.get(service.url("/hello"))

    assert len(port.calls) == 1
    assert (len(newer.crossings), witness.crossings) == (1, [])


def test_a_library_is_hooked_when_the_user_imports_it_and_not_imported_before() -> None:
    program = """
import sys
from durable_kernel.effects.httpx_transport import install
from durable_kernel.testing.fake_port import FakeWitness
install(FakeWitness())
assert not {"httpx", "httpx2", "httpcore"} & sys.modules.keys()
import httpx2
httpx2.alias_httpx()
import httpx
assert httpx is httpx2
assert hasattr(httpx.HTTPTransport.handle_request, "durable_hook")
assert not hasattr(httpx.HTTPTransport.handle_request.__wrapped__, "durable_hook")
"""

    subprocess.run([sys.executable, "-c", program], check=True)


# --- budgets --------------------------------------------------------------------------------------


def test_a_large_download_needs_no_more_memory_than_without_the_hook(
    lib: Any, service: HttpService
) -> None:
    """The tee holds one part at a time."""

    def stream() -> int:
        size = 0
        with lib.stream("GET", service.url("/big/50")) as response:
            for part in response.iter_raw():
                size += len(part)
        return size

    assert_little_memory(stream)
