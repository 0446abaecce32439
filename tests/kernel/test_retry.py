"""A failed cell in a real kernel: `%durable retry`, and notebooks that expect an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.kernel.conftest import Start


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server that counts: its origin, and the paths that were asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetching(origin: str, *, breaks_at: int | None, last: int = 5) -> str:
    breaks = f"    if n == {breaks_at}: raise ValueError(n)\n" if breaks_at is not None else ""
    return (
        f"import httpx\nfor n in range({last}):\n    answer = httpx.get(f'{origin}/{{n}}').text\n"
        f"{breaks}'fetched'"
    )


def test_a_failed_cell_is_run_again_on_what_was_fetched(
    start: Start, asked: tuple[str, list[str]]
) -> None:
    origin, paths = asked
    kernel = start()
    kernel.run("kept = 'before'")
    failed = kernel.run(fetching(origin, breaks_at=3))
    assert failed.status == "error"

    told = kernel.run("%durable retry")
    done = kernel.run(fetching(origin, breaks_at=None))

    assert "4 recorded calls are at hand" in told.plain()
    assert done.plain() == "'fetched'"
    assert paths == ["/0", "/1", "/2", "/3", "/4"]
    assert "4 calls were reused" in done.text("stderr")
    assert kernel.run("kept").plain() == "'before'"


def test_there_is_nothing_to_try_again_where_nothing_failed(start: Start) -> None:
    kernel = start()
    kernel.run("x = 1")

    told = kernel.run("%durable retry")

    assert told.reply["ename"] == "UsageError"
    assert kernel.run("x").plain() == "1"


def test_a_notebook_that_expects_an_error_replays_it(
    start: Start, asked: tuple[str, list[str]]
) -> None:
    """Tagged `raises-exception`, it is sent with `stop_on_error` false: that is no failure."""
    origin, paths = asked
    kernel = start(DURABLE_RESUME="match")
    cell = fetching(origin, breaks_at=1)
    kernel.run(cell, stop_on_error=False)
    kernel.kill()
    kernel.start()

    again = kernel.run(cell, stop_on_error=False)

    assert again.reply["ename"] == "ValueError"
    assert paths == ["/0", "/1"]

    kernel.kill()
    kernel.start()
    kernel.run(cell)

    assert paths == ["/0", "/1", "/1"]
