"""A death while one lane reads a stream: it goes on from what it has seen, as the others do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import aiohttp
import httpx
import pytest
import requests

from tests.runtime.notebooks import Notebook, Service

READERS = {
    "httpx": "async with httpx.AsyncClient() as c, c.stream('GET', origin) as answer:\n"
    "        log.append('head'); queue.put_nowait(1)\n"
    "        log.append(len(await answer.aread()))",
    "aiohttp": "async with aiohttp.ClientSession() as c, c.get(origin) as answer:\n"
    "        log.append('head'); queue.put_nowait(1)\n"
    "        log.append(len(await answer.read()))",
}

TASKS = (
    "import asyncio\nlog, queue = [], asyncio.Queue()\n"
    "async def read():\n    {reader}\n"
    "async def work():\n    await queue.get()\n"
    "    for n in range(3): log.append(await service.ask_async(f'a{{n}}'))\n"
    "    die()\n    log.append(await service.ask_async('z'))\n"
    "await asyncio.gather(read(), work())\nprint(sorted(map(str, log)))"
)

THREADS = (
    "import threading, queue as queues, requests\nlog, queue = [], queues.Queue()\n"
    "def read():\n    with requests.get(origin, stream=True) as answer:\n"
    "        log.append('head'); queue.put(1); log.append(len(answer.content))\n"
    "def work():\n    queue.get()\n    for n in range(3): log.append(service.ask(f'a{n}'))\n"
    "    die()\n    log.append(service.ask('z'))\n"
    "threads = [threading.Thread(target=each) for each in (read, work)]\n"
    "[each.start() for each in threads]; [each.join() for each in threads]\n"
    "print(sorted(map(str, log)))"
)

SOURCES = {name: TASKS.format(reader=reader) for name, reader in READERS.items()}
SOURCES["requests in threads"] = THREADS


class _Stalling(BaseHTTPRequestHandler):
    """Sends a head and half of its body; the rest when it may."""

    protocol_version = "HTTP/1.1"
    may_go_on: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6000")
        self.end_headers()
        self.wfile.write(b"a" * 3000)
        self.may_go_on.wait(60)
        self.wfile.write(b"b" * 3000)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return  # who asked has died

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[str]:
    _Stalling.may_go_on.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stalling) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


# The dead leave their sockets open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_a_stream_that_was_cut_among_others_goes_on(
    notebook: Notebook, service: Service, origin: str, source: str
) -> None:
    """H6, H23: the others wait for what its reader did; the reader waits for nobody before that."""
    notebook.names.update(origin=origin, httpx=httpx, aiohttp=aiohttp, requests=requests)
    release = threading.Timer(0.5, _Stalling.may_go_on.set)  # threads die one by one
    release.start()
    notebook.died(source)
    release.join()

    session = notebook.replayed()

    assert session.run.latch is None, session.run.latch
    assert session.text() == "['6000', 'a0: done', 'a1: done', 'a2: done', 'head', 'z: done']\n"
    assert service.requests == ["a0", "a1", "a2", "z"]
