"""A resumed cell under a real server: what it shows again stays below the server's limits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.testing.front_end import FrontEnd
from tests.kernel.serving import Server, is_idle, text_of
from tests.kernel.sitting import HOLD, Holding, is_told_by_us

pytestmark = pytest.mark.slow

TEXT_BYTES = 3_600_000
"""More than a server lets pass within its window of 3 s, as are so many displays."""
DISPLAYS = 3_600

MUCH = """
print('begun', flush=True)
for n in range({lines}):
    print(str(n).zfill(9) * 1_111, flush=True)
for n in range({displays}):
    display(n)
hold()
print('end')
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    running.start()
    yield running
    running.close()


def test_what_a_resumed_cell_shows_again_is_not_dropped_by_the_server(server: Server) -> None:
    """What the first process shows, at once, nobody looks at: a server would drop that."""
    kernel_id = server.open_notebook("a.ipynb")
    channel = server.connect(kernel_id)
    front_end = FrontEnd()
    with Holding() as holding:
        channel.run(HOLD.replace('os.environ["HOLD"]', repr(holding.url)))
        pid = int(text_of(channel.run("os.getpid()")))
        asked = channel.ask(MUCH.format(lines=TEXT_BYTES // 10_000, displays=DISPLAYS))
        front_end.execute("cell", asked)
        channel.collect(asked, lambda each: "begun" in each["content"].get("text", ""))
        channel.close()
        assert holding.arrived.wait(120)
        another = server.connect(kernel_id)
        os.kill(pid, signal.SIGKILL)
        holding.may_answer.set()

        for message in another.collect(asked, is_idle):
            kind, content = message["msg_type"], message["content"]
            if not is_told_by_us(kind, content):
                front_end.receive(asked, kind, content)

    text, *displays, end = front_end.seen("cell")
    lines = "".join(str(n).zfill(9) * 1_111 + "\n" for n in range(TEXT_BYTES // 10_000))
    assert text == ("stdout", f"begun\n{lines}")
    assert [data["text/plain"] for _, data, _ in displays] == [str(n) for n in range(DISPLAYS)]
    assert end == ("stdout", "end\n")
