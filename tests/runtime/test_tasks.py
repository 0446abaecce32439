"""Tasks of an event loop: each a lane of its own, let go on in the recorded order (DESIGN §7)."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextvars import Context
from pathlib import Path

import pytest

from durable_kernel.history import position_history
from durable_kernel.ports import REPEAT_ALWAYS
from durable_kernel.runtime.turnstile import STILL
from tests.runtime.notebooks import Notebook, Service

IMPORTS = "import asyncio\nlog = []\n"
ASKING = IMPORTS + "async def work(n): log.append(await service.ask_async(f'a{n}'))\n"

SHAPES = {
    "gather": IMPORTS + "async def work(n):\n"
    "    log.append(await service.ask_async(f'a{n}'))\n    await asyncio.sleep(0)\n"
    "    log.append(await service.ask_async(f'b{n}'))\n"
    "await asyncio.gather(*(work(n) for n in range(6)))\nprint(log)",
    "task group": ASKING + "async with asyncio.TaskGroup() as group:\n"
    "    for n in range(8): group.create_task(work(n))\nprint(log)",
    "task group that fails": IMPORTS
    + "async def work(n):\n    try:\n        log.append(await service.ask_async(f'a{n}'))\n"
    "        if n == 3: raise OSError(n)\n    finally: log.append(n)\n"
    "try:\n    async with asyncio.TaskGroup() as group:\n"
    "        for n in range(8): group.create_task(work(n))\n"
    "except* OSError as error: print(log, error.exceptions)",
    "queue": IMPORTS + "queue = asyncio.Queue()\n"
    "async def work(k):\n    while True:\n        n = await queue.get()\n"
    "        log.append((k, await service.ask_async(f'a{n}')))\n"
    "        if n < 4: queue.put_nowait(n + 100)\n        queue.task_done()\n"
    "workers = [asyncio.create_task(work(k)) for k in range(3)]\n"
    "for n in range(8): queue.put_nowait(n)\nawait queue.join()\n"
    "for each in workers: each.cancel()\n"
    "print(log, await asyncio.gather(*workers, return_exceptions=True))",
    "as completed": IMPORTS
    + "for each in asyncio.as_completed([service.ask_async(f'a{n}') for n in range(8)]):\n"
    "    log.append(await each)\nprint(log)",
    "first completed": IMPORTS
    + "left = {asyncio.create_task(service.ask_async(f'a{n}')) for n in range(8)}\n"
    "while left:\n"
    "    done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)\n"
    "    log += [each.result() for each in done]\nprint(log)",
    "wait with a time-out": IMPORTS
    + "tasks = [asyncio.create_task(service.ask_async(f'a{n}')) for n in range(8)]\n"
    "done, left = await asyncio.wait(tasks, timeout=0.004)\n"
    "print([each.result() for each in done], len(left))\nfor each in left: each.cancel()\n"
    "print(await asyncio.gather(*tasks, return_exceptions=True))",
    "shared list": IMPORTS + "async def work(n):\n    for k in range(3):\n"
    "        seen = len(log)\n        got = await service.ask_async(f'{n}{k}')\n"
    "        log.append((n, k, seen, got))\n"
    "await asyncio.gather(*(work(n) for n in range(4)))\nprint(log)",
    "wait_for": IMPORTS + "async def work(n):\n    try:\n"
    "        log.append(await asyncio.wait_for(service.ask_async(f'a{n}'), 0.003))\n"
    "    except TimeoutError:\n        log.append(-n)\n        await asyncio.sleep(0.001)\n"
    "        log.append(n)\nawait asyncio.gather(*(work(n) for n in range(8)))\nprint(log)",
    "a time-out around several calls": IMPORTS + "try:\n    async with asyncio.timeout(0.02):\n"
    "        while True: log.append(await service.ask_async(f'a{len(log)}'))\n"
    "except TimeoutError: log.append('late')\n"
    "log.append(await service.ask_async('z'))\nprint(log)",
    "semaphore": IMPORTS + "few = asyncio.Semaphore(3)\n"
    "async def work(n):\n    async with few: log.append(await service.ask_async(f'a{n}'))\n"
    "await asyncio.gather(*(work(n) for n in range(10)))\nprint(log)",
    "lock, event and condition": IMPORTS
    + "lock, start, full = asyncio.Lock(), asyncio.Event(), asyncio.Condition()\n"
    "async def work(n):\n    await start.wait()\n"
    "    async with lock: log.append(await service.ask_async(f'a{n}'))\n"
    "    async with full: full.notify_all()\n"
    "tasks = [asyncio.create_task(work(n)) for n in range(5)]\nstart.set()\n"
    "async with full: await full.wait_for(lambda: len(log) == 5)\nprint(log)",
    "sleeps": "import random\n" + IMPORTS + "async def work(n):\n    for k in range(3):\n"
    "        await asyncio.sleep(random.random() * 0.003); log.append((n, k))\n"
    "        await asyncio.sleep(0); log.append((n, k, 'again'))\n"
    "await asyncio.gather(*(work(n) for n in range(5)))\nprint(log)",
    "cancelled sleeps": IMPORTS + "async def work(n):\n    try: await asyncio.sleep(60)\n"
    "    except asyncio.CancelledError:\n"
    "        log.append(n); await asyncio.sleep(0.001 * n); log.append(-n); raise\n"
    "tasks = [asyncio.create_task(work(n)) for n in range(4)]\n"
    "log.append(await service.ask_async('a'))\nfor each in tasks: each.cancel()\n"
    "await asyncio.wait(tasks)\nprint(log)",
    "timers": ASKING
    + "loop = asyncio.get_running_loop()\nfirst = loop.call_later(0.004, log.append, 'x')\n"
    "never = loop.call_later(60, log.append, 'never')\n"
    "await asyncio.gather(*(work(n) for n in range(6)))\nawait asyncio.sleep(0.005)\n"
    "print(log, first.cancelled(), never.cancelled())",
    "a timer that sets itself again": ASKING + "loop = asyncio.get_running_loop()\n"
    "def tick():\n    log.append('tick')\n"
    "    if log.count('tick') < 5: loop.call_later(0.001, tick)\n"
    "tick()\nawait asyncio.gather(*(work(n) for n in range(4)))\n"
    "await asyncio.sleep(0.01)\nprint(log)",
    "threads of a loop": IMPORTS
    + "async def work(n):\n    log.append(await asyncio.to_thread(service.ask, f'a{n}'))\n"
    "    log.append(await service.ask_async(f'b{n}'))\n"
    "await asyncio.gather(*(work(n) for n in range(5)))\nprint(log)",
    "a loop of its own": ASKING
    + "async def main(): await asyncio.gather(*(work(n) for n in range(5)))\n"
    "asyncio.run(main())\nprint(log, service.ask('z'))",
    "a loop in a thread": "import threading\n"
    + ASKING
    + "loop = asyncio.new_event_loop()\nthread = threading.Thread(target=loop.run_forever)\n"
    "thread.start()\n"
    "found = [asyncio.run_coroutine_threadsafe(work(n), loop) for n in range(5)]\n"
    "[each.result() for each in found]\nloop.call_soon_threadsafe(loop.stop); thread.join()\n"
    "loop.close()\nprint(log)",
}


def travel_at_random(seed: object) -> object:
    """Make journeys of a few milliseconds, other ones each time."""
    source = random.Random(str(seed))

    async def travel(_name: str) -> None:
        await asyncio.sleep(source.random() * 0.004)

    return travel


def replays_equal(home: Path, source: str, *, seed: object, replays: int) -> str:
    """Run a notebook live and replay it; nothing is asked again. Returns what it printed."""
    notebook = Notebook(home)
    notebook.service.travel = travel_at_random(seed)  # type: ignore[assignment]
    live = notebook.lived(source)
    asked = list(notebook.service.requests)
    assert not live.run.read_outline().positions[0].is_tainted
    for _ in range(replays):
        again = notebook.replayed()
        assert again.run.latch is None, again.run.latch
        assert again.text() == live.text()
        assert again.run.take_notices() == []
    assert notebook.service.requests == asked
    return live.text()


def notebook_that_may_repeat(home: Path) -> Notebook:
    """Make one whose requests may be made again as often as it takes."""
    notebook = Notebook(home)
    notebook.names["always"] = REPEAT_ALWAYS
    notebook.service.travel = travel_at_random(home.name)  # type: ignore[assignment]
    return notebook


@pytest.mark.parametrize("source", SHAPES.values(), ids=SHAPES.keys())
def test_what_tasks_did_is_replayed_in_their_order(tmp_path: Path, source: str) -> None:
    for seed in range(3):
        replays_equal(tmp_path / str(seed), source, seed=seed, replays=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", ["gather", "task group", "as completed", "shared list", "queue", "wait_for"]
)
def test_a_hundred_replays_are_equal(tmp_path: Path, shape: str) -> None:
    printed = {
        replays_equal(tmp_path / str(seed), SHAPES[shape], seed=seed, replays=10)
        for seed in range(10)
    }

    assert len(printed) > 1  # the order of those ten was not always the same


def test_a_task_that_spins_does_not_keep_others_waiting(
    notebook: Notebook, service: Service
) -> None:
    """H24: the loop never comes to rest, neither live nor on replay."""
    service.travel = travel_at_random(1)  # type: ignore[assignment]
    live = notebook.lived(
        "import asyncio\ntask = asyncio.create_task(service.ask_async('a'))\n"
        "while not task.done(): await asyncio.sleep(0)\nprint(await task)"
    )

    again = notebook.replayed()

    assert again.run.latch is None
    assert again.text() == live.text()


def race_through_time() -> None:
    """Let a minute pass each time that the running loop looks at the clock, and never sleep."""
    loop = asyncio.get_running_loop()
    minutes = itertools.count()
    loop.time = lambda: 60.0 * next(minutes)  # type: ignore[method-assign]

    def go_on() -> None:
        loop.call_soon(go_on, context=Context())

    go_on()


def test_replay_does_not_wait_for_time_outs(notebook: Notebook) -> None:
    """H17: who was cut by a time-out is cut again, when it is its turn; these would take hours."""
    notebook.names["race"] = race_through_time
    live = notebook.lived(
        "import asyncio\nrace()\n"
        "async def work(n):\n    try:\n"
        "        async with asyncio.timeout(3600 * n): await asyncio.sleep(1e6)\n"
        "    except TimeoutError: return n\n"
        "print(await asyncio.gather(*(work(n) for n in range(1, 4))))"
    )
    notebook.names["race"] = lambda: None

    again = notebook.replayed()

    assert again.run.latch is None
    assert live.text() == again.text() == "[1, 2, 3]\n"


def test_a_crowd_that_arrives_at_once_goes_on_one_by_one(
    notebook: Notebook, service: Service
) -> None:
    """As on a machine that stood still for a while: everything is due, and nobody is hurried."""
    seen: set[str] = set()
    on_the_way_back: list[asyncio.Future[None]] = []

    async def travel_together(name: str) -> None:
        if name not in seen:
            seen.add(name)
            return
        mine = asyncio.get_running_loop().create_future()
        on_the_way_back.append(mine)
        if len(on_the_way_back) == 40:
            for each in on_the_way_back:
                each.set_result(None)
        await mine

    service.travel = travel_together
    live = notebook.lived(
        "import asyncio\nlog = []\n"
        "async def work(n):\n    log.append(await service.ask_async(f'a{n}'))\n"
        "    for k in range(5): await asyncio.sleep(0)\n    log.append(n)\n"
        "await asyncio.gather(*(work(n) for n in range(40)))\nprint(log)"
    )

    again = notebook.replayed()

    outline = live.run.read_outline().positions[0]
    history = position_history(live.run.place.folder, outline, live.run._records)
    assert {turn.pace for turn in history.turns} == {STILL}
    assert again.text() == live.text()


@pytest.mark.parametrize("shape", ["gather", "task group", "queue", "semaphore"])
def test_a_death_at_any_request_repeats_none_that_was_answered(tmp_path: Path, shape: str) -> None:
    """What was under way is asked again, since it may be; all else comes from the journal."""
    source = SHAPES[shape].replace("ask_async(", "ask_async(repeat=always, name=")
    plain = notebook_that_may_repeat(tmp_path / "plain")
    plain.lived(source)
    for name in plain.service.requests:
        notebook = notebook_that_may_repeat(tmp_path / name)
        notebook.die_before(name)
        notebook.died(source)
        answered, before = set(notebook.service.answered), len(notebook.service.requests)

        again = notebook.replayed()

        assert again.run.latch is None, again.run.latch
        assert not answered & set(notebook.service.requests[before:])
        assert sorted(set(notebook.service.requests)) == sorted(plain.service.requests)


def test_a_sleep_that_outlives_its_cell_is_not_slept_anew(notebook: Notebook) -> None:
    """H8: its end is recorded in the cell that began it, and its wake-up in a later one."""
    begin = (
        "import asyncio, threading\nloop = asyncio.new_event_loop()\n"
        "thread = threading.Thread(target=loop.run_forever, daemon=True)\nthread.start()\n"
        "began = threading.Event()\n"
        "async def work():\n    began.set()\n    await asyncio.sleep(0.2)\n    return 'woken'\n"
        "future = asyncio.run_coroutine_threadsafe(work(), loop)\nbegan.wait()"
    )
    end = (
        "print(future.result())\nloop.call_soon_threadsafe(loop.stop); thread.join(); loop.close()"
    )
    notebook.lived(begin, end)

    again = notebook.replayed()

    assert again.run.latch is None
    assert again.text() == "woken\n"
    assert again.run.take_notices() == []


@pytest.mark.parametrize("is_over_live", [True, False], ids=["live", "on replay"])
def test_a_time_out_that_is_over_as_it_begins_is_a_timer_like_another(
    notebook: Notebook, is_over_live: bool
) -> None:
    """Which it is depends on how busy the machine is between two lines of the library."""
    clock = _Clock()
    notebook.names["clock"] = clock
    source = (
        "import asyncio\nlog = []\nasync def work():\n    try:\n"
        "        async with asyncio.timeout_at(clock.soon()):\n"
        "            log.append(await service.ask_async('a'))\n"
        "            await asyncio.sleep(60)\n"
        "    except TimeoutError: log.append('late')\n"
        "await asyncio.gather(work(), work())\nprint(log)"
    )
    clock.is_over = is_over_live
    live = notebook.lived(source)
    clock.is_over = not is_over_live

    again = notebook.replayed()

    assert again.run.latch is None, again.run.latch
    assert again.text() == live.text()


class _Clock:
    """Says when a time-out is to end: before it begins, or soon after."""

    is_over = False

    def soon(self) -> float:
        return asyncio.get_running_loop().time() + (-1.0 if self.is_over else 0.05)
