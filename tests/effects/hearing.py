"""A server that can say when it has heard all that was sent to it until now.

A client that gives up leaves its request with the system, and a server on a busy machine reads it
when it gets to it. Who compares what reached the server waits for that: `wait_until_quiet`.

Each connection is watched for something new while its handler waits (`wait_for`), counts as busy
from then on, and rests again once its request is in the log (`mark_heard`).
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

__all__ = ["HearingServer"]

QUIET_S_MAX = 120.0
LOOK_S = 0.001


class HearingServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: Any) -> None:
        self._lock = threading.Lock()
        self._watched: dict[Any, tuple[socket.socket, ...] | None] = {}
        """By connection what its handler waits for; None while it is busy with what came."""
        self._is_accepting = False
        super().__init__(("127.0.0.1", 0), handler)

    def wait_for(self, connection: Any, *sockets: Any) -> list[Any]:
        """Wait until one of these can be read; whatever that is, it is not heard yet."""
        with self._lock:
            self._watched[connection] = sockets
        readable = [each for each in sockets if _has_unpacked(each)]
        readable = readable or select.select(sockets, [], [])[0]
        with self._lock:
            self._watched[connection] = None
        return readable

    def mark_heard(self, connection: Any) -> None:
        """Say that the request of a connection is in the log."""
        with self._lock:
            self._watched[connection] = ()

    def wait_until_quiet(self) -> None:
        """Return once all is heard that was sent before."""
        ends_at = time.monotonic() + QUIET_S_MAX
        while not self._is_quiet():
            if time.monotonic() > ends_at:
                raise TimeoutError("a connection is neither heard nor over")
            time.sleep(LOOK_S)

    def _is_quiet(self) -> bool:
        with self._lock:
            if self._is_accepting or None in self._watched.values():
                return False
            sockets = [each for some in self._watched.values() for each in some or ()]
            if any(map(_has_unpacked, sockets)):
                return False
            return not select.select([self.socket, *sockets], [], [], 0)[0]

    # --- what the base class calls ---

    def get_request(self) -> tuple[Any, Any]:
        with self._lock:
            self._is_accepting = True
        try:
            return super().get_request()
        except OSError:  # a handshake that came to nothing
            with self._lock:
                self._is_accepting = False
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._watched[request] = (request,)
            self._is_accepting = False
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._watched.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that left in the middle; show anything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _has_unpacked(connection: Any) -> bool:
    """Tell whether a TLS connection has taken bytes from the system that nobody has read."""
    return bool(getattr(connection, "pending", int)())
