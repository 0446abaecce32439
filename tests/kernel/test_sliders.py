"""A slider that is moved, and code that watches it: kill -9, and it stands where it stood (H38)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel
from tests.kernel.serving import Channel, Server, text_of, wait_until
from tests.runtime.sites import Site

pytestmark = pytest.mark.slow

SLIDER = """
import random, urllib.request
from ipywidgets import IntSlider, VBox, jslink
moved, drawn = [], []
def watch(change):
    moved.append((change["old"], change["new"]))
    drawn.append(random.random())
    urllib.request.urlopen({url!r} + f"/moved/{{slider.value}}", b"x").read()
    print("moved to", slider.value)
slider = IntSlider(max=50)
slider.observe(watch, "value")
box = VBox([slider])
box
"""
STATE = "print((slider.value, moved, drawn, slider.model_id, box.model_id))"


@pytest.fixture
def site() -> Iterator[Site]:
    service = Site()
    yield service
    service.close()


def _moved(site: Site) -> list[str]:
    return [each for each in site.asked if "/moved/" in each]


def _to(model: str, value: int) -> dict[str, Any]:
    """Make the content of what a front end sends when somebody moves a slider."""
    state = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    return {"comm_id": model, "data": state}


def _move(kernel: LiveKernel, model: str, value: int) -> None:
    message = kernel.client.session.msg("comm_msg", _to(model, value))
    kernel.client.shell_channel.send(message)


def _comms(kernel: LiveKernel) -> dict[str, Any]:
    found: dict[str, Any] = kernel.reply_to(kernel.client.comm_info("jupyter.widget"))["comms"]
    return found


def test_a_slider_stands_where_it_was_moved_and_its_watchers_did_nothing_twice(
    start: Start, site: Site
) -> None:
    kernel = start()
    kernel.run(SLIDER.format(url=site.url))
    model = kernel.run("print(slider.model_id)").text().strip()
    for value in (3, 7):
        _move(kernel, model, value)
    kernel.run("between = slider.value")
    _move(kernel, model, 20)
    before, comms = kernel.run(STATE).text(), _comms(kernel)
    kernel.kill()

    kernel.start()
    after = kernel.run(STATE).text()
    comms_after, asked = _comms(kernel), _moved(site)
    _move(kernel, model, 9)
    again = kernel.run("slider.value, moved[-1], between").plain()

    assert before.startswith("(20, [(0, 3), (3, 7), (7, 20)], [")
    assert after == before
    assert comms_after == comms
    assert model in comms
    assert asked == [f"POST /moved/{value}" for value in (3, 7, 20)]
    assert again == "(9, (20, 9), 7)"
    assert _moved(site)[3:] == ["POST /moved/9"]


def test_a_slider_that_was_moved_as_the_last_thing_stands_there_too(
    start: Start, site: Site
) -> None:
    """No cell came after it: the message itself is the last position."""
    kernel = start()
    kernel.run(SLIDER.format(url=site.url))
    model = kernel.run("print(slider.model_id)").text().strip()
    _move(kernel, model, 11)
    wait_until(lambda: _moved(site) == ["POST /moved/11"], "not moved", kernel.log)
    _comms(kernel)  # answered behind the message
    kernel.kill()

    kernel.start()

    assert kernel.run("slider.value, moved").plain() == "(11, [(0, 11)])"
    assert _moved(site) == ["POST /moved/11"]


def _ask_comms(channel: Channel) -> set[str]:
    asked = channel.tell("comm_info_request", {"target_name": "jupyter.widget"})
    found = channel.collect(asked, lambda each: each["msg_type"] == "comm_info_reply")
    return set(found[-1]["content"]["comms"])


def test_under_a_server_a_slider_comes_back_with_its_kernel(tmp_path: Path, site: Site) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        channel = server.connect(server.open_notebook("a.ipynb"))
        channel.run(SLIDER.format(url=site.url))
        model = text_of(channel.run("print(slider.model_id)")).strip()
        pid = int(text_of(channel.run("import os; os.getpid()")))
        channel.tell("comm_msg", _to(model, 5))
        before = text_of(channel.run(STATE))
        comms = _ask_comms(channel)
        os.kill(pid, signal.SIGKILL)

        wait_until(
            lambda: "KernelRestarter: restarting kernel" in server.log(), "no restart", server.log
        )
        after, comms_after = text_of(channel.run(STATE)), _ask_comms(channel)
        channel.tell("comm_msg", _to(model, 6))
        again = text_of(channel.run("moved"))
    finally:
        server.close()

    assert before.startswith("(5, [(0, 5)], [")
    assert after == before
    assert comms_after == comms
    assert again == "[(0, 5), (5, 6)]"
    assert _moved(site) == ["POST /moved/5", "POST /moved/6"]
