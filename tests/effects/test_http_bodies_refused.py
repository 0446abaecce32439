"""What is no body is refused by the client that was given it, in the client's own words."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


class NoBody:
    def __repr__(self) -> str:
        return "<no body>"


def by_urllib3(url: str) -> Any:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=NoBody())  # type: ignore[arg-type]


def by_http_client(url: str) -> Any:
    found = urlsplit(url)
    connection = http.client.HTTPConnection(found.netloc)
    try:
        connection.request("POST", found.path, body=NoBody())  # type: ignore[arg-type]
    finally:
        connection.close()


@pytest.mark.parametrize("send", [by_urllib3, by_http_client])
def test_what_is_no_body_is_refused_as_without_a_hook(
    send: Callable[[str], Any], service: HttpService
) -> None:
    with pytest.raises(TypeError) as plain:
        send(service.url("/echo"))

    found, _ = record_and_replay(service, lambda: send(service.url("/echo")))

    assert found == facts_of_error(plain.value)


def test_what_is_no_body_can_be_refused_twice(service: HttpService) -> None:
    body = NoBody()
    port = FakePort()

    with port.cell(), urllib3.PoolManager() as pool:
        for _ in range(2):
            with pytest.raises(TypeError, match="<no body>"):
                pool.request("POST", service.url("/echo"), body=body)  # type: ignore[arg-type]

    assert len(port.journal().calls) == 2
