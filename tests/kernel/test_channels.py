"""What of the sockets outlives a process that starts itself anew, without a kernel."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from jupyter_client.session import Session

from durable_kernel.kernel.channels import Ports, published

LARGE = 40
"""So many messages of a megabyte fill what the system keeps for a client."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="two sockets on one port")


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


class _Published:
    """What `published` needs of ipykernel's IOPub thread: here the caller is that thread."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def schedule(self, function: Callable[[], object]) -> None:
        function()


@pytest.fixture
def iopub(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Any]:
    with context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.bind_to_random_port("tcp://127.0.0.1")
        yield _Published(socket)


def _client(context: zmq.Context[zmq.Socket[bytes]], iopub: Any) -> zmq.Socket[bytes]:
    """A client that has subscribed: what is sent from now on is sent to it."""
    client = context.socket(zmq.SUB)
    client.linger, client.rcvhwm = 0, 1
    client.subscribe(b"")
    client.connect(iopub.socket.last_endpoint.decode())
    iopub.socket.recv()
    return client


def test_what_a_client_does_not_take_is_waited_for(
    context: zmq.Context[zmq.Socket[bytes]], iopub: Any
) -> None:
    """Its buffers are full: all of it arrives before anybody says that it was published."""
    client = _client(context, iopub)
    for _ in range(LARGE):
        iopub.socket.send(b"." * (1 << 20))

    with client:
        early = asyncio.run(published(iopub, Session(), within_s=0.3))
        sizes = [len(client.recv()) for _ in range(LARGE)]
        client.recv_multipart()  # the one behind which there was nothing
        late = asyncio.run(published(iopub, Session(), within_s=60))

    assert (early, late) == (False, True)
    assert set(sizes) == {1 << 20}


def test_without_a_client_nothing_is_waited_for(iopub: Any) -> None:
    iopub.socket.send(b"nobody hears it")

    assert asyncio.run(published(iopub, Session(), within_s=60))


@on_linux
def test_a_kept_port_can_be_listened_on_and_is_given_to_nobody() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ports = Ports.taken("127.0.0.1", [port, 0])

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)) as server:  # it says SO_REUSEADDR
        listens_on = server.getsockname()[1]
    for each in ports.descriptors:
        socket.close(each)

    assert len(ports.descriptors) == 1
    assert listens_on == port


def test_an_address_that_is_none_is_not_kept() -> None:
    assert Ports.taken("no address", [50_000]).descriptors == ()
