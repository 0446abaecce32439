"""A thread of a cell that serves, or is blocked for another reason, does not keep the others."""

from __future__ import annotations

import asyncio

import pytest

from durable_kernel.effects.sleeping import _real_sleep
from durable_kernel.runtime import patience
from tests.runtime.notebooks import Notebook

_SERVING = """
import socket, threading
ours, theirs = socket.socketpair()
def serve():
    while (asked := theirs.recv(100)) != b"bye":
        theirs.sendall(asked.upper())
server = threading.Thread(target=serve)
server.start()
found = []
for n in range(5):
    found.append(service.ask(f"a{n}"))
    ours.sendall(b"hello")
    found.append(ours.recv(100))
ours.sendall(b"bye")
server.join()
ours.close(); theirs.close()
print(found)
"""


def test_a_server_in_a_thread_keeps_nobody(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience has no end here: the lane has to be seen as resting."""
    for each in ("CPU_S_MAX", "IDLE_S_MAX", "ASLEEP_S"):
        monkeypatch.setattr(patience, each, 1e9)

    live = notebook.lived(_SERVING)
    again = notebook.replayed()

    assert live.text().count("HELLO") == 5
    assert again.shown == live.shown


_LOOPS = """
import asyncio, threading
found = []
async def work(n):
    found.append(await service.ask_async(f"a{n}"))
threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
print(found)
"""


def test_a_loops_pool_that_only_a_live_call_used_is_in_no_order(notebook: Notebook) -> None:
    """Names of hosts are looked up there. The loop waits for its pool's end, if there is one."""

    async def look_up(_name: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, _real_sleep, 0.001)

    notebook.service.travel = look_up
    live = notebook.lived(_LOOPS)

    again = notebook.replayed()

    assert again.run.latch is None, str(again.run.latch)
    assert again.shown == live.shown
