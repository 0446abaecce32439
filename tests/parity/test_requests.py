"""What a front end asks beside cells: the same answers, live and after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Start
from tests.parity.both import Both, answered, both_kernels

pytestmark = pytest.mark.slow

CELLS = (
    "val = 3; other = 4; d = {'key': 1}",
    "class C:\n    'doc of C'\n    attr = 'x'\n    def method(self, a=1): 'doc of m'\nobj = C()",
    "def fun(a, *, b=2):\n    'doc of fun'\n    return a",
    "obj.attr, val",
    "from comm import create_comm\nc = create_comm('target', data={})",
)
RANGE = {
    "hist_access_type": "range",
    "session": 0,
    "start": 1,
    "stop": 4,
    "output": True,
    "raw": True,
}
LOOK = {
    "code": "val",
    "silent": False,
    "store_history": False,
    "user_expressions": {"a": "val", "b": "1/0", "c": "fun.__name__"},
}
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("complete", {"code": "obj.me", "cursor_pos": 6}),
    ("complete", {"code": "obj.attr.up", "cursor_pos": 11}),
    ("complete", {"code": "%tim", "cursor_pos": 4}),
    ("complete", {"code": "import colors", "cursor_pos": 13}),
    ("complete", {"code": "d['", "cursor_pos": 3}),
    ("inspect", {"code": "obj", "cursor_pos": 3, "detail_level": 0}),
    ("inspect", {"code": "fun", "cursor_pos": 3, "detail_level": 1}),
    ("inspect", {"code": "fun(", "cursor_pos": 4, "detail_level": 0}),
    ("inspect", {"code": "%time", "cursor_pos": 5, "detail_level": 0}),
    ("inspect", {"code": "missing", "cursor_pos": 5, "detail_level": 0}),
    ("history", {"hist_access_type": "tail", "n": 3, "output": False, "raw": True}),
    ("history", {"hist_access_type": "tail", "n": 2, "output": True, "raw": False}),
    ("history", RANGE),
    ("history", {"hist_access_type": "search", "pattern": "val*", "output": False, "raw": True}),
    ("is_complete", {"code": "for i in x:"}),
    ("is_complete", {"code": "1 + 1"}),
    ("is_complete", {"code": "async def f():\n  await g()"}),
    ("is_complete", {"code": "x = )"}),
    ("comm_info", {}),
    ("comm_info", {"target_name": "none"}),
    ("execute", LOOK),
    ("execute", {"code": "", "user_expressions": {"a": "val"}}),
    ("execute", {"code": "silent = 1", "silent": True}),
)


def require_alike(kernels: Both) -> None:
    for kind, content in REQUESTS:
        brought = {name: answered(each, kind, content) for name, each in kernels.items()}
        assert brought["durable"] == brought["stock"], (kind, content)


def test_requests_are_answered_as_in_the_stock_kernel_also_after_a_kill(tmp_path: Path) -> None:
    with both_kernels(tmp_path) as kernels:
        for code in CELLS:
            for each in kernels.values():
                each.run(code)

        require_alike(kernels)
        kernels["durable"].kill()
        kernels["durable"].start()

        require_alike(kernels)
        assert kernels["durable"].run("silent").plain() == "1"


def test_a_cell_that_asks_to_exit_keeps_its_state(start: Start) -> None:
    """As in the stock kernel the reply asks, and the front end decides."""
    kernel = start()
    kernel.run("kept = 1")

    asked = kernel.run("quit")
    kernel.kill()
    kernel.start()

    assert [each["source"] for each in asked.reply["payload"]] == ["ask_exit"]
    assert kernel.run("kept").plain() == "1"


def test_a_cell_that_reads_a_line_where_nobody_can_answer_fails_the_same_way(start: Start) -> None:
    kernel = start()
    code = "try:\n    input('name? ')\nexcept Exception as error:\n    told = repr(error)"

    kernel.run(code, allow_stdin=False)
    before = kernel.run("told").plain()
    kernel.kill()
    kernel.start()

    assert "StdinNotImplementedError" in before
    assert kernel.run("told  # again").plain() == before
