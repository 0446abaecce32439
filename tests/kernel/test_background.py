"""Tasks and threads that go on between the cells: killed there, they go on once more (H29).

Each turn of theirs makes a request, draws, reads a clock and prints. The site counts the requests;
each has a key, so the one that a kill cuts is made again, under its old key.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, Shown, printed
from tests.kernel.serving import wait_until
from tests.runtime.sites import Site

pytestmark = pytest.mark.slow

TASK = """
import asyncio, httpx, random, time
turns, goes_on = [], True
async def work():
    async with httpx.AsyncClient() as client:
        while goes_on:
            key = {{"Idempotency-Key": str(len(turns))}}
            await client.post({url!r}, content=b"x", headers=key)
            turns.append((random.random(), time.time()))
            print("turn", len(turns), flush=True)
            await asyncio.sleep(0.02)
task = asyncio.create_task(work())
"""
THREAD = """
import httpx, random, threading, time
turns, goes_on = [], True
def work():
    with httpx.Client() as client:
        while goes_on:
            key = {{"Idempotency-Key": str(len(turns))}}
            client.post({url!r}, content=b"x", headers=key)
            turns.append((random.random(), time.time()))
            print("turn", len(turns), flush=True)
            time.sleep(0.02)
thread = threading.Thread(target=work)
thread.start()
"""
LOOK = "print([*turns])"


@pytest.fixture
def site() -> Iterator[Site]:
    service = Site()
    yield service
    service.close()


def _turns(shown: Shown) -> list[object]:
    """The list that was printed, wherever a thread's own words stand around it."""
    printed = re.search(r"\[\(.*?\)\]", shown.text())
    assert printed is not None, shown
    found: list[object] = ast.literal_eval(printed[0])
    return found


def _wait_for(site: Site, kernel: LiveKernel, more: int) -> None:
    enough = len(site.asked) + more
    wait_until(lambda: len(site.asked) >= enough, "nothing goes on", kernel.log)


@pytest.mark.parametrize("work", [TASK, THREAD], ids=["a task", "a thread"])
def test_what_goes_on_between_cells_is_restored_and_goes_on(
    start: Start, site: Site, work: str
) -> None:
    kernel = start()
    kernel.run(work.format(url=site.url))
    _wait_for(site, kernel, 10)
    before = _turns(kernel.run(LOOK))
    _wait_for(site, kernel, 10)
    kernel.kill()
    keys_before = list(site.keys)

    kernel.start()
    _wait_for(site, kernel, 5)
    shown = kernel.run(LOOK)
    after = _turns(shown)
    kernel.run("goes_on = False")

    assert after[: len(before)] == before
    assert len(after) > len(keys_before)
    again = [key for key in site.keys[len(keys_before) :] if key in keys_before]
    assert again in ([], [keys_before[-1]])
    assert sorted(set(map(int, filter(None, site.keys)))) == list(range(len(set(site.keys))))
    told = kernel.run("%durable status").plain() + shown.text("stderr")
    assert "read clocks" not in told
    assert "printed something else" not in told


def test_what_a_task_prints_is_shown_once_over_two_processes(start: Start, site: Site) -> None:
    """H20: late text of a replayed cell is known; what it prints from there on is new.

    Lines that were journaled and not yet received at the kill are not sent again; a line is printed
    behind its request, so they are no more than the site was asked for.
    """
    kernel, texts = start(), defaultdict[str, str](str)
    kernel.on_message = lambda message: _add(texts, message)
    asked = kernel.ask(TASK.format(url=site.url))
    kernel.watch(asked, printed("turn 12\n"))
    kernel.kill()
    asked_before = len(site.asked)

    kernel.start()
    kernel.watch(asked, lambda _: len(texts) > 1 and _numbers([*texts.values()][1])[4:] != [])
    kernel.run("goes_on = False")

    first, second = (_numbers(text) for text in texts.values())
    assert first == list(range(1, len(first) + 1))
    assert second == list(range(second[0], second[0] + len(second)))
    assert len(first) < second[0] <= asked_before + 1


def _add(texts: dict[str, str], message: dict[str, Any]) -> None:
    """Add what was printed to what this process printed: each has a session of its own."""
    if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
        texts[message["header"]["session"]] += message["content"]["text"]


def _numbers(text: str) -> list[int]:
    """The numbers of the lines that are there to their end."""
    return [int(line.split()[1]) for line in text.splitlines(keepends=True) if line[-1:] == "\n"]
