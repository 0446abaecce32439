"""Prompting: `input()` waits for a client that can answer, however long it takes.

ipykernel sends its question once, into the void if the client is not connected: right after a
start, or when the cell is finished in a new process and its client is gone. Here a question is sent
when its receiver is reachable, and again to a client that attaches to the cell (H35).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import zmq
from ipykernel.jsonutil import json_clean

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Receiver", "ask_client", "refuse_unreachable"]

_POLL_S = 0.05
_END_OF_FILE = "\x04"

Receiver = tuple[Any, Any]
"""Routing identities and parent message of who is asked."""


def refuse_unreachable(socket: Any) -> None:
    """Let sending to a client that is not connected fail, instead of dropping the message."""
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)


def ask_client(
    kernel: DurableKernel, prompt: str, receiver: Callable[[], Receiver], *, is_secret: bool
) -> str:
    """Ask, and wait for the answer. `receiver` says who is to be asked now; it may change.

    Raises EOFError for an end of file, KeyboardInterrupt when the user interrupts.
    """
    socket = kernel.stdin_socket
    content = json_clean({"prompt": prompt, "password": is_secret})
    _drop_stale(socket)
    asked: Receiver | None = None
    while True:
        idents, parent = receiver()
        if asked != (idents, parent) and _send(kernel, content, idents, parent):
            asked = (idents, parent)
        readable, _, broken = zmq.select([socket], [], [socket], _POLL_S)
        if not readable and not broken:
            continue
        try:
            _, reply = kernel.session.recv(socket)
        except ValueError:
            kernel.log.warning("Invalid message on stdin", exc_info=True)
            continue
        if reply is None:
            continue
        value = str(reply["content"].get("value", ""))
        if value == _END_OF_FILE:
            raise EOFError
        return value


def _send(kernel: DurableKernel, content: Any, idents: Any, parent: Any) -> bool:
    try:
        kernel.session.send(kernel.stdin_socket, "input_request", content, parent, ident=idents)
    except zmq.ZMQError as error:
        if error.errno != zmq.EHOSTUNREACH:
            raise
        return False
    return True


def _drop_stale(socket: Any) -> None:
    """Forget answers to questions that nobody waits for any more."""
    while socket.poll(0):
        socket.recv_multipart()
