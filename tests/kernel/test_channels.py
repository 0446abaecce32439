"""What of the sockets outlives a process that starts itself anew, without a kernel."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest
import zmq
from ipykernel.iostream import IOPubThread
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


@pytest.fixture
def thread(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[IOPubThread]:
    """An IOPub thread as kernels have one."""
    socket = context.socket(zmq.XPUB)
    socket.linger = 0
    socket.bind_to_random_port("tcp://127.0.0.1")
    thread = IOPubThread(socket, session=Session())
    thread.start()
    yield thread
    thread.stop()
    thread.close()


def _client(context: zmq.Context[zmq.Socket[bytes]], thread: IOPubThread) -> zmq.Socket[bytes]:
    """A client that was welcomed: what is sent from now on is sent to it."""
    client = context.socket(zmq.SUB)
    client.rcvhwm = 1
    client.subscribe(b"")
    client.connect(thread.socket.last_endpoint.decode())
    client.recv_multipart()
    return client


def test_what_a_client_does_not_take_is_waited_for(
    context: zmq.Context[zmq.Socket[bytes]], thread: IOPubThread
) -> None:
    """Its buffers are full: all of it arrives before anybody says that it was published."""
    client = _client(context, thread)
    for _ in range(LARGE):
        thread.schedule(lambda: thread.socket.send(b"." * (1 << 20)))

    with client:
        early = asyncio.run(published(thread, Session(), within_s=0.3))
        sizes = [len(client.recv()) for _ in range(LARGE)]
        client.recv_multipart()  # the one behind which there was nothing
        late = asyncio.run(published(thread, Session(), within_s=60))

    assert (early, late) == (False, True)
    assert set(sizes) == {1 << 20}


def test_without_a_client_nothing_is_waited_for(thread: IOPubThread) -> None:
    thread.schedule(lambda: thread.socket.send(b"nobody hears it"))

    assert asyncio.run(published(thread, Session(), within_s=60))


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
