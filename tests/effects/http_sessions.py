"""Two sessions of one HTTP scenario: live against a service, then from the journal alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from durable_kernel.testing.fake_port import FakePort
from tests.effects.http_service import HttpService

TIME_OUTS_S = (0.5, 2.0, 8.0, 30.0)


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


def run_until_heard(
    service: HttpService,
    scenario: Callable[[float], Any],
    begin: Callable[[], object] = lambda: None,
) -> tuple[Any, FakePort, float]:
    """Run live, with longer and longer time-outs, until a request got as far as the service.

    A time-out counts for the opening of a connection too, and that of a TLS connection takes as
    long as the service lets it wait. `begin` is called before each try. Returns what was seen, the
    port, and the time-out in seconds.
    """
    for timeout_s in TIME_OUTS_S:
        begin()
        hits, live = service.hits(), FakePort()
        found = run(live, partial(scenario, timeout_s))
        if service.hits() != hits:
            return found, live, timeout_s
    raise AssertionError("the service was never reached")


def record_and_replay(service: HttpService, scenario: Callable[[], Any]) -> tuple[Any, FakePort]:
    """Run live, then again from the journal; the second time nothing may reach the service.

    Returns what the scenario returned, and the port of the live session.
    """
    live = FakePort()
    first = run(live, scenario)
    replay_alone(service, scenario, first, live)
    return first, live


def replay_alone(
    service: HttpService, scenario: Callable[[], Any], first: Any, live: FakePort
) -> None:
    """Run what was recorded again: it sees the same, and nothing may reach the service."""
    hits = service.hits()
    again = FakePort(live.journal())

    second = run(again, scenario)

    assert second == first
    assert service.hits() == hits
    assert again.made == 0
    assert again.answered == live.made
