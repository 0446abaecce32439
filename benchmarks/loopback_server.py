"""The services of row 4: every GET gets the same small JSON, on a connection that is kept.

    python -m benchmarks.loopback_server bare       a socket and a constant: hides nothing
    python -m benchmarks.loopback_server ordinary   the HTTP server of the standard library
    python -m benchmarks.loopback_server working    the bare socket, after a millisecond

Prints its port, then serves until it is killed.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_FLIGHT = {"id": 7, "name": "a flight", "delays": [3, 0, 12, 5], "ok": True}
_BODY = json.dumps(_FLIGHT).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def _serve(connection: socket.socket, works_s: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = b""
    with connection:
        while received := connection.recv(65536):
            waiting += received
            while b"\r\n\r\n" in waiting:
                _, _, waiting = waiting.partition(b"\r\n\r\n")
                if works_s:
                    time.sleep(works_s)
                connection.sendall(_ANSWER)


def _bare(works_s: float = 0.0) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, works_s), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = json.dumps(_FLIGHT).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _ordinary() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    services = {"bare": _bare, "ordinary": _ordinary, "working": lambda: _bare(0.001)}
    services[sys.argv[1]]()
