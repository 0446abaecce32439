"""aiohttp against a real server in another process: recorded once, then served again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from durable_kernel.effects.aiohttp_client import install
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay


@pytest.fixture(autouse=True)
def witness() -> FakeWitness:
    watching = FakeWitness()
    install(watching)
    return watching


async def facts_of(response: Any) -> dict[str, Any]:
    """Everything that user code can see of a finished response."""
    return {
        "type": type(response),
        "reader": type(response.content),
        "status": response.status,
        "headers": response.raw_headers,
        "content": await response.read(),
        "text": await response.text(),
        "cookies": sorted((name, each.value) for name, each in response.cookies.items()),
        "version": response.version,
        "reason": response.reason,
        "url": str(response.url),
        "history": [(each.status, each.raw_headers) for each in response.history],
    }


Scenario = Callable[[Any, HttpService], Awaitable[Any]]


async def get(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/hello?page=2")) as response:
        return await facts_of(response)


async def get_status_500(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/status/500")) as response:
        return await facts_of(response), await response.json(content_type=None)


async def raise_for_status(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/status/500")) as response:
        response.raise_for_status()


async def get_packed(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/gzip")) as response:
        return await facts_of(response)


async def get_packed_and_stay_packed(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/gzip"), auto_decompress=False) as response:
        return await response.read()


async def get_deflated(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/deflate")) as response:
        return await facts_of(response)


async def head(session: Any, service: HttpService) -> Any:
    async with session.head(service.url("/hello")) as response:
        return await facts_of(response)


async def keep_cookies(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/cookies")) as response:
        set_both = await facts_of(response)
    async with session.get(service.url("/cookie")) as response:
        sent_back = await response.text()
    return set_both, sent_back, sorted(each.key for each in session.cookie_jar)


async def follow_redirects(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/redirect/2")) as response:
        return await facts_of(response)


async def follow_too_many_redirects(session: Any, service: HttpService) -> Any:
    await session.get(service.url("/redirect/5"), max_redirects=2)


async def post_json(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/echo"), json={"a": [1, 2]}) as response:
        return await facts_of(response)


async def post_with_key(session: Any, service: HttpService) -> Any:
    headers = {"Idempotency-Key": "stainless-1", "Authorization": "Bearer sk-1"}
    async with session.post(service.url("/echo"), json={"model": "m"}, headers=headers) as response:
        return b"".join([part async for part in response.content.iter_any()])


async def post_form(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/echo"), data={"a": "1", "b": "x y"}) as response:
        return await facts_of(response)


async def post_generator(session: Any, service: HttpService) -> Any:
    produced: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            produced.append(number)
            yield b"piece %d" % number

    async with session.post(service.url("/echo"), data=body()) as response:
        return produced, await facts_of(response)


async def post_multipart(session: Any, service: HttpService) -> Any:
    with aiohttp.MultipartWriter("form-data", boundary="frontier") as form:
        part = form.append(b"z" * 100_000)
        part.set_content_disposition("form-data", name="file", filename="a.txt")
    async with session.post(service.url("/echo"), data=form) as response:
        return await facts_of(response)


async def post_compressed(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/echo"), data=b"x" * 500, compress="deflate") as response:
        return await facts_of(response)


async def post_and_wait_to_continue(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/echo"), data=b"body", expect100=True) as response:
        return await facts_of(response)


async def keep_the_body_over_307(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/moved"), data=b"body") as response:
        return await facts_of(response)


async def iterate_any(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/lines")) as response:
        return [part async for part in response.content.iter_any()]


async def iterate_lines(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/lines")) as response:
        return [line async for line in response.content]


async def iterate_chunks(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/lines")) as response:
        return [part async for part in response.content.iter_chunks()]


async def iterate_events(session: Any, service: HttpService) -> Any:
    events = []
    async with session.get(service.url("/events")) as response:
        while event := await response.content.readuntil(b"\n\n"):
            events.append(event)
    return events


async def read_exactly(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/lines")) as response:
        beginning = await response.content.readexactly(10)
        try:
            await response.content.readexactly(1000)
        except asyncio.IncompleteReadError as error:
            return beginning, error.partial


async def unpack_while_streaming(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/gzip")) as response:
        return [part async for part in response.content.iter_chunked(100)]


async def read_between_other_waits(session: Any, service: HttpService) -> Any:
    """What arrived meanwhile is part of what a read returns."""
    sizes = []
    async with session.get(service.url("/big/2")) as response:
        async for part in response.content.iter_chunked(50_000):
            sizes.append(len(part))
            if len(sizes) % 5 == 0:
                await asyncio.sleep(0.001)
        sizes.append(response.content.total_bytes)
    return sizes


async def close_early(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/big/3")) as response:
        return await response.content.readany()


async def close_unread(session: Any, service: HttpService) -> Any:
    async with session.post(service.url("/echo"), data=b"x") as response:
        return response.status


async def read_after_release(session: Any, service: HttpService) -> Any:
    response = await session.get(service.url("/big/3"))
    response.release()
    await response.read()


async def time_out_at_the_head(session: Any, service: HttpService) -> Any:
    timeout = aiohttp.ClientTimeout(sock_read=0.05)
    await session.get(service.url("/silent"), timeout=timeout)


async def time_out_in_the_body(session: Any, service: HttpService) -> Any:
    parts: list[Any] = []
    timeout = aiohttp.ClientTimeout(sock_read=0.05)
    async with session.get(service.url("/stalling"), timeout=timeout) as response:
        try:
            async for line in response.content:
                parts.append(line)  # noqa: PERF401 - kept where the loop ends
        except aiohttp.ServerTimeoutError as error:
            parts.append(facts_of_error(error))
    return parts


async def take_too_long_for_the_head(session: Any, service: HttpService) -> Any:
    await session.get(service.url("/silent"), timeout=aiohttp.ClientTimeout(total=0.05))


async def take_too_long_for_the_body(session: Any, service: HttpService) -> Any:
    async with session.get(
        service.url("/stalling"), timeout=aiohttp.ClientTimeout(total=0.05)
    ) as response:
        await response.read()


async def lose_the_connection(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/broken")) as response:
        await response.read()


async def lose_the_connection_at_once(session: Any, service: HttpService) -> Any:
    await session.post(service.url("/mute"))


async def try_again_what_is_safe(session: Any, service: HttpService) -> Any:
    """The library itself sends a GET once more when the server hangs up."""
    await session.get(service.url("/mute"))


async def read_until_the_connection_ends(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/endless")) as response:
        return await facts_of(response)


async def get_garbage(session: Any, service: HttpService) -> Any:
    await session.get(service.url("/garbage"))


async def get_a_broken_packing(session: Any, service: HttpService) -> Any:
    async with session.get(service.url("/unpackable")) as response:
        await response.read()


async def refuse_the_connection(session: Any, service: HttpService) -> Any:
    await session.get("http://127.0.0.1:1/closed")


async def use_an_unknown_scheme(session: Any, service: HttpService) -> Any:
    await session.get("gopher://127.0.0.1/")


async def wait_for_a_time(session: Any, service: HttpService) -> Any:
    await asyncio.wait_for(session.post(service.url("/silent")), 0.1)


async def time_out_a_block(session: Any, service: HttpService) -> Any:
    try:
        async with asyncio.timeout(0.1):
            async with session.get(service.url("/hello")) as response:
                await response.read()
            await session.get(service.url("/silent"))
    except TimeoutError:
        return "too slow"


async def cancel_the_loser(session: Any, service: HttpService) -> Any:
    slow = asyncio.ensure_future(session.get(service.url("/silent")))
    fast = asyncio.ensure_future(session.get(service.url("/hello")))
    done, _ = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
    slow.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await slow
    fast.result().release()
    return fast in done, slow in done, slow.cancelled()


async def cancel_in_the_body(session: Any, service: HttpService) -> Any:
    seen: list[bytes] = []
    async with session.get(service.url("/stalling")) as response:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                async for line in response.content:
                    seen.append(line)  # noqa: PERF401 - kept where the loop is cancelled
    return seen


async def read_on_behind_a_cancelled_read(session: Any, service: HttpService) -> Any:
    seen: list[Any] = []
    async with session.get(service.url("/pausing")) as response:
        for _ in range(3):
            try:
                seen.append(await asyncio.wait_for(response.content.readany(), 0.1))
            except TimeoutError:
                seen.append("too slow")
                await (await session.get(service.url("/resume"))).read()
        seen.append(await response.content.readany())
    return seen


async def go_through_a_proxy(session: Any, service: HttpService) -> Any:
    url = "http://far.example/hello"
    async with session.get(url, proxy=service.origin) as response:
        return await facts_of(response)


async def find_no_tunnel_in_a_proxy(session: Any, service: HttpService) -> Any:
    await session.get("https://far.example/hello", proxy=service.origin)


async def keep_connections_alive(session: Any, service: HttpService) -> Any:
    ports = set()
    for _ in range(3):
        async with session.get(service.url("/port")) as response:
            ports.add(await response.text())
    assert len(ports) == 1
    return ports


async def close_each_connection(session: Any, service: HttpService) -> Any:
    ports = set()
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as own:
        for _ in range(3):
            async with own.get(service.url("/port")) as response:
                ports.add(await response.text())
    assert len(ports) == 3
    return ports


SCENARIOS: list[Scenario] = [
    get,
    get_status_500,
    raise_for_status,
    get_packed,
    get_packed_and_stay_packed,
    get_deflated,
    head,
    keep_cookies,
    follow_redirects,
    follow_too_many_redirects,
    post_json,
    post_with_key,
    post_form,
    post_generator,
    post_multipart,
    post_compressed,
    post_and_wait_to_continue,
    keep_the_body_over_307,
    iterate_any,
    iterate_lines,
    iterate_chunks,
    iterate_events,
    read_exactly,
    unpack_while_streaming,
    read_between_other_waits,
    close_early,
    close_unread,
    read_after_release,
    time_out_at_the_head,
    time_out_in_the_body,
    take_too_long_for_the_head,
    take_too_long_for_the_body,
    lose_the_connection,
    lose_the_connection_at_once,
    try_again_what_is_safe,
    read_until_the_connection_ends,
    get_garbage,
    get_a_broken_packing,
    refuse_the_connection,
    use_an_unknown_scheme,
    wait_for_a_time,
    time_out_a_block,
    cancel_the_loser,
    cancel_in_the_body,
    read_on_behind_a_cancelled_read,
    go_through_a_proxy,
    find_no_tunnel_in_a_proxy,
    keep_connections_alive,
    close_each_connection,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_client_sees_the_same_again_and_the_server_nothing(
    scenario: Scenario, service: HttpService
) -> None:
    """Cancellation included: who was cancelled is cancelled again, by the same (H17)."""

    async def run() -> Any:
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=30),
        ) as session:
            return await scenario(session, service)

    record_and_replay(service, lambda: asyncio.run(run()))


async def read_in_any_way(session: Any, service: HttpService, seed: int) -> Any:
    draw = random.Random(seed)
    seen: list[Any] = []
    async with session.get(service.url(f"/trickle/{seed}")) as response:
        body = response.content
        reads = [
            body.readany,
            body.readline,
            body.readchunk,
            lambda: body.read(draw.randrange(1, 3000)),
            lambda: body.readexactly(draw.randrange(1, 500)),
            lambda: asyncio.sleep(0.002 * draw.random()),
        ]
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(draw.randrange(1, 60)):
                piece = await draw.choice(reads)()
                seen.extend((piece, body.at_eof(), body.total_bytes))
    return seen


@pytest.mark.parametrize("seed", range(12))
def test_each_read_returns_what_had_arrived_by_then(seed: int, service: HttpService) -> None:
    """Arrivals are placed between the steps of the reader, not between ticks of a clock."""

    async def go() -> Any:
        async with aiohttp.ClientSession() as session:
            return await read_in_any_way(session, service, seed)

    record_and_replay(service, lambda: asyncio.run(go()))


def test_with_every_hook_in_place_nothing_of_it_is_reported(
    hooked: FakeWitness, service: HttpService
) -> None:
    """Names are looked up in threads, which carry no lane."""

    async def go() -> Any:
        url = service.url("/hello").replace("127.0.0.1", "localhost")
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()

    with FakePort().cell():
        text = asyncio.run(go())

    assert text == "grüß Gott"
    assert hooked.crossings == []
