"""A service that talks HTTP/2, with TLS or by prior knowledge. In another process, and counted.

Run as a program it is the service itself: `-m tests.effects.http2_service LOG [CERTIFICATE]`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

PARTS = [b"one ", b"two ", b"three"]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the version, in three parts; what is posted comes back behind it."""
    if scope["type"] != "http":
        return
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body, is_more = body + message.get("body", b""), message.get("more_body", False)
    await asyncio.to_thread(_log, f"{scope['method']} {scope['path']}\n")
    status = 404 if scope["path"] == "/nothing" else 200
    headers = [(b"set-cookie", b"session=s3cret; Path=/"), (b"x-version", _version(scope))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in (*PARTS, body):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _log(line: str) -> None:
    with Path(sys.argv[1]).open("a") as log:
        log.write(line)


def _version(scope: Any) -> bytes:
    return str(scope["http_version"]).encode()


def main(log: str, certificate: str = "") -> None:
    """Serve until killed; print the port first."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.loglevel = "CRITICAL"
    if certificate:
        config.certfile = config.keyfile = certificate
    print(listening.getsockname()[1], flush=True)
    asyncio.run(serve(application, config, mode="asgi"))


if __name__ == "__main__":
    main(*sys.argv[1:])
