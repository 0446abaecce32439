"""Settings of the kernel: traitlets, and the environment above them. No kernel is started."""

from __future__ import annotations

import os

import pytest

from durable_kernel.kernel.kernel import DurableKernel
from durable_kernel.ports import HostRules


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> DurableKernel:
    for name in [each for each in os.environ if each.startswith("DURABLE_")]:
        monkeypatch.delenv(name)
    return DurableKernel.__new__(DurableKernel)  # its traits, and nothing of a kernel


def test_no_host_is_listed_by_default(kernel: DurableKernel) -> None:
    assert kernel.settings().hosts == HostRules()


def test_hosts_are_listed_in_the_configuration(kernel: DurableKernel) -> None:
    kernel.repeat = ["api.example:graphql-reads", "models.example:llm"]
    kernel.inject_key = ["pay.example"]
    kernel.key_hours = {"pay.example": 72.0}

    hosts = kernel.settings().hosts

    assert hosts.repeat == {
        "api.example": frozenset({"graphql-reads"}),
        "models.example": frozenset({"llm"}),
    }
    assert hosts.inject_key == {"pay.example"}
    assert hosts.key_s == {"pay.example": 72 * 3600.0}


def test_the_environment_wins(kernel: DurableKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.repeat = ["api.example:graphql-reads"]
    monkeypatch.setenv("DURABLE_REPEAT", "other.example")

    assert kernel.settings().hosts.repeat == {"other.example": frozenset({"any"})}
