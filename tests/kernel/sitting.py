"""A sitting: somebody at a notebook, whose kernel is killed at a place that the test chooses.

The place is a request that is not answered: `hold()` in a cell asks this process, which answers a
stock kernel at once, and a durable one not before its second process asks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from durable_kernel.testing.front_end import FrontEnd
from tests.kernel.live import LiveKernel, Shown, printed

__all__ = ["HOLD", "Holding", "Sitting", "is_told_by_us"]

HOLD = """
import os, urllib.request
def hold(url=os.environ["HOLD"]):
    urllib.request.urlopen(url).read()
"""
_WAIT_S = 120.0


class Holding:
    """A service that keeps its callers waiting until it is told to answer."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        holding = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                holding.arrived.set()
                holding.may_answer.wait(_WAIT_S)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Sitting:
    """One notebook, one kernel after the other, and the front end that stays."""

    def __init__(
        self, folder: Path, holding: Holding, *, module: str = "durable_kernel", **variables: str
    ) -> None:
        folder.mkdir()
        self._holding = holding
        self.front_end = FrontEnd()
        self.kernel = LiveKernel(folder, module=module, HOLD=holding.url, **variables)
        self.kernel.on_message = self._receive

    def __enter__(self) -> Self:
        self.kernel.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self.kernel.close()

    def run(self, cells: Sequence[str], awaited: Sequence[str] = ()) -> list[Any]:
        """Run all cells; returns what is in them in the end.

        `awaited`: texts that a stock kernel shows when it comes to it, which may be after the
        cell that names them; who sits there goes on when they are there.
        """
        self._holding.may_answer.set()
        for number, source in enumerate(cells):
            asked, shown = self._run(number, source)
            for text in awaited:
                if text in source and text not in shown.text():
                    self.kernel.watch(asked, printed(text))
        return self.seen(cells)

    def run_and_be_killed(self, cells: Sequence[str], *, resume: str = "eager") -> list[Any]:
        """Run all cells; the kernel is killed where one holds, and the next one goes on."""
        self._holding.arrived.clear()
        self._holding.may_answer.clear()
        number = next(n for n, source in enumerate(cells) if "hold()" in source)
        for each in range(number):
            self._run(each, cells[each])
        held = self._send(number, cells[number])
        assert self._holding.arrived.wait(_WAIT_S), self.kernel.log()
        self.kernel.settle()
        self.kernel.kill()
        self._holding.may_answer.set()
        self.restart(DURABLE_RESUME=resume)
        if resume == "match":
            return self.run(cells)
        self.kernel.watch(held, lambda seen: seen == ("status", {"execution_state": "idle"}))
        for each in range(number + 1, len(cells)):
            self._run(each, cells[each])
        return self.seen(cells)

    def restart(self, **variables: str) -> None:
        """Start the next kernel; the front end knows that it is another one."""
        self.kernel.start(**variables)
        self.front_end.reconnect()

    def seen(self, cells: Sequence[str]) -> list[Any]:
        return [self.front_end.seen(number) for number in range(len(cells))]

    def _run(self, number: int, source: str) -> tuple[str, Shown]:
        """Run a cell, again where it came right behind an error reply: `LiveKernel.run`."""
        while True:
            asked = self._send(number, source)
            shown = self.kernel.wait(asked)
            if shown.status != "aborted":
                return asked, shown

    def _send(self, number: int, source: str) -> str:
        asked = self.kernel.ask(source)
        self.front_end.execute(number, asked)
        return asked

    def _receive(self, message: Mapping[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if not is_told_by_us(kind, content):
            self.front_end.receive(message["parent_header"].get("msg_id", ""), kind, content)


def is_told_by_us(kind: str, content: Mapping[str, Any]) -> bool:
    """Tell whether the kernel says something about itself, which a stock kernel does not."""
    if kind == "stream":
        is_ours: bool = content["name"] == "stderr" and content["text"].startswith("durable: ")
        return is_ours
    display = (content.get("transient") or {}).get("display_id") or ""
    return str(display).startswith("durable-restoring-")
