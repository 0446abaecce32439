"""Web sockets are not recorded: the cell is told and tainted, a replay stops before it (rule 9).

Each library makes its connection in another way; all of them are seen where it is made.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from durable_kernel.errors import TaintedPositionError, WorldClosedError
from tests.effects.http_service import HttpService
from tests.runtime.notebooks import Notebook

TALKS = {
    "websockets": (
        "import websockets.asyncio.client as client\n"
        "async def talk():\n"
        "    async with client.connect(url) as socket:\n"
        "        await socket.send('you')\n        return await socket.recv()\n"
        "def talk_now(): return asyncio.run(talk())"
    ),
    "websockets, sync": (
        "import websockets.sync.client as client\n"
        "def talk_now():\n"
        "    with client.connect(url) as socket:\n"
        "        socket.send('you')\n        return socket.recv()"
    ),
    "websocket-client": (
        "import websocket\n"
        "def talk_now():\n"
        "    socket = websocket.create_connection(url, timeout=60)\n"
        "    socket.send('you')\n    found = socket.recv()\n    socket.close()\n    return found"
    ),
    "aiohttp": (
        "import aiohttp\n"
        "async def talk():\n"
        "    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:\n"
        "        await socket.send_str('you')\n        return await socket.receive_str()\n"
        "def talk_now(): return asyncio.run(talk())"
    ),
    "httpx-ws": (
        "import httpx_ws\n"
        "def talk_now():\n"
        "    with httpx_ws.connect_ws(url) as socket:\n"
        "        socket.send_text('you')\n        return socket.receive_text()"
    ),
}


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory, notebook: Notebook) -> Iterator[HttpService]:
    folder = tmp_path_factory.mktemp("sockets")
    running = HttpService.start(folder, module="tests.effects.socket_service")
    notebook.names["url"] = running.origin.replace("http", "ws")
    yield running
    running.stop()
    with warnings.catch_warnings():  # who is stopped before connecting leaves its socket behind
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("source", TALKS.values(), ids=TALKS.keys())
def test_the_cell_is_told_and_is_not_executed_again_by_itself(
    source: str, notebook: Notebook, service: HttpService
) -> None:
    session = notebook.lived(f"import asyncio\n{source}\nprint(talk_now())")
    said = service.hits()

    with pytest.raises(TaintedPositionError, match="did something the journal does not hold"):
        notebook.replayed()

    (position,) = session.run.read_outline().positions
    assert session.text() == "hello you\n"
    assert position.is_tainted
    assert said == ["connected", "said you"]
    assert service.hits() == said


@pytest.mark.parametrize("source", TALKS.values(), ids=TALKS.keys())
def test_a_replaying_cell_says_nothing(
    source: str, notebook: Notebook, service: HttpService
) -> None:
    """Rule 9: as where the code was edited, or a package does more than it did."""
    notebook.names["is_quiet"] = True
    notebook.lived(f"import asyncio\n{source}\nif not is_quiet: talk_now()", "x = 1")
    notebook.names["is_quiet"] = False

    again = notebook.replayed()

    assert isinstance(again.run.latch, WorldClosedError) or again.run.state == "diverged"
    assert service.hits() == []
