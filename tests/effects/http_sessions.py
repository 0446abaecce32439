"""Two sessions of one HTTP scenario: live against a service, then from the journal alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable_kernel.testing.fake_port import FakePort
from tests.effects.http_service import HttpService


def run(port: FakePort, scenario: Callable[[], Any]) -> Any:
    """Run a scenario as a cell; an exception becomes a plain value to compare."""
    with port.cell():
        try:
            found = scenario()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is compared
            return facts_of_error(error)
    return found


def facts_of_error(error: Exception) -> tuple[Any, ...]:
    """Say what user code can see of an exception."""
    request = getattr(error, "_request", None)
    return "raised", type(error), str(error), request and str(request.url)


def record_and_replay(service: HttpService, scenario: Callable[[], Any]) -> tuple[Any, FakePort]:
    """Run live, then again from the journal; the second time nothing may reach the service.

    Returns what the scenario returned, and the port of the live session.
    """
    live = FakePort()
    first = run(live, scenario)
    hits = service.hits()
    again = FakePort(live.journal())

    second = run(again, scenario)

    assert second == first
    assert service.hits() == hits
    assert again.made == 0
    assert again.answered == live.made
    return first, live
