"""Who calls: the cell or machinery."""

from __future__ import annotations

import pytest

from durable_kernel.effects.callers import (
    CLOCK_MACHINERY,
    ENTROPY_MACHINERY,
    SLEEP_MACHINERY,
    Verdicts,
)


@pytest.mark.parametrize(
    ("name", "clock", "sleep", "entropy"),
    [
        ("__main__", False, False, False),
        (None, False, False, False),
        ("pandas.core.frame", False, False, False),
        ("asyncio_extras", False, False, False),
        ("asyncio", True, True, False),
        ("asyncio.base_events", True, True, False),
        ("logging", True, False, False),
        ("urllib3.util.retry", True, False, False),
        ("httpx._multipart", True, False, False),
        ("jupyter_client.session", True, True, True),
        ("IPython.core.interactiveshell", True, True, True),
        ("IPython.core.display_functions", True, True, False),
        ("IPython.core.magics.execution", False, True, True),
        ("multiprocessing.process", True, True, True),
        ("durable_kernel.runtime.run", True, True, True),
    ],
)
def test_each_hook_has_its_machinery(
    name: str | None, clock: bool, sleep: bool, entropy: bool
) -> None:
    found = CLOCK_MACHINERY[name], SLEEP_MACHINERY[name], ENTROPY_MACHINERY[name]

    assert found == (clock, sleep, entropy)


def test_a_verdict_is_made_once_per_name() -> None:
    verdicts = Verdicts(frozenset({"zmq"}))

    assert verdicts["zmq.sugar"]
    assert not verdicts["numpy"]
    assert dict(verdicts) == {"zmq.sugar": True, "numpy": False}
