"""What a cell brings in the stock kernel, it brings here; and a killed kernel has it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.live import HELD, LiveKernel, Shown, printed
from tests.parity.both import Both, both_kernels, seen, told

pytestmark = pytest.mark.slow

PAST_PYTHON = f"import os; os.write(1, b'past python\\n')\n{HELD}"
"""The stock kernel has a thread read the pipe beside the cell, and does not wait for it."""

CELLS = [
    "x = 41",
    "print('out'); import sys; print('err', file=sys.stderr)",
    "x + 1",
    "_ + 1",
    "1/0",
    "def f():\n    raise ValueError('within')\nf()",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "this is no python",
    "  a = 1\n b = 2",
    "def g(:",
    "raise ValueError('a') from KeyError('b')",
    "try:\n    1/0\nexcept ZeroDivisionError as error:\n    raise RuntimeError('x') from error",
    "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "def outer():\n    return inner()\ndef inner():\n    return [].pop()\nouter()",
    "import traceback\ntry:\n    outer()\nexcept IndexError:\n    traceback.print_exc()",
    "class E(Exception):\n    def _render_traceback_(self): return ['its own']\nraise E",
    "assert x == 1, 'no'",
    "import warnings\nwarnings.warn('careful', stacklevel=1)",
    "warnings.warn('careful', stacklevel=9)",
    "import logging; logging.warning('logged')",
    "from IPython.display import HTML, Markdown, display, clear_output as clear",
    "display(HTML('<b>b</b>'), display_id='one')",
    "display(HTML('<i>i</i>'), display_id='one', update=True); clear(wait=True)",
    "handle = display('shown', display_id=True); handle.update('updated')",
    "display(Markdown('*a*'), metadata={'of': 'its own'})",
    "import asyncio\nawait asyncio.sleep(0.01)\nprint('async')",
    "async def count():\n    for i in range(3):\n        await asyncio.sleep(0)\n        yield i",
    "log = []\nasync for i in count():\n    log.append(i)",
    "class D:\n async def __aenter__(_): log.append(1)\n async def __aexit__(*_): log.append(2)",
    "async with D():\n    log.append('inside')",
    "[i async for i in count()], await asyncio.gather(asyncio.sleep(0, 2))",
    "%%capture c\nprint('hidden')",
    "c.stdout",
    "",
    "len(In), sorted(Out)",
    "import inspect\ndef g(): return 7\ninspect.getsource(g)",
    "get_ipython().__class__.__name__, 'IPKernelApp' in get_ipython().config",
    "k = get_ipython().kernel\nk.shell is get_ipython(), sorted(k.shell_handlers)",
    "k.get_parent()['content']['code'], k.execution_count, k.language_info['name']",
    "get_ipython().get_parent()['header']['msg_type']",
    "get_ipython().ex('y = 5'); get_ipython().ev('y')",
    "__name__, '__file__' in globals(), sys.stdout.isatty(), sys.stdout.encoding",
    "%history -n 1-2",
    "?len",
    "get_ipython().set_next_input('next', replace=True)",
    PAST_PYTHON,
    "sys.stdout.write('no newline')",
    "import threading; thread = threading.Thread(target=print, args=('from a thread',))",
    "thread.start(); thread.join()",
    "names = sorted(name for name in globals() if not name.startswith('_')); names",
]
# What is not recorded, or ends the run's life: not for the restored kernel.
LAST = [
    "!echo from a shell",
    "a = !echo captured\na",
    "%%bash\necho from bash",
    "%pip --version",
    "%%writefile written.txt\ntext",
    "open('written.txt').read()",
    "exit",
]
STATE = "x, log, names, c.stdout, y, handle.display_id is not None, len(In) > 1, sorted(Out)[:3]"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One kernel of each sort, used by all tests of this file in order."""
    with both_kernels(tmp_path_factory.mktemp("both")) as kernels:
        yield kernels


def run(kernel: LiveKernel, code: str, **options: Any) -> Shown:
    """Execute; a cell that writes past Python ends once that is seen."""
    if code != PAST_PYTHON:
        return kernel.run(code, **options)
    asked = kernel.ask(code, **options)
    begun = kernel.watch(asked, printed("past python"))
    kernel.let_go()
    ended = kernel.wait(asked)
    return Shown(ended.reply, begun.messages + ended.messages)


def test_cells_bring_what_they_bring_in_the_stock_kernel_and_are_restored(both: Both) -> None:
    for code in CELLS:
        options = {"user_expressions": {"e": "x + 1"}} if code == "x + 1" else {}

        brought = {name: seen(each, run(each, code, **options)) for name, each in both.items()}

        assert brought["durable"] == brought["stock"], code
    kernel = both["durable"]
    before = kernel.run(STATE)
    kernel.kill()
    kernel.start()
    first = told(kernel.run("'another cell'"))
    after = kernel.run(f"{STATE}  # after")
    both["stock"].run(STATE)
    assert before.status == "ok", before.reply
    assert after.plain() == before.plain()
    assert "printed something else" not in first


def test_cells_that_are_not_recorded_bring_the_same_and_are_told(both: Both) -> None:
    for code in LAST:
        shown = {name: each.run(code) for name, each in both.items()}
        brought = {name: seen(both[name], each) for name, each in shown.items()}
        for reply, *_ in brought.values():
            reply.pop("execution_count")

        assert brought["durable"][0] == brought["stock"][0], code
        assert brought["durable"][2:] == brought["stock"][2:], code
        if code.startswith(("!", "%")):
            assert "durable: cell " in shown["durable"].text("stderr"), code


def test_kernel_info_differs_by_the_absence_of_subshells_only(tmp_path: Path) -> None:
    infos = []
    for module in ("durable_kernel", "ipykernel_launcher"):
        (tmp_path / module).mkdir()
        kernel = LiveKernel(tmp_path / module, module=module)
        try:
            kernel.start()
            kernel.client.kernel_info()
            infos.append(kernel.client.get_shell_msg(timeout=120)["content"])
        finally:
            kernel.close()

    features = [info.pop("supported_features") for info in infos]
    for info in infos:
        del info["banner"]  # holds a tip of the day

    assert infos[0] == infos[1]
    assert set(features[1]) - set(features[0]) == {"kernel subshells"}
