"""What is repeated unasked, and until when (H21, rule 5). The clock is an argument."""

from __future__ import annotations

import pytest

from durable_kernel.ports import REPEAT_ALWAYS, REPEAT_NEVER, Act, Repeat
from durable_kernel.replay import InDoubtPolicy
from tests.runtime.notebooks import Notebook, Service

DIED_AT_NS = 1_700_000_000 * 10**9
MINUTE_NS = 60 * 10**9


def _is_repeated(notebook: Notebook, repeat: Repeat, later_ns: int, act: Act = Act.REMOTE) -> bool:
    """Die inside a call, resume `later_ns` after it. True when it was made again unasked."""
    notebook.names.update(repeat=repeat, act=act)
    notebook.die_during("put")
    notebook.died("service.ask('put', repeat=repeat, act=act)", wall_ns=lambda: DIED_AT_NS)

    session = notebook.replayed(wall_ns=lambda: DIED_AT_NS + later_ns, in_doubt=InDoubtPolicy.STOP)

    is_repeated = notebook.service.requests == ["put", "put"]
    assert is_repeated == (session.run.latch is None)
    assert notebook.left == ([] if is_repeated else [3])
    return is_repeated


PUT = Repeat(300.0, "PUT within five minutes")


@pytest.mark.parametrize(
    ("later_ns", "is_repeated"),
    [
        (0, True),
        (5 * MINUTE_NS, True),
        (5 * MINUTE_NS + 1, False),
        (3 * 24 * 60 * MINUTE_NS, False),
        (-1, False),
    ],
    ids=["at once", "at the bound", "just behind it", "on Monday", "with a clock that ran back"],
)
def test_a_time_bound_repeat_ends_at_its_bound(
    notebook: Notebook, later_ns: int, *, is_repeated: bool
) -> None:
    """H21: on Monday a PUT would overwrite what others wrote since; unknown age is too old."""
    assert _is_repeated(notebook, PUT, later_ns) is is_repeated


def test_what_may_always_be_repeated_is_at_any_age(notebook: Notebook) -> None:
    """H21: `idempotent()` and listed hosts have no bound."""
    assert _is_repeated(notebook, REPEAT_ALWAYS, 10**6 * MINUTE_NS)


def test_what_may_never_be_repeated_is_not_even_at_once(notebook: Notebook) -> None:
    assert not _is_repeated(notebook, REPEAT_NEVER, 1)


def test_an_observation_is_repeated_whatever_its_bound(notebook: Notebook) -> None:
    """Rule 5: it changes nothing outside."""
    assert _is_repeated(notebook, REPEAT_NEVER, 10**6 * MINUTE_NS, Act.OBSERVATION)


def test_the_bound_counts_from_the_announcement_and_not_from_the_last_attempt(
    notebook: Notebook, service: Service
) -> None:
    """H21: a run that dies each four minutes must not repeat a PUT for a day."""
    notebook.names["repeat"] = PUT
    notebook.die_during("put")
    notebook.died("service.ask('put', repeat=repeat)", wall_ns=lambda: DIED_AT_NS)
    notebook.die_during("put")
    notebook.died(wall_ns=lambda: DIED_AT_NS + 4 * MINUTE_NS)

    notebook.replayed(wall_ns=lambda: DIED_AT_NS + 8 * MINUTE_NS, in_doubt=InDoubtPolicy.STOP)

    assert service.requests == ["put", "put"]
    assert notebook.left == [3]


def test_the_recorded_bound_counts_and_not_what_the_code_says_now(notebook: Notebook) -> None:
    """The announcement was made under it; an upgraded library must not loosen it."""
    notebook.names["repeat"] = REPEAT_NEVER
    notebook.die_during("put")
    notebook.died("service.ask('put', repeat=repeat)")
    notebook.names["repeat"] = REPEAT_ALWAYS

    notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == [3]


def test_a_repeated_call_is_recorded_once(notebook: Notebook, service: Service) -> None:
    notebook.names["repeat"] = REPEAT_ALWAYS
    notebook.die_during("put")
    notebook.died("x = service.ask('put', repeat=repeat)")
    notebook.replayed()

    again = notebook.replayed()

    assert service.requests == ["put", "put"]
    assert again.namespace["x"] == "put: done"
    assert again.run.read_outline().positions[0].calls == 1
