"""The debugger stops where it stops in the stock kernel, and no replay stumbles over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_kernel.kernel.identity import cell_folder
from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel
from tests.parity.both import told
from tests.parity.debugging import DebugClient

pytestmark = pytest.mark.slow

CODE = "def double(a):\n    b = a * 2\n    return b\nvalue = double(21)"
RUN = "debugged-by-a-test"
UNHURRIED = {
    "PYDEVD_WARN_EVALUATION_TIMEOUT": "600",
    "PYDEVD_WARN_SLOW_RESOLVE_TIMEOUT": "600",
}
"""On a busy machine the debugger would complain on stderr of what took long."""


@pytest.fixture
def kernel(start: Start) -> Iterator[LiveKernel]:
    yield start(DURABLE_RUN=RUN, **UNHURRIED)
    shutil.rmtree(cell_folder(RUN), ignore_errors=True)


def stopped_in(kernel: LiveKernel) -> tuple[DebugClient, str, dict[str, Any]]:
    """Stop the kernel in `double`. Returns the client, the request and the frame."""
    client = DebugClient(kernel)
    client.attach()
    path = client.stop_at(CODE, 3)
    asked = kernel.ask(CODE)
    frames = client.wait_until_stopped()
    assert [(each["name"], each["line"]) for each in frames] == [("double", 3), ("<module>", 4)]
    assert {each["source"]["path"] for each in frames} == {path}
    return client, asked, frames[0]


def test_a_debugged_cell_is_recorded_and_restored_without_a_debugger(kernel: LiveKernel) -> None:
    kernel.run("before = 1")
    client, asked, frame = stopped_in(kernel)
    seen = client.variables(frame)
    client.go_on()
    shown = kernel.wait(asked)
    client.request("disconnect", restart=False, terminateDebuggee=False)
    kernel.run("import time; after = time.time()")
    kernel.kill()
    kernel.start()

    restored = kernel.run("before, value, after > 0")

    assert seen == {"a": "21", "b": "42"}
    assert (shown.status, shown.text("stderr")) == ("ok", "")
    assert restored.plain() == "(1, 42, True)"
    assert "restored 3 cells" in told(restored)


def test_a_cell_killed_at_a_breakpoint_is_finished_by_the_next_process(kernel: LiveKernel) -> None:
    _, asked, _ = stopped_in(kernel)
    kernel.kill()
    kernel.start()

    finished = kernel.wait(asked)

    assert finished.status == "ok"
    assert kernel.run("value").plain() == "42"


def test_a_breakpoint_stops_in_a_cell_that_was_restored_before(kernel: LiveKernel) -> None:
    kernel.run(CODE)
    kernel.kill()
    kernel.start()
    kernel.run("'restored'")
    client = DebugClient(kernel)
    client.attach()
    path = client.stop_at(CODE, 3)

    asked = kernel.ask("double(5)")
    frames = client.wait_until_stopped()
    client.go_on()

    assert (frames[0]["name"], frames[0]["source"]["path"]) == ("double", path)
    assert kernel.wait(asked).plain() == "10"


def test_what_is_changed_in_a_stopped_cell_is_told_on_it(kernel: LiveKernel) -> None:
    client, asked, frame = stopped_in(kernel)

    changed = client.request("setExpression", expression="b", value="7", frameId=frame["id"])
    client.go_on()
    shown = kernel.wait(asked)
    value = kernel.run("value").plain()
    kernel.kill()
    kernel.start()
    refused = kernel.run("value")

    assert changed["success"]
    assert value == "7"
    assert "it was changed in the debugger" in shown.text("stderr")
    assert "it was changed in the debugger" in refused.reply["evalue"]


def test_what_the_debugger_changes_between_cells_is_told(kernel: LiveKernel) -> None:
    client = DebugClient(kernel)
    client.attach()

    client.request("evaluate", expression="1 + 1", context="hover")
    looked = kernel.run("1")
    client.request("evaluate", expression="made = 1", context="repl")
    changed = kernel.run("2")

    assert "not journaled" not in looked.text("stderr")
    assert "not journaled" in changed.text("stderr")


def test_a_folder_of_somebody_else_is_not_used(start: Start, tmp_path: Path) -> None:
    """A name in the folder of temporary files can be taken by anybody, before the run has it."""
    taken = Path(cell_folder(f"{RUN}-taken"))
    taken.symlink_to(tmp_path)
    try:
        client = DebugClient(start(DURABLE_RUN=f"{RUN}-taken"))

        client.attach()
        path = client.request("dumpCell", code="1")["body"]["sourcePath"]

        assert Path(path).parent != taken
        assert not list(tmp_path.glob("*.py"))
    finally:
        taken.unlink()
