"""What tools send beside the cells, on a real kernel that is killed (H38)."""

from __future__ import annotations

import pytest

from durable_kernel.kernel.beside import stores_something
from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel


def _positions(kernel: LiveKernel) -> int:
    (line,) = [
        each for each in kernel.run("%durable status").plain().splitlines() if "positions" in each
    ]
    return int(line.split()[1])


@pytest.mark.slow
def test_what_tools_set_is_there_after_a_kill(start: Start) -> None:
    """H38: VS Code's set-up, Elyra's environment, a tool that injects data, user_expressions."""
    kernel = start()
    kernel.run("__vsc_ipynb_file__ = '/project/a.ipynb'", store_history=False)
    kernel.run("import os; os.environ['ELYRA_RUN'] = 'r-1'", silent=True)
    kernel.run("first = __vsc_ipynb_file__")
    kernel.run("data = [1, 2]; print('injected')", silent=True)
    kernel.run("", user_expressions={"n": "(total := sum(data))"})
    kernel.run("path = ['a']")
    kernel.run("path.append('b')", silent=True)
    kernel.kill()

    kernel.start()
    shown = kernel.run("__vsc_ipynb_file__, first, os.environ['ELYRA_RUN'], data, total, path")

    assert shown.status == "ok", (shown.reply, shown.outputs, kernel.log())
    assert shown.plain() == (
        "('/project/a.ipynb', '/project/a.ipynb', 'r-1', [1, 2], 3, ['a', 'b'])"
    )
    assert shown.reply["execution_count"] == 3
    assert "restored 2 cells" in shown.told()


@pytest.mark.slow
def test_looking_costs_nothing_and_changes_no_out(start: Start) -> None:
    """H38: a variable explorer asks after each cell."""
    kernel = start()
    kernel.run("41 + 1")

    looked = kernel.run("list(globals())[:1]", store_history=False)
    kernel.run("print(type(_))", silent=True)
    kernel.run("", user_expressions={"last": "_"})
    after_looks = _positions(kernel)
    kernel.run("__vsc_ipynb_file__ = 'a.ipynb'", store_history=False)
    kernel.run("__vsc_ipynb_file__ = 'a.ipynb'", store_history=False)
    after_setting = _positions(kernel)
    shown = kernel.run("_, Out")

    assert looked.plain() == "['__name__']"
    assert shown.plain() == "(42, {1: 42})"
    assert (after_looks, after_setting) == (1, 2)


@pytest.mark.slow
def test_in_match_mode_inputs_are_matched_or_replayed_unsent(start: Start) -> None:
    """H38: a runner's tool sends its set-up again, or it does not."""
    kernel = start(DURABLE_RESUME="match")
    kernel.run("base = 1", silent=True)
    kernel.run("print(base)")
    kernel.run("base = 2", silent=True)
    kernel.run("print(base)")
    kernel.kill()

    kernel.start()
    kernel.run("base = 1", silent=True)
    texts = [kernel.run("print(base)").text(), kernel.run("print(base)").text()]
    count = kernel.run("third = base").reply["execution_count"]

    assert texts == ["1\n", "2\n"]
    assert count == 3


@pytest.mark.parametrize(
    ("source", "has_shown", "expected"),
    [
        ("config['a'] = 1", True, True),
        ("del config['a']", True, True),
        ("obj.name = 'x'", True, True),
        ("for obj.x in range(3): pass", True, True),
        ("data.append(1)", False, True),
        ("await f()", False, True),
        ("data.append(1)", True, False),
        ("data.size", False, False),
        ("def helper(o):\n    o.x = 1\n    o.f()", False, False),
        ("x = 1 +", False, False),
    ],
)
def test_code_that_means_to_change_something_is_told_from_code_that_looks(
    source: str, *, has_shown: bool, expected: bool
) -> None:
    assert stores_something(source, has_shown=has_shown) is expected
