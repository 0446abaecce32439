"""HTTP/2 through httpx and httpx2: the same hook, another version on the wire."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run

WHOLE = b"one two three"


@pytest.fixture(params=[False, True], ids=["prior knowledge", "TLS"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HttpService]:
    folder = tmp_path_factory.mktemp("service")
    running = HttpService.start(folder, tls=request.param, module="tests.effects.http2_service")
    yield running
    running.stop()


@pytest.fixture(params=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def witness(service: HttpService, hooked: FakeWitness) -> FakeWitness:
    hooked.crossings.clear()
    return hooked


def options_of(service: HttpService) -> dict[str, Any]:
    tls = service.ca_file
    verify = ssl.create_default_context(cafile=tls) if tls else True
    return {"http2": True, "http1": tls is not None, "verify": verify, "trust_env": False}


def facts_of(response: Any) -> Any:
    return type(response), response.http_version, response.headers.raw, response.content


def two_requests(lib: Any, service: HttpService) -> Any:
    with lib.Client(**options_of(service)) as client:
        got = facts_of(client.get(service.url("/a")))
        posted = facts_of(client.post(service.url("/b"), content=b"body"))
        return got, posted, dict(client.cookies)


def a_stream(lib: Any, service: HttpService) -> Any:
    with (
        lib.Client(**options_of(service)) as client,
        client.stream("GET", service.url("/a")) as response,
    ):
        return response.http_version, b"".join(response.iter_raw())


def an_error(lib: Any, service: HttpService) -> Any:
    with lib.Client(**options_of(service)) as client:
        client.get(service.url("/nothing")).raise_for_status()


def many_at_once_one_by_one(lib: Any, service: HttpService) -> Any:
    async def go() -> Any:
        async with lib.AsyncClient(**options_of(service)) as client:
            return [facts_of(await client.get(service.url(f"/{n}"))) for n in range(3)]

    return asyncio.run(go())


SCENARIOS = [two_requests, a_stream, an_error, many_at_once_one_by_one]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_http2_is_recorded_and_replayed_without_the_server(
    scenario: Callable[[Any, HttpService], Any],
    lib: Any,
    service: HttpService,
    witness: FakeWitness,
) -> None:
    live = FakePort()
    first = run(live, lambda: scenario(lib, service))
    acts = witness.acts
    service.stop()
    again = FakePort(live.journal())

    second = run(again, lambda: scenario(lib, service))

    assert second == first
    assert again.made == 0
    assert acts == []
    assert {call.head["http_version"] for call in live.journal().calls} == {b"HTTP/2"}


def test_the_version_that_a_user_sees_is_the_recorded_one(lib: Any, service: HttpService) -> None:
    live = FakePort()
    (_, version, headers, content), *_ = run(live, lambda: two_requests(lib, service))

    assert version == "HTTP/2"
    assert (b"x-version", b"2") in headers
    assert content == WHOLE


def test_a_cut_download_goes_on_over_another_connection(lib: Any, service: HttpService) -> None:
    """H23: the rest comes behind what was recorded."""
    live = FakePort()
    first = run(live, lambda: a_stream(lib, service))
    journal = live.journal().cut(0)
    journal.calls[0].parts = [WHOLE[:5]]
    resumed = FakePort(journal)

    second = run(resumed, lambda: a_stream(lib, service))

    assert second == first == ("HTTP/2", WHOLE)
    assert service.hits() == ["GET /a"] * 2
    assert run(FakePort(resumed.journal()), lambda: a_stream(lib, service)) == first
