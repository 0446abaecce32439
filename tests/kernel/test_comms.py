"""Messages of widgets on a real kernel that is killed (H38)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed

pytestmark = pytest.mark.slow

WIDGET = """
import time
from comm import create_comm
seen = []
def take(message):
    seen.append((message["content"]["data"], [bytes(each) for each in message["buffers"]]))
    moments.append(time.time())
    print("took", len(seen))
moments = []
widget = create_comm(target_name="a widget")
widget.on_msg(take)
print(widget.comm_id)
"""


def _send(kernel: LiveKernel, comm_id: str, value: Any, buffers: list[bytes] | None = None) -> None:
    content = {"comm_id": comm_id, "data": {"method": "custom", "value": value}}
    message = kernel.client.session.msg("comm_msg", content)
    if buffers:
        kernel.client.session.send(kernel.client.shell_channel.socket, message, buffers=buffers)
    else:
        kernel.client.shell_channel.send(message)


def test_what_a_widget_sent_between_cells_is_there_after_a_kill(start: Start) -> None:
    """H38: the callback ran user code, and later cells saw what it did."""
    kernel = start()
    comm_id = kernel.run(WIDGET).text().split()[0]
    _send(kernel, comm_id, 1)
    kernel.run("between = list(seen)")
    _send(kernel, comm_id, 2, [b"abc"])
    before = kernel.run("seen, moments, between").plain()
    kernel.kill()

    kernel.start()
    after = kernel.run("seen, moments, between")
    _send(kernel, comm_id, 3)
    later = kernel.run("len(seen)")

    assert "[b'abc']" in before
    assert after.plain() == before
    assert after.reply["execution_count"] == 4
    assert later.plain() == "3"


def test_questions_and_messages_to_nobody_leave_no_record(start: Start) -> None:
    """H38: a front end that reconnects asks for the state of all widgets."""
    kernel = start()
    comm_id = kernel.run(WIDGET).text().split()[0]
    content = {"comm_id": comm_id, "data": {"method": "request_state"}}
    kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", content))
    _send(kernel, "nobody", 1)
    kernel.run("len(seen)", store_history=False)  # behind them; `%durable` lines overtake

    shown = kernel.run("%durable status").plain()

    assert "positions      1\n" in shown


def test_a_message_during_a_waiting_cell_is_told_and_taints_it(start: Start) -> None:
    """H38: at which await it came is not recorded."""
    kernel = start()
    comm_id = kernel.run(WIDGET).text().split()[0]
    cell = kernel.ask(
        "import asyncio\nprint('waiting', flush=True)\n"
        "while not seen: await asyncio.sleep(0.05)\nlen(seen)"
    )
    kernel.watch(cell, printed("waiting"))
    _send(kernel, comm_id, 1)

    shown = kernel.wait(cell)

    assert shown.plain() == "1"
    assert "a widget's message asked for" in shown.text("stderr")
