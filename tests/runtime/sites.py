"""A small web site in this process, in a thread that was there before the run was opened."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

__all__ = ["BODY", "Site"]

BODY = b"".join(b"line %d\n" % number for number in range(5_000))


class Site:
    """What it was asked, with which keys, and what it has: a DELETE finds a thing only once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.server = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(BODY)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(b'{"id": 7}')

            def do_DELETE(self) -> None:
                is_there = f"DELETE {self.path}" not in site.asked
                self._answer(b"deleted" if is_there else b"what?", 200 if is_there else 404)

            def _answer(self, body: bytes, status: int = 200) -> None:
                site.asked.append(f"{self.command} {self.path}")
                site.keys.append(self.headers.get("Idempotency-Key"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Set-Cookie", "session=correct-horse")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler
