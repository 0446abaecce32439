"""Real clients that ask for twenty answers at once: replayed in the order in which they came."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import aiohttp
import httpx
import pytest

from tests.runtime.notebooks import Notebook

CLIENTS = {
    "httpx": "client = httpx.AsyncClient()\n"
    "async def get(n): return (await client.get(f'{origin}/{n}')).content\n",
    "httpx, streamed": "client = httpx.AsyncClient()\n"
    "async def get(n):\n    async with client.stream('GET', f'{origin}/{n}') as answer:\n"
    "        log.append(answer.status_code)\n        return await answer.aread()\n",
    "aiohttp": "client = aiohttp.ClientSession()\n"
    "async def get(n):\n    async with client.get(f'{origin}/{n}') as answer:\n"
    "        log.append(answer.status)\n        return await answer.read()\n",
}

FAN_OUT = (
    "import asyncio\nlog = []\nasync def work(n):\n    log.append((n, len(await get(n))))\n"
    "    await asyncio.sleep(0)\n    log.append(n)\n"
    "async with client: await asyncio.gather(*(work(n) for n in range(20)))\nprint(log)"
)

TIME_OUTS = (
    "import asyncio\nlog = []\nasync def work(n):\n    try:\n"
    "        async with asyncio.timeout(0.012): log.append((n, len(await get(n))))\n"
    "    except TimeoutError: log.append(-n)\n"
    "async with client: await asyncio.gather(*(work(n) for n in range(12)))\nprint(log)"
)


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


class _Pages(BaseHTTPRequestHandler):
    """Answers after some milliseconds, in pieces."""

    protocol_version = "HTTP/1.1"
    chance: ClassVar[random.Random] = random.Random(7)

    def do_GET(self) -> None:
        time.sleep(self.chance.random() * 0.02)
        body = self.path.encode() * 2000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), 2500):
            self.wfile.write(body[at : at + 2500])
            time.sleep(self.chance.random() * 0.004)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return  # a client that lost its patience

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Pages) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("source", [FAN_OUT, TIME_OUTS], ids=["fan-out", "time-outs"])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())
def test_answers_come_again_in_their_order(
    notebook: Notebook, server: _Server, client: str, source: str
) -> None:
    """H17: those that were cut by a time-out are cut again, at the same place."""
    origin = f"http://127.0.0.1:{server.server_port}"
    notebook.names.update(origin=origin, httpx=httpx, aiohttp=aiohttp)
    live = notebook.lived(client, source)
    assert not any(each.is_tainted for each in live.run.read_outline().positions)
    server.shutdown()
    server.server_close()  # who asks again is refused

    for _ in range(3):
        again = notebook.replayed()

        assert again.run.latch is None, again.run.latch
        assert again.text() == live.text()
        assert again.run.take_notices() == []
