"""A web socket that says hello, in another process. It logs connections and what is said.

Run as a program it is the service itself: `-m tests.effects.socket_service LOG`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from websockets.sync.server import Server, ServerConnection, serve


def main(log: str) -> None:
    """Serve until killed; print the port first."""

    def talk(connection: ServerConnection) -> None:
        for message in connection:
            _note(log, f"said {message!s}")
            connection.send(f"hello {message!s}")

    def note_request(connection: ServerConnection, request: object) -> None:
        _note(log, "connected")

    server: Server
    with serve(talk, "127.0.0.1", 0, process_request=note_request) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def _note(log: str, line: str) -> None:
    with Path(log).open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
