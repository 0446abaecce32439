"""Hooks are process-wide and stay: installed once; each test brings its own witness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from durable_kernel import effects
from durable_kernel.testing.fake_port import FakeWitness


@pytest.fixture
def hooked() -> Iterator[FakeWitness]:
    """Install every hook of the room. The witness listens until the test is over."""
    witness = FakeWitness()
    effects.install(witness)
    yield witness
    effects.install(FakeWitness())
