"""Blocks with several lanes: threads, pools, tasks, queues, and threads that outlive their cell.

Each request of a block goes to a path of its own, so a witness can count them; their answers come
in an order that nobody can foretell. What is noted depends on that order.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.crash.witness import SHUFFLED

__all__ = ["LANE_BLOCKS", "LANE_EFFECTS", "LANE_LAST", "LANE_SETUP"]

LANE_EFFECTS = SHUFFLED

LANE_SETUP = """\
import queue, threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for
background, watchers = [], []
def fetch(path):
    return client.get(path).json()["number"]
def order(path):
    try:
        return client.post(path, json=[1]).json()["number"]
    except httpx.HTTPError as error:
        return type(error).__name__"""

LANE_LAST = """\
[each.join() for each in watchers]
note("background", *background)"""
"""The last cell: no act is under way when the notebook ends."""

_Draw = random.Random
_Block = Callable[[_Draw, str, str], str]


def _threads(draw: _Draw, rid: str, origin: str) -> str:
    does = draw.choice(["fetch", "order"])
    return f"""\
got, guard = [], threading.Lock()
def work(n):
    first = {does}(f"{origin}/threads/{rid}-{{n}}")
    with guard:
        got.append((n, first))
    got.append((n, fetch(f"{origin}/threads/{rid}-{{n}}-more"), random.random(), time.time()))
threads = [threading.Thread(target=work, args=(n,)) for n in range({draw.randint(2, 5)})]
[each.start() for each in threads]
[each.join() for each in threads]
note("threads", *got)"""


def _threads_print(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
def tell(n):
    note("thread", n, fetch(f"{origin}/threads/{rid}-{{n}}"), uuid.uuid4().hex)
threads = [threading.Thread(target=tell, args=(n,)) for n in range({draw.randint(2, 4)})]
[each.start() for each in threads]
[each.join() for each in threads]"""


def _threads_draw(draw: _Draw, rid: str, origin: str) -> str:
    times = draw.choice([2_000, 100_000])
    return f"""\
sums = []
def add(n):
    total = sum(random.random() * n for _ in range({times}))
    sums.append((n, fetch(f"{origin}/threads/{rid}-{{n}}"), total, random.choice("abcdef")))
threads = [threading.Thread(target=add, args=(n,)) for n in range({draw.randint(2, 4)})]
[each.start() for each in threads]
[each.join() for each in threads]
note("sums", *sums, random.random())"""


def _pool(draw: _Draw, rid: str, origin: str) -> str:
    does = draw.choice(["fetch", "order"])
    return f"""\
with ThreadPoolExecutor({draw.randint(2, 4)}) as pool:
    futures = [pool.submit({does}, f"{origin}/pool/{rid}-{{n}}") for n in range(6)]
    for future in as_completed(futures):
        note("completed", futures.index(future), future.result())"""


def _pool_map(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
found = []
def page(n):
    found.append((n, fetch(f"{origin}/pool/{rid}-{{n}}")))
    time.sleep({draw.choice([0, 0.001, 0.003])})
    found.append((n, order(f"{origin}/pool/{rid}-{{n}}-order")))
    return n
with ThreadPoolExecutor(3) as pool:
    note("map", *pool.map(page, range({draw.randint(3, 6)})))
note("found", *found)"""


def _pool_wait(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
with ThreadPoolExecutor(3) as pool:
    left = {{pool.submit(fetch, f"{origin}/pool/{rid}-{{n}}") for n in range(5)}}
    while left:
        done, left = wait_for(left, return_when=FIRST_COMPLETED)
        note("done", *sorted(each.result() for each in done))"""


_WEB = "httpx.AsyncClient(timeout=60, verify=False, trust_env=False)"


def _gather(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
arrived = []
async def ask(web, n):
    arrived.append((n, (await web.get(f"{origin}/tasks/{rid}-{{n}}")).json()["number"]))
    await asyncio.sleep({draw.choice([0, 0.001, 0.004])})
    arrived.append((n, random.random()))
    return n
async with {_WEB} as web:
    note("gather", *await asyncio.gather(*[ask(web, n) for n in range({draw.randint(3, 6)})]))
note("arrived", *arrived)"""


def _group(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
async def put(web, n):
    try:
        r = await web.post(f"{origin}/tasks/{rid}-{{n}}", json=[n])
        note("task", n, r.json()["number"])
    except httpx.HTTPError as error:
        note("task", n, type(error).__name__)
async with {_WEB} as web, asyncio.TaskGroup() as group:
    for n in range({draw.randint(2, 5)}):
        group.create_task(put(web, n))
note("group is done", time.time())"""


def _as_completed(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
async with {_WEB} as web:
    asked = [web.get(f"{origin}/tasks/{rid}-{{n}}") for n in range({draw.randint(3, 6)})]
    for each in asyncio.as_completed(asked):
        note("completed", (await each).json()["rid"])"""


def _to_thread(_draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
numbers = await asyncio.gather(
    *[asyncio.to_thread(fetch, f"{origin}/tasks/{rid}-{{n}}") for n in range(4)])
note("to thread", *numbers)"""


def _queue(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
jobs, done = queue.Queue(), queue.Queue()
def serve():
    while (n := jobs.get()) is not None:
        done.put((n, {draw.choice(["fetch", "order"])}(f"{origin}/queue/{rid}-{{n}}")))
workers = [threading.Thread(target=serve) for _ in range(3)]
[each.start() for each in workers]
[jobs.put(n) for n in (*range({draw.randint(3, 7)}), None, None, None)]
[each.join() for each in workers]
while not done.empty():
    note("done", *done.get())"""


def _queue_async(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
jobs = asyncio.Queue()
[jobs.put_nowait(n) for n in range({draw.randint(4, 7)})]
async def serve(web, name):
    while not jobs.empty():
        n = jobs.get_nowait()
        note(name, n, (await web.get(f"{origin}/queue/{rid}-{{n}}")).json()["number"])
async with {_WEB} as web:
    await asyncio.gather(*[serve(web, name) for name in "abc"])"""


def _outlive(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
def watch():
    for n in range({draw.randint(2, 6)}):
        background.append(fetch(f"{origin}/outlive/{rid}-{{n}}"))
watchers.append(threading.Thread(target=watch))
watchers[-1].start()
note("begun", fetch(f"{origin}/outlive/{rid}-main"))"""


def _outlive_join(draw: _Draw, rid: str, origin: str) -> str:
    return f"""\
late = threading.Thread(target=lambda: background.append(order("{origin}/outlive/{rid}-late")))
late.start()
time.sleep({draw.choice([0.001, 0.004])})
[each.join() for each in watchers]
note("watched", *background)
watchers.append(late)"""


LANE_BLOCKS: dict[str, tuple[_Block, ...]] = {
    "threads": (_threads, _threads_print, _threads_draw),
    "pool": (_pool, _pool_map, _pool_wait),
    "tasks": (_gather, _group, _as_completed, _to_thread),
    "queue": (_queue, _queue_async),
    "outlive": (_outlive, _outlive_join),
}
