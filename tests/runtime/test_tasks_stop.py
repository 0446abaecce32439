"""A stop in a task ends the cell, whatever the shape of its tasks makes of it (H3)."""

from __future__ import annotations

import asyncio

import pytest

from durable_kernel.errors import DivergenceError, RunSuspendedError
from durable_kernel.ports import REPEAT_ALWAYS
from tests.runtime.notebooks import Notebook, Service

WORK = "import asyncio\nasync def work(): return await service.ask_async(target)\n"

SHAPES = {
    "a worker and queue.join": "import asyncio\nqueue = asyncio.Queue()\n"
    "async def work():\n    while True:\n        await service.ask_async(await queue.get())\n"
    "        queue.task_done()\n"
    "worker = asyncio.create_task(work())\nqueue.put_nowait(target)\nawait queue.join()\n"
    "worker.cancel()\n",
    "gather that returns exceptions": WORK
    + "found = await asyncio.gather(work(), return_exceptions=True)\n",
    "task group": WORK + "async with asyncio.TaskGroup() as group: group.create_task(work())\n",
    "fire and forget": WORK + "task = asyncio.create_task(work())\nawait asyncio.sleep(0.01)\n",
    "as completed": WORK + "for each in asyncio.as_completed([work()]): await each\n",
    "a task that catches all": WORK
    + "async def safe():\n    try: await work()\n    except BaseException: pass\n"
    "await asyncio.gather(safe())\n",
}


@pytest.mark.parametrize("source", SHAPES.values(), ids=SHAPES.keys())
def test_a_divergence_in_a_task_stops_the_cell(
    notebook: Notebook, service: Service, source: str
) -> None:
    """Rule 6: the cell ends, and what stands behind is not executed."""
    notebook.names["target"] = "recorded"
    notebook.lived(source + "await service.ask_async('next')")
    notebook.names["target"] = "asked"
    service.requests.clear()

    session = notebook.replayed()

    assert isinstance(session.run.latch, DivergenceError)
    assert service.requests == []
    notebook.names["target"] = "recorded"
    assert notebook.replayed().run.latch is None


def test_calls_under_way_at_a_stop_are_made_again(notebook: Notebook, service: Service) -> None:
    """Nobody gave them up: only the run went no further."""
    notebook.names.update(always=REPEAT_ALWAYS, stop=RunSuspendedError("for a test"))

    async def travel(_name: str) -> None:
        if notebook.names["halts"]:
            await asyncio.Event().wait()  # it is on its way when the stop comes

    service.travel = travel
    source = (
        "import asyncio\n"
        "async def halt():\n    await asyncio.sleep(0.01)\n"
        "    if halts: session.run.port.set_latch(stop)\n"
        "asking = [service.ask_async(name, repeat=always) for name in 'ab']\n"
        "print(await asyncio.gather(*asking, halt()))"
    )
    notebook.names["halts"] = True
    with notebook.session() as session:
        assert not session.execute(source)
    notebook.names["halts"] = False

    session = notebook.replayed()

    assert session.run.latch is None
    assert session.text().startswith("['a: done', 'b: done', None]")
    assert service.requests == ["a", "b"]  # the stop came while they were on their way
