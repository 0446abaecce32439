"""What lies between the hook of urllib3 and the server: TLS, tunnels, proxies that forward."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3

from durable_kernel.testing.fake_port import FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import record_and_replay, replay_alone, run_until_heard


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


def test_tls_is_below_the_hook(tls_service: HttpService) -> None:
    trusted = str(tls_service.ca_file)

    text, _ = record_and_replay(
        tls_service, lambda: requests.get(tls_service.url("/hello"), verify=trusted).text
    )
    error, _ = record_and_replay(tls_service, lambda: requests.get(tls_service.url("/hello")))

    assert text == "grüß Gott"
    assert error[1] is requests.exceptions.SSLError
    assert "CERTIFICATE_VERIFY_FAILED" in error[2]


def test_an_unverified_connection_is_warned_of_again(tls_service: HttpService) -> None:
    def scenario(ask: Callable[[], Any]) -> Any:
        with warnings.catch_warnings(record=True) as told, contextlib.suppress(requests.Timeout):
            warnings.simplefilter("always")
            ask()
        return [(each.category, str(each.message), each.filename) for each in told]

    def ask_the_silent(timeout_s: float) -> Any:
        return scenario(
            lambda: requests.get(tls_service.url("/silent"), verify=False, timeout=timeout_s)
        )

    told, _ = record_and_replay(
        tls_service, lambda: scenario(lambda: requests.get(tls_service.url("/hello"), verify=False))
    )
    told_too, live, timeout_s = run_until_heard(tls_service, ask_the_silent)
    replay_alone(tls_service, lambda: ask_the_silent(timeout_s), told_too, live)

    warned = [category for category, _, _ in (*told, *told_too)]
    assert warned == [urllib3.exceptions.InsecureRequestWarning] * 2


@pytest.mark.parametrize("path", ["/hello", "/lines", "/silent"])
def test_a_tunnel_through_a_proxy_is_opened_live_only(
    path: str, service: HttpService, tls_service: HttpService, witness: FakeWitness
) -> None:
    """urllib3 opens it before the hook; it is put off, and not opened on replay."""
    before: list[int] = []

    def ask(timeout_s: float) -> Any:
        return requests.get(
            tls_service.url(path),
            proxies={"https": service.origin},
            verify=str(tls_service.ca_file),
            timeout=timeout_s if path == "/silent" else 60,
        ).content

    found, live, timeout_s = run_until_heard(
        tls_service, ask, lambda: before.append(len(service.hits()))
    )
    replay_alone(tls_service, lambda: ask(timeout_s), found, live)

    target = tls_service.origin.removeprefix("https://")
    assert service.hits()[before[-1] :] == [f"CONNECT {target}"]
    assert live.calls[0].identity["url"] == tls_service.url(path)
    assert witness.acts == []
    if path == "/silent":
        assert found[1] is requests.exceptions.ReadTimeout


@pytest.mark.parametrize("is_there", [False, True])
def test_a_proxy_that_opens_no_tunnel_is_the_same_error_again(
    is_there: bool, tls_service: HttpService
) -> None:
    """One that is not there, and one that does not talk plain HTTP."""
    proxy = tls_service.origin.replace("https", "http") if is_there else "http://127.0.0.1:1"

    error, _ = record_and_replay(
        tls_service, lambda: requests.get("https://a.example/", proxies={"https": proxy})
    )

    assert issubclass(error[1], requests.ConnectionError)


def test_a_proxy_that_forwards_gets_the_whole_url(service: HttpService) -> None:
    proxies = {"http": service.origin}
    url = "http://a.example/hello"

    _, port = record_and_replay(
        service, lambda: requests.get(url, proxies=proxies, timeout=60).status_code
    )
    slow, _ = record_and_replay(
        service, lambda: requests.get("http://a.example/silent", proxies=proxies, timeout=0.05)
    )

    assert port.calls[0].identity["url"] == url
    assert slow[1] is requests.exceptions.ReadTimeout
