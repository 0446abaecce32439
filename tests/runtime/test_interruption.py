"""RequestInterrupted: who names it gets it; journaled first, withdrawn at the top (H4)."""

from __future__ import annotations

import pytest

from durable_kernel.errors import RunSuspendedError, UsageError
from tests.runtime.notebooks import Notebook, Service

CATCHES = """
from durable_kernel import RequestInterrupted
try:
    x = service.ask('pay')
except RequestInterrupted as e:
    x = service.look('was it paid?')
print(x)
"""
NAMES_ONLY = """
from durable_kernel import RequestInterrupted
x = service.ask('first')
x = service.ask('pay')
print(x)
"""


@pytest.fixture(autouse=True)
def _dies_in_the_payment(notebook: Notebook) -> None:
    notebook.die_during("pay")


def test_code_that_names_it_gets_it_and_goes_on(notebook: Notebook, service: Service) -> None:
    """H4: the handler looks at the other side, and the cell is done without anybody asked."""
    notebook.died(CATCHES)

    session = notebook.replayed()

    assert session.text() == "was it paid?: done\n"
    assert service.requests == ["pay", "was it paid?"]
    assert session.run.latch is None


def test_a_caught_interruption_replays(notebook: Notebook, service: Service) -> None:
    """H4: it was an outcome, so the third session takes the same way without asking again."""
    notebook.died(CATCHES)
    resumed = notebook.replayed()

    again = notebook.replayed()

    assert again.text() == resumed.text()
    assert service.requests == ["pay", "was it paid?"]


def test_a_crash_inside_the_handler_replays_the_raise(notebook: Notebook, service: Service) -> None:
    """H4: it is journaled before it is raised; the handler's probe is not asked twice."""
    notebook.died(CATCHES.replace("print(x)", "die(); print(x)"))
    notebook.died()

    session = notebook.replayed()

    assert session.text() == "was it paid?: done\n"
    assert service.requests == ["pay", "was it paid?"]


def test_a_caller_further_up_may_name_it(notebook: Notebook) -> None:
    """H4: any frame on the lane's stack, a function of an earlier cell as well."""
    notebook.died(
        "from durable_kernel import RequestInterrupted\n"
        "def careful(f):\n    try: return f()\n    except RequestInterrupted: return 'unknown'",
        "x = careful(lambda: service.ask('pay'))",
    )

    session = notebook.replayed()

    assert session.namespace["x"] == "unknown"


def test_an_awaiting_caller_may_name_it(notebook: Notebook) -> None:
    notebook.died(
        "from durable_kernel import RequestInterrupted\n"
        "async def pay(): return await service.ask_async('pay')\n"
        "async def careful():\n"
        "    try: return await pay()\n    except RequestInterrupted: return 'unknown'\n"
        "x = await careful()"
    )

    assert notebook.replayed().namespace["x"] == "unknown"


def test_an_interruption_that_reaches_the_top_is_withdrawn(
    notebook: Notebook, service: Service
) -> None:
    """H4: the act is in doubt again, the run stops, and says how to go on."""
    notebook.died(NAMES_ONLY)

    session = notebook.replayed()

    assert isinstance(session.run.latch, RunSuspendedError)
    assert "%durable resolve 0.1" in str(session.run.latch)
    assert session.run.read_outline().status == "in doubt"
    assert service.requests == ["first", "pay"]


def test_a_withdrawn_interruption_can_be_decided(notebook: Notebook, service: Service) -> None:
    notebook.died(NAMES_ONLY)
    notebook.replayed()
    notebook.decide("0.1", "retry")

    session = notebook.replayed()

    assert session.text() == "pay: done\n"
    assert service.requests == ["first", "pay", "pay"]


def test_a_stopped_kernel_takes_the_decision_that_it_asked_for(
    notebook: Notebook, service: Service
) -> None:
    """The stop names `%durable resolve`: it waits in the inbox for the next start."""
    notebook.died(NAMES_ONLY)
    with notebook.session() as session:
        session.recover()

        said = session.run.resolve(None, "answer", b'"paid"')

    assert "effect 0.1 (ask pay): answer. Restart the kernel" in said
    assert notebook.replayed().text() == "paid\n"
    assert service.requests == ["first", "pay"]


def test_a_stopped_kernel_refuses_a_decision_about_something_else(notebook: Notebook) -> None:
    notebook.died(NAMES_ONLY)
    with notebook.session() as session:
        session.recover()

        with pytest.raises(UsageError, match=r"in doubt are 0\.1: ask pay"):
            session.run.resolve("0.0", "retry", None)


def test_what_followed_a_withdrawn_interruption_is_void(
    notebook: Notebook, service: Service
) -> None:
    """H4: a `finally` ran and asked; that belongs to a way that was not taken in the end."""
    notebook.died(
        "from durable_kernel import RequestInterrupted\nimport uuid\n"
        "try: x = service.ask('pay')\nfinally: print(service.look('unlock'), uuid.uuid4())\n"
    )
    notebook.replayed()
    notebook.decide("0.0", "retry")
    service.requests.clear()

    session = notebook.replayed()

    assert service.requests == ["pay", "unlock"]
    again = notebook.replayed()
    assert again.text() == session.text()
    assert service.requests == ["pay", "unlock"]


def test_a_handler_that_raises_again_withdraws(notebook: Notebook) -> None:
    notebook.died(CATCHES.replace("x = service.look('was it paid?')", "raise"))

    session = notebook.replayed()

    assert isinstance(session.run.latch, RunSuspendedError)
    assert session.run.read_outline().status == "in doubt"


def test_a_decision_that_waits_comes_before_raising(notebook: Notebook, service: Service) -> None:
    notebook.died(CATCHES)
    notebook.decide("0.0", "answer", b'"paid"')

    assert notebook.replayed().text() == "paid\n"
    assert service.requests == ["pay"]


def test_the_sentence_says_what_and_when(notebook: Notebook) -> None:
    notebook.died(CATCHES.replace("x = service.look('was it paid?')", "x = str(e)"))

    session = notebook.replayed()

    assert "ask pay was announced at 20" in session.namespace["x"]
    assert "it was not sent again" in session.namespace["x"]
