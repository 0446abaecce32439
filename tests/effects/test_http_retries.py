"""A retry around an act in doubt: whatever loops, and whatever it catches, the server counts one.

RequestInterrupted is no Exception, and the same call raises it again, so no loop gets past it (H4).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import requests.adapters
import tenacity
import urllib3
from urllib3.util import Retry

from durable_kernel.errors import RequestInterrupted
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_clients import CLIENTS, Client
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run

Post = Callable[[str], Any]

TRIES = 5
AGAIN: dict[str, Any] = {
    "stop": tenacity.stop_after_attempt(TRIES),
    "wait": tenacity.wait_fixed(0.001),
}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


def loop(client: Client) -> Post:
    def post(url: str) -> Any:
        for _ in range(TRIES):
            try:
                return client("POST", url, body=b"x").body
            except Exception:  # noqa: BLE001 - what people write
                continue
        return "gave up"

    return post


def with_tenacity(client: Client) -> Post:
    post: Post = tenacity.retry(**AGAIN)(lambda url: client("POST", url, body=b"x").body)
    return post


async def _post_by_httpx(url: str) -> bytes:
    async with httpx.AsyncClient() as client:
        return (await client.post(url, content=b"x")).content


async def _post_by_aiohttp(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(url, data=b"x") as answer:
        return await answer.read()


def with_async_tenacity(post: Callable[[str], Any]) -> Post:
    return lambda url: asyncio.run(tenacity.retry(**AGAIN)(post)(url))


def with_retry_of_urllib3(url: str) -> Any:
    retry = Retry(TRIES, allowed_methods=None, status_forcelist=[500], backoff_factor=0.001)
    with urllib3.PoolManager(retries=retry) as pools:
        return pools.request("POST", url, body=b"x").data


def with_an_adapter_of_requests(url: str) -> Any:
    retry = Retry(TRIES, allowed_methods=None, status_forcelist=[500], backoff_factor=0.001)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        return session.post(url, data=b"x").content


def with_a_transport_of_httpx(url: str) -> Any:
    with httpx.Client(transport=httpx.HTTPTransport(retries=TRIES)) as client:
        return client.post(url, content=b"x").content


RETRIES: dict[str, Post] = {
    **{f"loop, {name}": loop(client) for name, client in CLIENTS.items()},
    **{f"tenacity, {name}": with_tenacity(client) for name, client in CLIENTS.items()},
    "async tenacity, httpx": with_async_tenacity(_post_by_httpx),
    "async tenacity, aiohttp": with_async_tenacity(_post_by_aiohttp),
    "Retry, urllib3": with_retry_of_urllib3,
    "Retry, requests": with_an_adapter_of_requests,
    "retries, httpx": with_a_transport_of_httpx,
}


@pytest.mark.parametrize("is_head_recorded", [False, True], ids=["no answer", "a head"])
@pytest.mark.parametrize("name", RETRIES)
def test_no_retry_repeats_a_post_in_doubt(
    name: str, is_head_recorded: bool, service: HttpService
) -> None:
    path = f"/count/{next(_numbers)}"
    post = RETRIES[name]
    live = FakePort()
    assert run(live, lambda: post(service.url(path))) == b"1"
    cut = live.journal().cut(0, head=is_head_recorded, parts=0)

    with pytest.raises(RequestInterrupted):
        run(FakePort(cut), lambda: post(service.url(path)))

    assert service.hits().count(f"POST {path}") == 1
