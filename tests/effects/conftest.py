"""Hooks are process-wide and stay: installed once; each test brings its own witness.

Services of HTTP are programs of their own; a module has one of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from durable_kernel import effects
from durable_kernel.testing.fake_port import FakeWitness
from tests.effects.http_service import HttpService


@pytest.fixture
def hooked() -> Iterator[FakeWitness]:
    """Install every hook of the room. The witness listens until the test is over."""
    witness = FakeWitness()
    effects.install(witness)
    yield witness
    effects.install(FakeWitness())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    running = HttpService.start(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tls_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    running = HttpService.start(tmp_path_factory.mktemp("tls"), tls=True)
    yield running
    running.stop()
