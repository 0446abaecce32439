"""Outputs: journaled before they are seen, the last of them before the commit (H20)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from durable_kernel.history import Committed, Opened, Output, Record
from durable_kernel.runtime import records_of
from durable_kernel.store import Store
from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, printed

pytestmark = pytest.mark.slow

TRAILING = {
    "a print": "print('last')",
    "a print without its line's end": "import sys; sys.stdout.write('last')",
    "text of stderr": "import sys; print('last', file=sys.stderr)",
    "a write to the descriptor": "import os; os.write(1, b'last\\n')",
    "a child": "import subprocess; _x = subprocess.run(['echo', 'last'])",
    "a shell line": "!echo last",
    "a thread": "import threading\n"
    "t = threading.Thread(target=print, args=('last',)); t.start(); t.join()",
    "much text": "print('x' * 300_000 + 'last')",
    "a result": "'last'",
    "a display": "from IPython.display import display; display('last')",
    "an error": "raise ValueError('last')",
}


def _records(kernel: LiveKernel) -> Iterator[Record]:
    store = Store(kernel.folder / "home")
    place = store.get("nightly")
    records = records_of(store, place.run_id, with_objects=False)
    for frame in store.frames(place):
        yield records.unpack(frame)


def _outputs(kernel: LiveKernel) -> list[list[Output]]:
    """The outputs of each position, up to its commit."""
    positions: list[list[Output]] = [[]]
    for record in _records(kernel):
        if isinstance(record, Output):
            positions[-1].append(record)
        elif isinstance(record, Committed):
            positions.append([])
    return positions


def test_the_last_output_is_in_the_journal_before_the_commit(start: Start) -> None:
    """H20."""
    kernel = start()
    for code in TRAILING.values():
        kernel.run(code)

    kernel.kill()

    outputs = _outputs(kernel)
    assert len(outputs) == len(TRAILING) + 1
    for (what, _), found in zip(TRAILING.items(), outputs, strict=False):
        assert any("last" in _text(each) for each in found), what


def test_what_was_shown_is_what_the_journal_holds(start: Start) -> None:
    kernel = start()
    shown = kernel.run("for i in range(200): print('line', i)\n'end'")

    kernel.kill()

    (first, _) = _outputs(kernel)
    journaled = "".join(_text(each) for each in first if each.kind == "stream")
    assert journaled == shown.text()
    assert [each.kind for each in first][-1] == "execute_result"


def test_text_after_the_commit_is_late_and_names_its_position(start: Start) -> None:
    """H20."""
    kernel = start()
    asked = kernel.ask(
        "import os, sys, threading, time\n"
        "def later():\n    while not os.path.exists('let go'): time.sleep(0.02)\n"
        "    sys.stdout.write('late\\n')\n"
        "threading.Thread(target=later).start()"
    )
    kernel.wait(asked)
    kernel.let_go()
    kernel.watch(asked, printed("late"))

    kernel.kill()

    (late,) = [each for each in _records(kernel) if isinstance(each, Output)]
    assert late.late == 0
    assert _text(late) == "late\n"


def test_a_forked_child_prints_into_the_cell(start: Start) -> None:
    kernel = start()
    asked = kernel.ask(
        "import os, sys\nif os.fork() == 0:\n"
        "    print('of the child'); sys.stdout.flush(); os._exit(0)\n_ = os.wait()"
    )
    kernel.watch(asked, printed("of the child"))

    kernel.kill()

    found = [each for each in _records(kernel) if isinstance(each, Output)]
    assert "of the child" in [_text(each) for each in found]


def test_each_process_opens_the_run_once(start: Start) -> None:
    kernel = start()
    kernel.run("1")
    kernel.kill()
    kernel.start()
    kernel.run("2")

    kernel.kill()

    assert sum(isinstance(each, Opened) for each in _records(kernel)) == 2


def test_text_from_below_python_is_not_compared_and_other_text_is(start: Start) -> None:
    """H20: its place among the prints is a race, which is no news for anybody."""
    racing = "import os\nfor n in range(40):\n    print(n); _ = os.write(1, b'below\\n')"
    kernel = start(NOW="then")
    kernel.run(racing)
    kernel.run("print(os.environ['NOW'])")
    kernel.kill()

    kernel.start(NOW="now")
    told = kernel.run("1").text("stderr")

    assert "cell 1 printed something else" in told
    assert "cell 0 printed something else" not in told


def _text(output: Output) -> str:
    content: Any = output.content
    if output.blob is not None:
        return "last, in a blob"
    return str(content["text"] if output.kind == "stream" else content)
