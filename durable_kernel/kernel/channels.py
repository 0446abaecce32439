"""Channels: what of a kernel's sockets has to outlive the process that starts itself anew.

    what was published   has left this process for every client, and not only its queues
    the ports            stay taken, or others are given them before the next process is there

A thread of zmq's own writes to the clients, whenever it gets its turn, and an exec ends it in the
midst. A message is *tracked* to know how far it is: zmq lets go of its memory behind the write.

Imports nothing of Jupyter, as `replacing`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipykernel.iostream import IOPubThread
    from jupyter_client.session import Session

__all__ = ["Ports", "look_for_subscribers", "published"]

_monotonic = time.monotonic
_BATCH_BYTES = 8192
"""zmq copies so much at once before it writes; a message that is larger begins another batch."""
_TICK_S = 0.005


async def published(thread: IOPubThread, session: Session, within_s: float) -> bool:
    """Wait until the system has all that was sent on IOPub so far. False: not in time.

    A client whose buffers are full is waited for, and one that is gone is not. What the system has
    arrives, whatever becomes of this process. Clients are told "busy" once more: the message behind
    which there is nothing.
    """
    trackers: list[Any] = []

    def send_last() -> None:
        filled = {"filled": " " * _BATCH_BYTES}
        message = session.msg("status", {"execution_state": "busy"}, metadata=filled)
        frames = session.serialize(message, b"status")
        last: Any = thread.socket
        threshold, last.copy_threshold = last.copy_threshold, 0  # tracked is what is not copied
        try:
            trackers.append(last.send_multipart(frames, copy=False, track=True))
        finally:
            last.copy_threshold = threshold

    thread.schedule(send_last)
    until = _monotonic() + within_s
    while not (trackers and trackers[0].done):
        if _monotonic() > until:
            return False
        await asyncio.sleep(_TICK_S)
    return True


def look_for_subscribers(thread: IOPubThread) -> None:
    """Let a thread find who subscribed while it was sending. Safe from any thread.

    zmq tells once that something came, and it is a send, too, that it tells.
    """
    stream: Any = getattr(thread, "_xpub_stream", None)
    if stream is not None:
        thread.schedule(stream.flush)


class Ports:
    """Ports that stay this kernel's own: sockets that are bound to them, and listen to nobody.

    Who listens on such a port has to say SO_REUSEADDR, as zmq does; the system gives it to nobody
    who asks for any port. Without it each port would be free for as long as a process takes to
    start. Only on Linux: elsewhere two sockets can't have one port that way.
    """

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        self.descriptors: Sequence[int] = tuple(descriptors)

    @classmethod
    def taken(cls, ip: str, ports: Iterable[int]) -> Ports:
        """Take those ports of an address that are free; 0 is none."""
        return cls(filter(None, (_bound(ip, port) for port in ports if port)))

    def outlive_exec(self, *, outlives: bool) -> None:
        """Let the process that takes this one's place inherit them, or not."""
        for each in self.descriptors:
            os.set_inheritable(each, outlives)


def _bound(ip: str, port: int) -> int | None:
    if sys.platform != "linux":
        return None
    # What is suppressed: it is taken, or no address of IPv4.
    with suppress(OSError, ValueError), socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("" if ip == "*" else ip, port))
        return bound.detach()
    return None
