"""Replies come in the order, and on the channels, that they have in the stock kernel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel

pytestmark = pytest.mark.slow

FAILS_WHEN_ALL_ARE_THERE = """
import time
backlog = get_ipython().kernel.backlog
while len(backlog.unfinished()) < 5:
    time.sleep(0.01)
1/0
"""


def on_control(kernel: LiveKernel, code: str) -> dict[str, Any]:
    """Send an execute request on the control channel; return its reply."""
    session, channel = kernel.client.session, kernel.client.control_channel
    message = session.msg("execute_request", {"code": code})
    channel.send(message)
    while True:
        reply: dict[str, Any] = kernel.client.get_control_msg(timeout=120)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return reply


def test_what_waits_behind_a_cell_is_answered_behind_it(start: Start) -> None:
    kernel = start()
    kernel.run("'restored'")

    asked = [
        kernel.ask(FAILS_WHEN_ALL_ARE_THERE),
        kernel.client.kernel_info(),
        kernel.ask("never = 1"),
        kernel.client.comm_info(),
        kernel.client.inspect("print"),
    ]
    replies: list[dict[str, Any]] = []
    while len(replies) < len(asked):
        reply = kernel.client.get_shell_msg(timeout=120)
        if reply["parent_header"]["msg_id"] in asked:
            replies.append(reply)

    assert [each["parent_header"]["msg_id"] for each in replies] == asked
    statuses = [each["content"]["status"] for each in replies]
    assert statuses == ["error", "ok", "aborted", "ok", "ok"]
    assert kernel.run("'never' in globals()").plain() == "False"


def test_code_on_the_control_channel_runs_beside_the_cells_and_that_is_told(start: Start) -> None:
    kernel = start()
    kernel.run("a = 1")

    replies = [on_control(kernel, "b = a + 1")["content"], on_control(kernel, "1/0")["content"]]
    shown = kernel.run("b")
    again = kernel.run("b")

    assert replies[0]["status"] == "ok"
    assert replies[1]["ename"] == "ZeroDivisionError"
    assert shown.plain() == "2"
    assert "control channel" in shown.text("stderr")
    assert "control channel" not in again.text("stderr")


def test_code_on_the_control_channel_is_not_restored(start: Start) -> None:
    kernel = start()
    kernel.run("a = 1")
    on_control(kernel, "b = 2")
    kernel.kill()
    kernel.start()

    shown = kernel.run("a, 'b' in globals()")

    assert shown.plain() == "(1, False)"
