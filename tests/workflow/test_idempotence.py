"""`idempotent()`: the user's word that a call may be made again, and nothing beyond it."""

from __future__ import annotations

import asyncio

import pytest

from durable_kernel.ports import REPEATABLE
from durable_kernel.replay import InDoubtPolicy
from durable_kernel.workflow import idempotent
from tests.runtime.notebooks import Notebook, Service

USES = {
    "context": "with durable.idempotent(): service.ask('put')",
    "decorator": "@durable.idempotent()\ndef f(): service.ask('put')\nf()",
    "async context": (
        "async def f():\n    with durable.idempotent(): await service.ask_async('put')\nawait f()"
    ),
    "async decorator": (
        "@durable.idempotent()\nasync def f(): await service.ask_async('put')\nawait f()"
    ),
    "called function": "def f(): service.ask('put')\nwith durable.idempotent(): f()",
}


@pytest.mark.parametrize("source", USES.values(), ids=USES.keys())
def test_an_act_inside_is_made_again_after_a_crash(
    notebook: Notebook, service: Service, source: str
) -> None:
    notebook.die_during("put")
    notebook.died(source)

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == []
    assert service.requests == ["put", "put"]
    assert session.run.latch is None


def test_an_act_behind_it_is_not(notebook: Notebook, service: Service) -> None:
    notebook.die_during("post")
    notebook.died("with durable.idempotent(): service.ask('put')\nservice.ask('post')")

    notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == [3]
    assert service.requests == ["put", "post"]


def test_the_word_ends_with_an_exception_too() -> None:
    with pytest.raises(ValueError, match="inside"), idempotent():
        raise ValueError("inside")

    assert not REPEATABLE.get()


def test_one_object_may_be_entered_twice() -> None:
    """The outer use must not be undone by the inner one, nor last for ever."""
    word = idempotent()

    with word:
        with word:
            assert REPEATABLE.get()
        assert REPEATABLE.get()

    assert not REPEATABLE.get()


def test_a_decorated_recursion_ends_where_it_began() -> None:
    @idempotent()
    def count(depth: int) -> int:
        assert REPEATABLE.get()
        return 0 if depth == 0 else 1 + count(depth - 1)

    assert count(3) == 3
    assert not REPEATABLE.get()


async def test_one_object_in_two_tasks_says_each_word_for_itself() -> None:
    """Tasks take turns: what one leaves must not be what the other entered with."""
    word = idempotent()
    entered, leave = asyncio.Event(), asyncio.Event()
    found: list[bool] = []

    async def long() -> None:
        with word, word:
            entered.set()
            await leave.wait()
        found.append(REPEATABLE.get())

    async def short() -> None:
        await entered.wait()
        with word:
            leave.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        found.append(REPEATABLE.get())

    await asyncio.gather(long(), short())

    assert found == [False, False]


def test_the_announcement_says_why_it_may_be_repeated(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("with durable.idempotent(): service.ask('put')")
        (announced,) = session.run.read_outline().positions[0].announced

    assert announced.repeat_s is None
    assert announced.repeat_why == "declared idempotent"
