"""HTTPS through a proxy, by CONNECT: opened live, and not again on replay. Each client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_clients import CLIENTS
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run, run_until_heard

# aiohttp leaves TLS connections behind that failed or timed out, with and without our hooks.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    running = HttpService.start(tmp_path_factory.mktemp("proxy"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    running = HttpService.start(tmp_path_factory.mktemp("service"), tls=True)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def witness(service: HttpService, proxy: HttpService, hooked: FakeWitness) -> FakeWitness:
    hooked.crossings.clear()
    return hooked


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param]


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/cookies", {}),
        ("POST", "/echo", {"body": b"body"}),
        ("GET", "/lines", {}),
        ("GET", "/silent", {}),
        ("GET", "/broken", {}),
    ],
    ids=["cookies", "post", "chunked", "time-out", "broken body"],
)
def test_a_tunnel_is_part_of_the_call(
    method: str,
    path: str,
    options: dict[str, Any],
    client: Any,
    service: HttpService,
    proxy: HttpService,
    witness: FakeWitness,
) -> None:
    through, there = [0], len(service.hits())

    def ask(timeout_s: float) -> Any:
        options["timeout_s"] = timeout_s if path == "/silent" else 60.0
        url = service.url(path)
        return client(method, url, ca_file=service.ca_file, proxy=proxy.origin, **options)

    first, live, timeout_s = run_until_heard(
        service, ask, lambda: through.append(len(proxy.hits()))
    )
    opened, hits = proxy.hits(), service.hits()
    again = FakePort(live.journal())

    second = run(again, lambda: ask(timeout_s))

    assert second == first
    assert again.made == 0
    assert (proxy.hits(), service.hits()) == (opened, hits)
    assert opened[through[-1] :] == [f"CONNECT {service.origin.removeprefix('https://')}"]
    assert hits[there:] == [f"{method} {path}"]
    assert [call.identity["url"] for call in live.calls] == [service.url(path)]
    assert witness.acts == []


def test_a_proxy_that_is_not_there_is_the_same_error_again(
    client: Any, service: HttpService
) -> None:
    def scenario() -> Any:
        return client("GET", service.url("/hello"), proxy="http://127.0.0.1:1")

    live = FakePort()
    error = run(live, scenario)
    again = FakePort(live.journal())

    assert error[0] == "raised"
    assert run(again, scenario) == error
    assert again.made == 0


def test_a_proxy_that_opens_no_tunnel_is_the_same_error_again(
    client: Any, service: HttpService
) -> None:
    """This one talks TLS itself."""

    def scenario() -> Any:
        proxy = service.origin.replace("https", "http")
        return client("GET", service.url("/hello"), ca_file=service.ca_file, proxy=proxy)

    live = FakePort()
    error = run(live, scenario)
    again = FakePort(live.journal())

    assert error[0] == "raised"
    assert run(again, scenario) == error
    assert again.made == 0


def test_a_post_in_doubt_opens_no_tunnel(
    client: Any, service: HttpService, proxy: HttpService
) -> None:
    def scenario() -> Any:
        url = service.url("/echo")
        return client("POST", url, body=b"x", ca_file=service.ca_file, proxy=proxy.origin)

    live = FakePort()
    run(live, scenario)
    opened = proxy.hits()

    with pytest.raises(BaseException, match="may or may not have happened"):
        run(FakePort(live.journal().cut(0, head=False, parts=0)), scenario)

    assert proxy.hits() == opened
