"""Asyncio in a cell: every task and timer a lane, and nothing else looks different."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from durable_kernel.effects.asyncio_order import InOrder
from durable_kernel.ports import CURRENT_LANE, Lane
from durable_kernel.testing.fake_port import FakePort
from tests.effects.sessions import awaited, in_module

pytestmark = pytest.mark.usefixtures("hooked")

Cell = Callable[[], Coroutine[Any, Any, Any]]


def in_cell(cell: Cell) -> tuple[Any, FakePort]:
    """Await a cell. Returns what it returned, and the port that it ran on."""
    port = FakePort()
    with port.cell():
        return awaited(cell), port


def path() -> str | None:
    lane = CURRENT_LANE.get()
    return None if lane is None else lane.path


async def asks_where() -> str | None:
    return path()


WAYS: dict[str, Cell] = {
    "create_task": lambda: _await(asyncio.create_task(asks_where())),
    "ensure_future": lambda: _await(asyncio.ensure_future(asks_where())),
    "gather": lambda: _first(asyncio.gather(asks_where())),
    "shield": lambda: _await(asyncio.shield(asks_where())),
    "loop": lambda: _await(asyncio.get_running_loop().create_task(asks_where())),
    "context": lambda: _await(
        asyncio.create_task(asks_where(), context=contextvars.copy_context())
    ),
    "as_completed": lambda: _await(next(iter(asyncio.as_completed([asks_where()])))),
}


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def _first(awaitable: Any) -> Any:
    return (await awaitable)[0]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_to_a_task_is_a_way_to_a_lane(way: Cell) -> None:
    found, port = in_cell(way)

    assert found == "/a1"
    assert port.lanes["/a1"].has_ended


def test_a_task_of_a_group_and_its_own_tasks_are_named_by_their_places() -> None:
    async def nested() -> list[str | None]:
        return [path(), await asyncio.create_task(asks_where())]

    async def cell() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(nested()) for _ in range(2)]
        return [task.result() for task in tasks]

    assert in_cell(cell)[0] == [["/a1", "/a1/a1"], ["/a2", "/a2/a1"]]


def test_variables_of_contexts_behave_as_ever() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")

    async def change() -> str:
        name.set("changed")
        return name.get()

    async def cell() -> list[str]:
        name.set("cell")
        own = contextvars.copy_context()
        first = await asyncio.create_task(change())
        second = await asyncio.create_task(change(), context=own)
        return [first, second, name.get(), own[name]]

    assert in_cell(cell)[0] == ["changed", "changed", "cell", "changed"]


def test_the_lane_of_the_maker_stays_its_own() -> None:
    async def cell() -> list[str | None]:
        task = asyncio.create_task(asks_where())
        return [path(), await task, path()]

    assert in_cell(cell)[0] == ["", "/a1", ""]


def test_a_factory_that_knows_no_context_is_called_as_ever() -> None:
    async def cell() -> tuple[str | None, str]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **_: asyncio.Task(coro, loop=loop))
        task = asyncio.create_task(asks_where(), name="mine")
        return await task, task.get_name()

    assert in_cell(cell)[0] == ("/a1", "mine")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only on 3.12 and newer: eager tasks")
def test_an_eager_task_begins_in_its_lane() -> None:
    seen: list[str | None] = []

    async def work() -> None:
        seen.append(path())
        await asyncio.sleep(0)
        seen.append(path())

    async def cell() -> list[str | None]:
        factory: Any = vars(asyncio)["eager_task_factory"]
        asyncio.get_running_loop().set_task_factory(factory)
        task = asyncio.create_task(work())
        seen.append(path())
        await task
        return seen

    assert in_cell(cell)[0] == ["/a1", "", "/a1"]


def test_tasks_of_machinery_act_in_the_lane_that_made_them() -> None:
    make = in_module(
        "aiohttp.client", "def f(coro): return asyncio.create_task(coro)", asyncio=asyncio
    )

    async def cell() -> str | None:
        found: str | None = await make(asks_where())
        return found

    assert in_cell(cell)[0] == ""


def test_who_runs_a_loop_waits_meanwhile() -> None:
    port = FakePort()

    async def main(lane: Lane) -> tuple[str | None, bool]:
        return path(), lane.is_waiting

    with port.cell() as lane:
        found = asyncio.run(main(lane))

    assert found == ("/a1", True)
    assert not lane.is_waiting


def test_a_coroutine_that_another_thread_submits_is_its_task() -> None:
    async def cell() -> tuple[Any, ...]:
        loop = asyncio.get_running_loop()
        submitted = asyncio.run_coroutine_threadsafe(asks_where(), loop)
        other = asyncio.create_task(asks_where())
        return await asyncio.wrap_future(submitted), await other

    assert in_cell(cell)[0] == ("/a1", "/a2")


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_is_a_lane_and_a_handle() -> None:
    async def cell() -> Any:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        begun = loop.time()
        timer = loop.call_later(0.01, lambda: done.set_result(path()))
        assert isinstance(timer, asyncio.TimerHandle)
        assert begun + 0.01 <= timer.when() <= loop.time() + 0.01
        return await done, timer.cancelled()

    found, port = in_cell(cell)

    assert found == ("/c1", False)
    assert port.lanes["/c1"].has_ended


def test_a_cancelled_timer_never_goes_off() -> None:
    async def cell() -> tuple[list[str], bool]:
        seen: list[str] = []
        timer = asyncio.get_running_loop().call_later(0.001, seen.append, "x")
        timer.cancel()
        timer.cancel()
        await asyncio.sleep(0.01)
        return seen, timer.cancelled()

    found, port = in_cell(cell)

    assert found == ([], True)
    assert port.lanes["/c1"].has_ended


def test_a_timer_that_is_set_again_keeps_a_short_name() -> None:
    async def cell() -> list[str | None]:
        seen: list[str | None] = []
        done = asyncio.get_running_loop().create_future()

        def tick() -> None:
            seen.append(path())
            if len(seen) == 4:
                done.set_result(None)
            else:
                asyncio.get_running_loop().call_later(0.001, tick)

        tick()
        await done
        return seen

    assert in_cell(cell)[0] == ["", "/c1", "/c2", "/c3"]


def test_what_a_timer_raises_goes_to_the_loop() -> None:
    async def cell() -> str:
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        loop.set_exception_handler(lambda _loop, facts: told.set_result(facts["exception"]))
        loop.call_later(0.001, lambda: 1 / 0)
        return repr(await told)

    assert in_cell(cell)[0] == "ZeroDivisionError('division by zero')"


def test_bad_timers_raise_what_the_library_raises() -> None:
    async def cell() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        loop.set_debug(True)
        found = []
        for when, callback in ((None, print), (1.0, None), (1.0, asks_where)):
            with pytest.raises(TypeError) as raised:
                loop.call_at(when, callback)
            found.append(str(raised.value))
        return found

    assert in_cell(cell)[0] == asyncio.run(cell())


# --- order ----------------------------------------------------------------------------------------


def test_sets_of_tasks_iterate_in_the_order_in_which_they_were_made() -> None:
    """H40: the order of addresses is another one in each process."""

    async def cell() -> list[list[int]]:
        tasks = [asyncio.create_task(asks_where()) for _ in range(20)]
        done, pending = await asyncio.wait(reversed(tasks))
        assert isinstance(done, set)
        kept = done | pending
        kept -= {tasks[3]}
        return [
            [tasks.index(each) for each in some]
            for some in (done, list(kept), done - {tasks[0]}, [kept.pop()])
        ]

    everything = list(range(20))
    without_3 = [each for each in everything if each != 3]
    assert in_cell(cell)[0] == [everything, without_3, everything[1:], [0]]


def test_tasks_of_as_completed_are_made_in_the_order_given() -> None:
    async def cell() -> list[str | None]:
        return [await each for each in asyncio.as_completed([asks_where() for _ in range(20)])]

    assert in_cell(cell)[0] == [f"/a{n}" for n in range(1, 21)]


def test_without_a_lane_the_library_is_as_it_is() -> None:
    async def outside() -> tuple[Any, ...]:
        task = asyncio.create_task(asks_where())
        done, pending = await asyncio.wait([task])
        timer = asyncio.get_running_loop().call_later(60, print)
        timer.cancel()
        return type(done), type(pending), type(timer), task.result()

    assert asyncio.run(outside()) == (set, set, asyncio.TimerHandle, None)


@pytest.mark.parametrize("wrong", [asks_where, 5], ids=["a coroutine", "a number"])
def test_wrong_arguments_raise_what_the_library_raises(wrong: Any) -> None:
    async def cell() -> list[str]:
        found = []
        for call in (asyncio.wait, asyncio.as_completed):
            given = wrong() if callable(wrong) else wrong
            try:
                result: Any = call(given)
                await result if asyncio.iscoroutine(result) else list(result)
            except TypeError as error:
                found.append(str(error))
            if asyncio.iscoroutine(given):
                given.close()
        return found

    assert in_cell(cell)[0] == asyncio.run(cell())


def test_a_set_in_order_is_pickled_and_copied_as_a_set() -> None:
    some = InOrder({3, 1, 2})

    assert some == {1, 2, 3}
    assert some.copy() == {1, 2, 3}
    assert some.__reduce__()[0] is set
    with pytest.raises(KeyError):
        InOrder().pop()


def test_a_loop_that_is_not_asyncios_is_told() -> None:
    uvloop = pytest.importorskip("uvloop")
    port = FakePort()

    with port.cell():
        found = uvloop.run(asks_where())

    assert found == ""
    assert "tasks of uvloop are not recorded" in port.notes[0]
