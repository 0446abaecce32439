"""What a cell may ask about its run; outside a durable cell plain answers and one warning."""

from __future__ import annotations

import re
import warnings

import pytest

import durable_kernel as durable
from durable_kernel.workflow import context
from tests.runtime.notebooks import RUN_ID, Notebook, Service


def test_a_cell_knows_its_run(notebook: Notebook) -> None:
    session = notebook.lived("x = durable.run_id()")

    assert session.namespace["x"] == RUN_ID


def test_a_cell_knows_whether_it_is_answered_from_the_journal(notebook: Notebook) -> None:
    """True until the last hard record is consumed."""
    notebook.names["seen"] = []
    notebook.died(
        "seen.append(durable.is_replaying())\nservice.ask('a')\n"
        "seen.append(durable.is_replaying())\ndie()"
    )
    notebook.replayed()

    assert notebook.names["seen"] == [False, False, True, False]


def test_a_key_is_the_same_in_every_attempt_and_differs_by_place(
    notebook: Notebook, service: Service
) -> None:
    """The point of a key: a server recognises the repeated call."""
    notebook.names["keys"] = []
    notebook.die_before("pay")
    notebook.died(
        "keys.append(durable.idempotency_key())\nkeys.append(durable.idempotency_key())\n"
        "with durable.idempotent(): service.ask('pay')"
    )
    notebook.replayed()

    first, second, again, again_second = notebook.names["keys"]
    assert (first, second) == (again, again_second)
    assert first != second
    assert re.fullmatch("[0-9a-f]{32}", first)


def test_the_key_inside_a_step_is_the_steps_own(notebook: Notebook) -> None:
    """Each attempt of the body sends the same; two steps send different ones."""
    notebook.names["keys"] = []
    notebook.died(
        "@durable.step(idempotent=True)\ndef pay(last):\n"
        "    keys.append(durable.idempotency_key())\n    if last: die()\n"
        "pay(False); pay(True)"
    )
    notebook.replayed()

    first, second, second_again = notebook.names["keys"]
    assert second == second_again != first


# --- outside a durable cell -----------------------------------------------------------------------


@pytest.fixture
def _not_warned_yet() -> None:
    context._warned.cache_clear()


@pytest.mark.usefixtures("_not_warned_yet")
def test_a_step_outside_a_durable_cell_works_plainly_and_warns_once() -> None:
    """Rule 7: never non-durable in silence, and not again for each call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [durable.step(lambda: 7)() for _ in range(3)]

    assert results == [7, 7, 7]
    (warning,) = caught
    assert "nothing survives a crash" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.usefixtures("_not_warned_yet")
async def test_an_async_step_outside_a_durable_cell_warns_too() -> None:
    async def f() -> int:
        return 7

    with pytest.warns(RuntimeWarning, match="not recording"):
        assert await durable.step(f)() == 7


@pytest.mark.usefixtures("_not_warned_yet")
def test_a_key_outside_a_durable_cell_is_random_and_warned_about() -> None:
    with pytest.warns(RuntimeWarning, match="not recording") as caught:
        keys = {durable.idempotency_key() for _ in range(3)}

    assert len(keys) == 3
    assert caught[0].filename == __file__


def test_questions_outside_a_durable_cell_have_plain_answers() -> None:
    assert durable.run_id() is None
    assert durable.is_replaying() is False


@pytest.mark.usefixtures("_not_warned_yet")
def test_an_inner_step_does_not_warn(notebook: Notebook) -> None:
    """Inside a step's body there is no lane, and that is as it should be."""
    notebook.lived("durable.step(lambda: durable.step(lambda: 1)())()")
