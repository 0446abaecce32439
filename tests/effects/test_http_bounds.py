"""Each client announces for how long its request may be made again unasked (H21)."""

from __future__ import annotations

import math

import pytest

from durable_kernel.ports import Act
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_clients import CLIENTS
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import run


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("method", "headers", "seconds_max"),
    [
        ("GET", {}, math.inf),
        ("GET", {"If-None-Match": '"a"'}, math.inf),
        ("PUT", {}, 300),
        ("PUT", {"If-Match": '"a"'}, 0),
        ("PUT", {"if-unmodified-since": "Sun, 22 Nov 2026 10:00:00 GMT"}, 0),
        ("DELETE", {}, 300),
        ("DELETE", {"If-Match": '"a"'}, 0),
        ("POST", {}, 0),
        ("PATCH", {}, 0),
        ("POST", {"Idempotency-Key": "k"}, 86_400),
        ("POST", {"idempotency-key": "k", "If-Match": '"a"'}, 86_400),
    ],
)
def test_the_announcement_says_how_long(
    client: str, method: str, headers: dict[str, str], seconds_max: float, service: HttpService
) -> None:
    port = FakePort()

    run(port, lambda: CLIENTS[client](method, service.url("/echo"), headers=headers))

    (call,) = port.calls
    assert call.repeat.seconds_max == seconds_max
    assert call.act is (Act.OBSERVATION if seconds_max == math.inf else Act.REMOTE)
