"""Ctrl-C, a time-out, a kill -9 afterwards: the state is what it was, or the run says why not."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed
from tests.kernel.serving import wait_until

pytestmark = pytest.mark.slow

ROWS = "rows = [{'n': n} for n in range(5)]\nclass Sum:\n    total = 0"
COMPUTES = (
    "first = rows[0]\nmine = Sum()\nprint('begun', flush=True)\n"
    "while True:\n    first['n'] += 1; Sum.total += 1\n"
)
LOOK = "first is rows[0], first['n'] == Sum.total, isinstance(mine, Sum), first['n'], In[2][:5]"

SETS = """
import asyncio, contextlib, queue, signal, socket, subprocess, threading, time, urllib.request
import aiohttp, httpx, requests
seen = {}; lock = threading.Lock(); event = thread = None
client = httpx.Client()
class Late(Exception): pass
def ring(number, frame): raise Late('late')
signal.signal(signal.SIGALRM, ring)
def on(number, frame):
    global stop
    stop = True
stop = False
turns = {"cpu": 0}
def spin(kind):  # CPython does not guard the jump of a loop that stands in a try itself
    while True: turns[kind] = turns.get(kind, 0) + 1
"""
WAITS = {
    "sleep": "time.sleep(60)",
    "await": "await asyncio.sleep(60)",
    "lock": "lock.acquire(); lock.acquire()",
    "queue": "queue.Queue().get()",
    "process": "subprocess.run(['sleep', '60'])",
    "computing": "spin('cpu')",
    "client": "turns['client'] = 0; client.timeout; spin('client')",
    "requests": "requests.get(URL)",
    "httpx": "httpx.get(URL, timeout=60)",
    "urllib": "urllib.request.urlopen(URL)",
    "httpx, async": "async with httpx.AsyncClient() as one: await one.get(URL)",
    "aiohttp": "async with aiohttp.ClientSession() as one: await one.get(URL)",
    "thread": (
        "event = threading.Event(); thread = threading.Thread(target=event.wait)\n"
        "    thread.start(); thread.join()"
    ),
}
CUT = (
    "try:\n    print('begun', flush=True)\n    {}\n"
    "except (KeyboardInterrupt, asyncio.CancelledError) as error: seen[{!r}] = repr(error)\n"
    "event and event.set(); thread and thread.ident and thread.join()\n"  # which may be cut, too
    "one = event = thread = None; lock.locked() and lock.release()"
)
OTHERS = [
    (
        "with contextlib.suppress(KeyboardInterrupt):\n"
        "    print('begun', flush=True)\n    spin('suppressed')"
    ),
    (
        "before = signal.signal(signal.SIGINT, on); spins = 0\nprint('begun', flush=True)\n"
        "while not stop: spins += 1\nsignal.signal(signal.SIGINT, before); del before"
    ),
]
LATE = [
    (
        "try: signal.setitimer(signal.ITIMER_REAL, 0.2); spin('late')\n"
        "except Late as error: seen['late'] = repr(error)"
    ),
    (
        "try: signal.setitimer(signal.ITIMER_REAL, 0.2); requests.get(URL)\n"
        "except Late as error: seen['late, requests'] = repr(error)"
    ),
    (
        "try: signal.setitimer(signal.ITIMER_REAL, 0.2); time.sleep(30)\n"
        "except Late as error: seen['late, sleep'] = repr(error)"
    ),
]
STATE = "seen, spins, turns, stop, lock.locked(), client.is_closed, isinstance(Late(), Late)"


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a service that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def interrupted(kernel: LiveKernel, code: str) -> str:
    """Run a cell until it printed `begun`, and send SIGINT until it ends. Returns how it ended."""
    cell = kernel.ask(code)
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    return _ended(kernel, cell, signal.SIGINT)


def _ended(kernel: LiveKernel, cell: str, number: signal.Signals) -> str:
    """Wait until a cell that was sent a signal ends. Returns how it ended.

    One signal may be lost: Python drops what is raised inside a callback of a weak reference, and
    waits on where another thread took it. A second one must not land where the first is at work.
    """
    assert kernel.process is not None
    for _ in range(5):
        with contextlib.suppress(queue.Empty):
            return str(kernel.reply_to(cell, timeout_s=20).get("ename", "ok"))
        kernel.process.send_signal(number)
    raise AssertionError(f"{cell} did not end\n{kernel.log()}")


def test_what_an_interrupted_loop_left_is_there_again_after_a_kill(start: Start) -> None:
    """H16: identity among the names and with objects of earlier cells, and the class is the one."""
    kernel = start()
    kernel.run(ROWS)
    assert interrupted(kernel, COMPUTES) == "KeyboardInterrupt"
    before = kernel.run(LOOK).plain()
    kernel.kill()

    kernel.start()
    after = kernel.run(LOOK).plain()

    assert before.startswith("(True, True, True")
    assert after == before


def test_whatever_was_interrupted_the_next_process_has_the_same_state(
    start: Start, silent: str
) -> None:
    """H16: waiting for HTTP, sleeps, locks, queues, processes, threads; computing; time-outs."""
    kernel = start()
    kernel.run(f"{SETS}\nURL = {silent!r}")
    for name, wait in WAITS.items():
        assert interrupted(kernel, CUT.format(wait, name)) == "ok", name
    for cell in OTHERS:
        assert interrupted(kernel, cell) == "ok", cell
    for cell in LATE:
        assert _ended(kernel, kernel.ask(cell), signal.SIGALRM) == "ok", cell
    before = kernel.run(STATE).plain()
    kernel.kill()

    kernel.start()
    shown = kernel.run(STATE)
    after = shown.plain() or shown.reply

    assert before.count("Interrupt") + before.count("Cancelled") == len(WAITS)
    assert before.count("Late(") == len(LATE)
    assert after == before


def test_two_interrupts_at_once_are_two(start: Start) -> None:
    kernel = start()
    cell = kernel.ask(
        "import time\nhits = []\n"
        "for word in ('begun', 'hit'):\n"
        "    try: print(word, flush=True); time.sleep(60)\n"
        "    except KeyboardInterrupt: hits.append(word)"
    )
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    kernel.watch(cell, printed("hit"))
    kernel.interrupt()
    kernel.wait(cell)
    kernel.kill()

    kernel.start()

    assert kernel.run("len(hits)").plain() == "2"


def test_a_name_that_could_not_be_kept_is_told_at_once_and_after_a_restart(start: Start) -> None:
    """H16: never guessed. The next process stops there, and lists the ways to go on."""
    kernel = start()
    kernel.run("x = [1]")
    cell = kernel.ask(
        "pages = (n for n in range(9)); x.append(next(pages))\nprint('begun', flush=True)\n"
        "while True: y = next(iter(x))"
    )
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    told = kernel.wait(cell).text("stderr")
    kernel.kill()

    kernel.start()
    refused = kernel.run("x").reply["evalue"]
    kernel.run("%durable restore --partly")
    after = kernel.run("x, 'pages' in globals()").plain()

    assert "`pages`: cannot pickle 'generator' object" in told
    assert "`pages`: cannot pickle 'generator' object" in refused
    assert "restore --partly" in refused
    assert after == "([1, 0], False)"


def test_a_kill_while_names_are_kept_leaves_the_cell_to_be_finished(start: Start) -> None:
    """Crash safe: pieces without a record are nothing, and the position is open."""
    kernel = start()
    kernel.run("import pathlib, time")
    kernel.run(
        "class Slow:\n    def __reduce__(self):\n"
        "        pathlib.Path('keeping').touch(); time.sleep(600)"
    )
    cell = kernel.ask("slow = Slow(); n = 0\nprint('begun', flush=True)\nwhile True: n += 1")
    kernel.watch(cell, printed("begun"))
    kernel.interrupt()
    wait_until((kernel.folder / "keeping").exists, "it keeps nothing", kernel.log)
    kernel.kill()

    kernel.start()
    shown = kernel.run("n")

    assert "interrupted in the middle of computing" in shown.reply["evalue"]


def test_a_restoration_that_was_interrupted_inside_of_a_cell_begins_again(start: Start) -> None:
    """What the cell had half done is not done twice: another process begins from nothing."""
    kernel = start()
    kernel.let_go()
    kernel.run("import os\nx = []; x.append(0)\nwhile not os.path.exists('let go'): pass")
    kernel.kill()
    kernel.hold_again()
    kernel.start()
    kernel.wait_for_restoring(0)
    kernel.interrupt()
    refused = kernel.run("len(x)").reply["evalue"]
    kernel.let_go()

    told = kernel.run("%durable restore").plain()
    after = kernel.run("len(x)").plain()

    assert "restoring was interrupted at cell 0" in refused
    assert "in a new process" in refused
    assert "from the beginning" in told
    assert after == "1"


def test_an_interrupt_at_any_moment_of_a_request_leaves_a_reply_and_a_run_that_goes_on(
    start: Start,
) -> None:
    """Before the cell's first line, behind its last one, while its commit is written."""
    kernel = start()
    kernel.run("import time; done = []")
    seen = []
    for number in range(25):
        cell = kernel.ask(f"done.append({number})")
        time.sleep(number * 0.0004)  # the moment is what is tried
        kernel.interrupt()
        seen.append(kernel.wait(cell).status)
    before = kernel.run("done")
    kernel.kill()

    kernel.start()
    after = kernel.run("done")

    # What is sent right behind an error reply is aborted, as by every kernel: that is a reply, too.
    assert set(seen) <= {"ok", "error", "aborted"}
    assert after.plain() == before.plain()
    assert after.reply["execution_count"] == before.reply["execution_count"] + 1
