"""Idempotency-Keys from the journal position, for hosts that are listed: each client (H21)."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import requests.adapters
import tenacity
from urllib3.util import Retry

from durable_kernel.effects.http_keys import key_of
from durable_kernel.errors import RequestInterrupted
from durable_kernel.ports import HostRules
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_clients import CLIENTS
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run

LISTED = HostRules(inject_key={"127.0.0.1"})
FOLLOWS_307 = ["requests", "httpx", "httpx async", "httpx2", "aiohttp"]
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


@pytest.fixture
def name() -> str:
    """A name that the service has not seen."""
    return f"n{next(_numbers)}"


def keys_of(seen: Any) -> list[str | None]:
    found: list[str | None] = json.loads(seen.body)
    return found


def own_key(port: FakePort, call: int = 0) -> str:
    return key_of(port.steps[call].idempotency_key, port.calls[call].identity)


def test_nothing_is_added_unless_the_host_is_listed(
    client: Any, name: str, service: HttpService
) -> None:
    port = FakePort(hosts=HostRules(inject_key={"api.example"}))

    seen = run(port, lambda: client("POST", service.url(f"/keys/{name}"), body=b"x"))

    assert keys_of(seen) == [None]
    assert "injected_key" not in port.calls[0].details
    assert port.calls[0].repeat.seconds_max == 0


def test_a_post_bears_the_key_of_its_place(client: Any, name: str, service: HttpService) -> None:
    port = FakePort(hosts=LISTED)

    def scenario() -> Any:
        first = client("POST", service.url(f"/keys/{name}"), body=b"x")
        return first, client("POST", service.url(f"/keys/{name}"), body=b"x")

    _, second = run(port, scenario)
    again = FakePort(port.journal(), hosts=LISTED)

    assert keys_of(second) == [own_key(port, 0), own_key(port, 1)]
    assert len(set(keys_of(second))) == 2
    assert port.calls[0].repeat.seconds_max == 86_400
    assert run(again, scenario)[1] == second
    assert again.made == 0


def test_another_order_at_the_same_place_has_another_key(
    client: Any, name: str, service: HttpService
) -> None:
    """As in a cell that was edited after it failed."""

    def post(body: bytes) -> Any:
        url = service.url(f"/keys/{name}")
        return run(FakePort(hosts=LISTED), lambda: client("POST", url, body=body))

    post(b"one")
    post(b"another")

    first, second, third = keys_of(post(b"one"))
    assert first == third != second


def test_the_identity_is_the_same_with_and_without_a_key(
    client: Any, name: str, service: HttpService
) -> None:
    """A run does not diverge because a setting changed."""
    live = FakePort(hosts=LISTED)

    def post() -> Any:
        return client("POST", service.url(f"/keys/{name}"), body=b"x")

    seen = run(live, post)

    assert run(FakePort(live.journal()), post).body == seen.body


@pytest.mark.parametrize("is_still_listed", [True, False])
def test_a_post_that_was_cut_is_sent_again_with_its_key(
    client: Any, name: str, is_still_listed: bool, service: HttpService
) -> None:
    """The announcement counts: without its key the second one would be another order."""
    live = FakePort(hosts=LISTED)

    def post() -> Any:
        return client("POST", service.url(f"/keys/{name}"), body=b"x")

    run(live, post)
    cut = live.journal().cut(0, head=False, parts=0)

    seen = run(FakePort(cut, hosts=LISTED if is_still_listed else None), post)

    first, second = keys_of(seen)
    assert first == second == own_key(live)


def test_a_post_that_was_cut_without_a_key_is_in_doubt_though_the_host_is_listed_now(
    client: Any, name: str, service: HttpService
) -> None:
    live = FakePort()

    def post() -> Any:
        return client("POST", service.url(f"/keys/{name}"), body=b"x")

    run(live, post)
    hits = service.hits()

    with pytest.raises(RequestInterrupted):
        run(FakePort(live.journal().cut(0, head=False, parts=0), hosts=LISTED), post)

    assert service.hits() == hits


def test_a_key_of_the_user_stays(client: Any, name: str, service: HttpService) -> None:
    port = FakePort(hosts=LISTED)
    headers = {"idempotency-key": "mine"}

    seen = run(
        port, lambda: client("POST", service.url(f"/keys/{name}"), body=b"x", headers=headers)
    )

    assert keys_of(seen) == ["mine"]
    assert port.calls[0].identity["idempotency_key"] == "mine"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_need_none(client: Any, method: str, name: str, service: HttpService) -> None:
    seen = run(FakePort(hosts=LISTED), lambda: client(method, service.url(f"/keys/{name}")))

    assert keys_of(seen) == [None]


@pytest.mark.parametrize("client", FOLLOWS_307)
def test_a_redirect_takes_the_key_along(client: str, name: str, service: HttpService) -> None:
    """It is the same order, at another address."""
    port = FakePort(hosts=LISTED)

    seen = run(port, lambda: CLIENTS[client]("POST", service.url(f"/relocated/{name}"), body=b"x"))

    first, second = keys_of(seen)
    assert first == second == own_key(port)


# --- retries --------------------------------------------------------------------------------------


def retry_of_urllib3(url: str) -> Any:
    retry = Retry(5, allowed_methods=None, status_forcelist=[503], backoff_factor=0.001)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        return session.post(url, data=b"x").json()


@tenacity.retry(stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_fixed(0.001))
def retry_of_tenacity(url: str) -> Any:
    answer = httpx.post(url, content=b"x")
    answer.raise_for_status()
    return answer.json()


def loop_with_aiohttp(url: str) -> Any:
    async def go() -> Any:
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.post(url, data=b"x") as answer:
                    if answer.status == 200:
                        return await answer.json(content_type=None)

    return asyncio.run(go())


@pytest.mark.parametrize("retry", [retry_of_urllib3, retry_of_tenacity, loop_with_aiohttp])
def test_each_attempt_has_the_key_of_the_first(
    retry: Callable[[str], Any], name: str, service: HttpService
) -> None:
    """Nothing final came back, so it is still the same order."""
    port = FakePort(hosts=LISTED)

    keys = run(port, lambda: retry(service.url(f"/keys/{name}/2")))

    assert keys == [own_key(port)] * 3


@pytest.mark.parametrize("retry", [retry_of_urllib3, retry_of_tenacity, loop_with_aiohttp])
def test_a_second_attempt_that_was_cut_has_the_key_of_the_first(
    retry: Callable[[str], Any], name: str, service: HttpService
) -> None:
    """Also where the host is listed no more: the announcement holds the key."""
    port = FakePort(hosts=LISTED)
    run(port, lambda: retry(service.url(f"/keys/{name}/1")))
    cut = port.journal().cut(1, head=False, parts=0)

    keys = run(FakePort(cut), lambda: retry(service.url(f"/keys/{name}/1")))

    assert keys == [own_key(port)] * 3


def test_what_follows_a_good_answer_is_another_order(name: str, service: HttpService) -> None:
    port = FakePort(hosts=LISTED)

    def scenario() -> Any:
        for path in ("1", "1", "1"):
            found = requests.post(service.url(f"/keys/{name}/{path}"), data=b"x").json()
        return found

    first, second, third = run(port, scenario)

    assert first == second != third
