"""Who a call belongs to: the running cell's own line, and nobody else's (H8, H29, DESIGN §7).

Threads, tasks of pools and of event loops are lanes of their own. What can't be one is told and
taints the cell, never wrong in silence.
"""

from __future__ import annotations

import pytest

from durable_kernel.errors import TaintedPositionError, WorldClosedError
from tests.runtime.notebooks import Notebook, Service

OTHERS = {
    "bare task": "import asyncio\nx = await asyncio.Task(service.ask_async('a'))",
    "shared context": (
        "import asyncio, contextvars\nshared = contextvars.copy_context()\n"
        "tasks = [asyncio.create_task(service.ask_async(n), context=shared) for n in 'ab']\n"
        "x = await asyncio.gather(*tasks)"
    ),
    "context": (
        "import contextvars, threading\ncontext = contextvars.copy_context()\n"
        "t = threading.Thread(target=context.run, args=(service.ask, 'a'))\nt.start(); t.join()"
    ),
    "draw in a bare task": (
        "import asyncio, uuid\nasync def draw(): return uuid.uuid4()\n"
        "x = await asyncio.Task(draw())"
    ),
}


@pytest.mark.parametrize("source", OTHERS.values(), ids=OTHERS.keys())
def test_what_another_line_of_control_does_works_and_taints(
    notebook: Notebook, source: str
) -> None:
    """H29: live it works as without us; the cell is marked, and never executed by itself."""
    with notebook.session() as session:
        assert session.execute(source)
        assert session.run.read_outline().positions[0].is_tainted
        assert session.run.status()["unrecorded"] != []

    with notebook.session() as again, pytest.raises(TaintedPositionError):
        again.recover()


def test_the_sentence_names_the_call_of_another_line(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute(OTHERS["bare task"])
        (crossing,) = session.run.read_outline().positions[0].crossings

    assert crossing.what == "made a call outside the cell's own line: ask a"


def test_a_call_of_another_line_has_a_key_of_its_own(notebook: Notebook, service: Service) -> None:
    """An empty key would be one key for all of them: a server would take them for one call."""
    with notebook.session() as session:
        session.execute(
            "import asyncio\nawait asyncio.Task(service.ask_async('a'))\n"
            "await asyncio.Task(service.ask_async('b'))"
        )

    assert len(set(service.keys)) == 2
    assert all(len(key) == 32 for key in service.keys)


def test_another_line_makes_no_call_while_replaying(notebook: Notebook, service: Service) -> None:
    """Rule 9: code that was edited to use a task finds the world closed."""
    notebook.names["in_task"] = False
    notebook.lived(
        "import asyncio\nx = service.ask_async('a')\nx = await (asyncio.Task(x) if in_task else x)"
    )
    notebook.names["in_task"] = True
    service.requests.clear()

    session = notebook.replayed()

    assert isinstance(session.run.latch, WorldClosedError)
    assert service.requests == []


def test_the_lane_of_an_older_cell_is_foreign(notebook: Notebook, service: Service) -> None:
    """H8: what it asks now belongs to no position that could replay it."""
    with notebook.session() as session:
        session.execute(
            "import contextvars\nolder = contextvars.copy_context()",
            "older.run(service.ask, 'a'); print('done')",
        )
        outline = session.run.read_outline()

    assert service.requests == ["a"]
    assert [each.is_tainted for each in outline.positions] == [False, True]


def test_an_older_lane_reads_clocks_and_leaves_the_running_cells_alone(
    notebook: Notebook,
) -> None:
    """H8: on replay it took the next cell's recorded values, or failed where no cell ran."""
    live = notebook.lived(
        "import contextvars, time\nolder = contextvars.copy_context()",
        "older.run(time.monotonic); print(time.monotonic(), time.time())",
    )

    with notebook.session() as session:
        for history in session.run.recorded():
            session.driver._execute(session.run.replay_cell(history))
            assert session.namespace["older"].run(session.namespace["time"].time) > 0

    assert session.shown == live.shown
    assert session.run.latch is None


def test_a_tasks_own_cell_may_await_it_in_order(notebook: Notebook, service: Service) -> None:
    """Awaiting a coroutine is no task: it is the cell's own line."""
    live = notebook.lived(
        "async def fetch(name): return await service.ask_async(name)\n"
        "print(await fetch('a'), await fetch('b'))"
    )

    again = notebook.replayed()

    assert again.shown == live.shown
    assert service.requests == ["a", "b"]
    assert not again.run.read_outline().positions[0].is_tainted
