"""Who listens to IOPub is noticed, whenever it comes: what is published before reaches nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from ipykernel.iostream import IOPubThread

from durable_kernel.kernel.app import DurableKernelApp
from durable_kernel.kernel.channels import look_for_subscribers
from tests.kernel.conftest import Start

_WAIT_S = 120
CLOCK = """
import os, time
ahead_s = int(os.environ.get("AHEAD_S", "0"))
then, then_ns = time.monotonic, time.monotonic_ns
time.monotonic = lambda: then() + ahead_s
time.monotonic_ns = lambda: then_ns() + ahead_s * 10**9
"""


class _Heard:
    """An IOPub of its own, and one who listens."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.publishing = self.context.socket(zmq.XPUB)
        self.publishing.bind("inproc://iopub")
        self.listening = self.context.socket(zmq.SUB)
        self.listening.connect("inproc://iopub")
        self.thread = IOPubThread(self.publishing, pipe=False)
        self.app = DurableKernelApp()

    def close(self) -> None:
        self.thread.stop()
        self.thread.close()
        self.listening.close()
        self.context.term()


@pytest.fixture
def heard() -> Iterator[_Heard]:
    iopub = _Heard()
    yield iopub
    iopub.close()


def test_who_subscribes_before_the_thread_runs_is_noticed(heard: _Heard) -> None:
    """On a busy machine a client is there before the kernel's next line."""
    heard.listening.subscribe(b"")
    assert heard.publishing.poll(_WAIT_S * 1000)

    heard.app.iopub_thread = heard.thread
    heard.thread.start()

    assert heard.app.has_subscriber.wait(_WAIT_S)


def test_who_subscribes_while_the_thread_sends_is_found_by_a_look(heard: _Heard) -> None:
    """An event is told once, and who sends may be told in place of who receives."""
    heard.app.iopub_thread = heard.thread
    heard.thread.start()
    taken = threading.Event()

    def take_the_event() -> None:
        heard.listening.subscribe(b"")
        while not heard.publishing.poll(0):
            continue
        taken.set()

    heard.thread.schedule(take_the_event)
    assert taken.wait(_WAIT_S)
    look_for_subscribers(heard.thread)

    assert heard.app.has_subscriber.wait(_WAIT_S)


@pytest.mark.slow
def test_a_line_that_waits_for_who_listens_waits_no_longer_than_that(
    start: Start, tmp_path: Path
) -> None:
    """H15: timers from before the run was open would wait for all that time, here an hour."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    kernel = start(PYTHONPATH=str(tmp_path))
    kernel.run("x = 7")
    kernel.kill()
    kernel.client.iopub_channel.stop()

    process = kernel.spawn(AHEAD_S="3600")
    asked = kernel.client.execute("%durable status")
    reply = kernel.reply_to(asked)

    assert reply["status"] == "ok"
    process.kill()
    process.wait()
