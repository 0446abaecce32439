"""httpx and httpx2 against a real server in another process: recorded once, then served again."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from durable_kernel.effects.httpx_transport import install
from durable_kernel.testing.fake_port import FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay


@pytest.fixture(params=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


def facts_of(response: Any) -> dict[str, Any]:
    """Everything that user code can see of a finished response."""
    return {
        "type": type(response),
        "status": response.status_code,
        "headers": response.headers.raw,
        "content": response.content,
        "text": response.text,
        "encoding": response.encoding,
        "cookies": sorted(response.cookies.items()),
        "elapsed": response.elapsed,
        "version": response.http_version,
        "reason": response.reason_phrase,
        "url": str(response.url),
        "history": [facts_of(earlier) for earlier in response.history],
    }


# --- what a client can do, synchronously ----------------------------------------------------------

Scenario = Callable[[Any, HttpService], Any]


def get(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.get(service.url("/hello?page=2")))


def get_status_500(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.get(service.url("/status/500")))


def raise_for_status(lib: Any, service: HttpService) -> Any:
    return lib.get(service.url("/status/500")).raise_for_status()


def get_packed(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.get(service.url("/gzip")))


def head(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.head(service.url("/hello")))


def keep_cookies(lib: Any, service: HttpService) -> Any:
    with lib.Client() as client:
        set_both = facts_of(client.get(service.url("/cookies")))
        sent_back = client.get(service.url("/cookie")).text
        return set_both, sent_back, sorted(client.cookies.items())


def follow_redirects(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.get(service.url("/redirect/2"), follow_redirects=True))


def authenticate(lib: Any, service: HttpService) -> Any:
    return lib.get(service.url("/private"), auth=("user", "pass")).text


def post_json(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.post(service.url("/echo"), json={"a": [1, 2]}))


def post_with_key(lib: Any, service: HttpService) -> Any:
    """Shaped as the SDKs of language models do it."""
    headers = {"Idempotency-Key": "stainless-1", "Authorization": "Bearer sk-1"}
    with lib.Client(headers=headers, timeout=lib.Timeout(600, connect=5)) as client:
        request = client.build_request("POST", service.url("/echo"), json={"model": "m"})
        response = client.send(request, stream=True)
        return b"".join(response.iter_bytes()), facts_of_stream(response)


def facts_of_stream(response: Any) -> Any:
    response.close()
    return type(response), response.status_code, response.headers.raw, response.elapsed


def post_generator(lib: Any, service: HttpService) -> Any:
    produced: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            produced.append(number)
            yield b"piece %d" % number

    found = facts_of(lib.post(service.url("/echo"), content=body()))
    return produced, found


def post_multipart(lib: Any, service: HttpService) -> Any:
    boundary = {"Content-Type": "multipart/form-data; boundary=frontier"}
    files = {"file": ("a.txt", b"z" * 100_000, "text/plain")}
    return facts_of(lib.post(service.url("/echo"), data={"a": "1"}, files=files, headers=boundary))


def keep_the_body_over_307(lib: Any, service: HttpService) -> Any:
    return facts_of(lib.post(service.url("/moved"), content=b"body", follow_redirects=True))


def iterate_raw(lib: Any, service: HttpService) -> Any:
    with lib.stream("GET", service.url("/lines")) as response:
        parts = list(response.iter_raw())
    return parts, facts_of_stream(response)


def iterate_lines(lib: Any, service: HttpService) -> Any:
    with lib.stream("GET", service.url("/lines")) as response:
        lines = list(response.iter_lines())
    return lines, facts_of_stream(response)


def iterate_events(lib: Any, service: HttpService) -> Any:
    with lib.stream("GET", service.url("/events")) as response:
        return list(response.iter_text()), facts_of_stream(response)


def unpack_while_streaming(lib: Any, service: HttpService) -> Any:
    with lib.stream("GET", service.url("/gzip")) as response:
        return b"".join(response.iter_bytes(100)), response.num_bytes_downloaded


def close_early(lib: Any, service: HttpService) -> Any:
    with lib.stream("GET", service.url("/big/3")) as response:
        first = next(response.iter_raw())
    return first, facts_of_stream(response)


def close_unread(lib: Any, service: HttpService) -> Any:
    with lib.stream("POST", service.url("/echo"), content=b"x") as response:
        pass
    return facts_of_stream(response)


def time_out_at_the_head(lib: Any, service: HttpService) -> Any:
    return lib.get(service.url("/silent"), timeout=0.05)


def time_out_in_the_body(lib: Any, service: HttpService) -> Any:
    parts = []
    with lib.stream("GET", service.url("/stalling"), timeout=0.05) as response:
        try:
            parts.extend(response.iter_raw())
        except lib.ReadTimeout as error:
            parts.append(facts_of_error(error))
    return parts, facts_of_stream(response)


def lose_the_connection(lib: Any, service: HttpService) -> Any:
    return lib.get(service.url("/broken"))


def refuse_the_connection(lib: Any, service: HttpService) -> Any:
    return lib.get("http://127.0.0.1:1/closed")


def use_an_unknown_scheme(lib: Any, service: HttpService) -> Any:
    return lib.get("gopher://127.0.0.1/")


def use_the_transport_itself(lib: Any, service: HttpService) -> Any:
    with lib.HTTPTransport() as transport:
        request = lib.Request("GET", service.url("/hello"))
        response = transport.handle_request(request)
        with contextlib.closing(response.stream):
            return b"".join(response.stream), response.status_code


SYNC: list[Scenario] = [
    get,
    get_status_500,
    raise_for_status,
    get_packed,
    head,
    keep_cookies,
    follow_redirects,
    authenticate,
    post_json,
    post_with_key,
    post_generator,
    post_multipart,
    keep_the_body_over_307,
    iterate_raw,
    iterate_lines,
    iterate_events,
    unpack_while_streaming,
    close_early,
    close_unread,
    time_out_at_the_head,
    time_out_in_the_body,
    lose_the_connection,
    refuse_the_connection,
    use_an_unknown_scheme,
    use_the_transport_itself,
]


@pytest.mark.parametrize("scenario", SYNC, ids=lambda scenario: scenario.__name__)
def test_a_client_sees_the_same_again_and_the_server_nothing(
    scenario: Scenario, lib: Any, service: HttpService
) -> None:
    record_and_replay(service, lambda: scenario(lib, service))


# --- and asynchronously ---------------------------------------------------------------------------

AsyncScenario = Callable[[Any, HttpService], Awaitable[Any]]


async def async_get(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        return facts_of(await client.get(service.url("/hello")))


async def async_redirects(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient(follow_redirects=True) as client:
        return facts_of(await client.get(service.url("/redirect/2")))


async def async_packed(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        return facts_of(await client.get(service.url("/gzip")))


async def async_post_generator(lib: Any, service: HttpService) -> Any:
    produced: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            produced.append(number)
            yield b"piece %d" % number

    async with lib.AsyncClient() as client:
        return produced, facts_of(await client.post(service.url("/echo"), content=body()))


async def async_lines(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client, client.stream("GET", service.url("/lines")) as response:
        return [line async for line in response.aiter_lines()]


async def async_close_early(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        async with client.stream("GET", service.url("/big/3")) as response:
            first = await anext(response.aiter_raw())
        return first, response.elapsed


async def async_refused(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        await client.get("http://127.0.0.1:1/closed")


async def async_read_time_out(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient(timeout=0.05) as client:
        await client.get(service.url("/silent"))


async def wait_for_a_time(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        await asyncio.wait_for(client.post(service.url("/silent")), 0.1)


async def time_out_a_block(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        try:
            async with asyncio.timeout(0.1):
                await client.get(service.url("/hello"))
                await client.get(service.url("/silent"))
        except TimeoutError:
            return "too slow"


async def cancel_the_loser(lib: Any, service: HttpService) -> Any:
    async with lib.AsyncClient() as client:
        slow = asyncio.ensure_future(client.get(service.url("/silent")))
        fast = asyncio.ensure_future(client.get(service.url("/hello")))
        done, _ = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
        slow.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await slow
        return fast in done, slow in done, slow.cancelled()


async def cancel_in_the_body(lib: Any, service: HttpService) -> Any:
    seen: list[bytes] = []
    async with lib.AsyncClient() as client:
        async with client.stream("GET", service.url("/stalling")) as response:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    async for part in response.aiter_raw():
                        seen.append(part)  # noqa: PERF401 - kept where the loop is cancelled
        return seen, response.elapsed


ASYNC: list[AsyncScenario] = [
    async_get,
    async_redirects,
    async_packed,
    async_post_generator,
    async_lines,
    async_close_early,
    async_refused,
    async_read_time_out,
    wait_for_a_time,
    time_out_a_block,
    cancel_the_loser,
    cancel_in_the_body,
]


@pytest.mark.parametrize("scenario", ASYNC, ids=lambda scenario: scenario.__name__)
def test_an_async_client_sees_the_same_again_and_the_server_nothing(
    scenario: AsyncScenario, lib: Any, service: HttpService
) -> None:
    """Cancellation included: who was cancelled is cancelled again, by the same (H17)."""
    record_and_replay(service, lambda: asyncio.run(_awaited(scenario, lib, service)))


async def _awaited(scenario: AsyncScenario, lib: Any, service: HttpService) -> Any:
    return await scenario(lib, service)
