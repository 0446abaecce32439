"""What the stock kernel does, this one does: each request goes to both, and brings the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.live import LiveKernel, Shown

CELLS = [
    "x = 41",
    "print('out'); import sys; print('err', file=sys.stderr)",
    "x + 1",
    "_ + 1",
    "1/0",
    "def f():\n    raise ValueError('within')\nf()",
    "raise SystemExit",
    "this is no python",
    "from IPython.display import HTML, display, clear_output as clear",
    "display(HTML('<b>b</b>'), display_id='one')",
    "display(HTML('<i>i</i>'), display_id='one', update=True); clear(wait=True)",
    "import asyncio\nawait asyncio.sleep(0.01)\nprint('async')",
    "%%capture c\nprint('hidden')",
    "c.stdout",
    "",
    "len(In), sorted(Out)",
    "import inspect\ndef g(): return 7\ninspect.getsource(g)",
    "get_ipython().__class__.__name__, 'IPKernelApp' in get_ipython().config",
    "%history -n 1-2",
    "?len",
    "get_ipython().set_next_input('next')",
    "!echo from a shell",
    "a = !echo captured\na",
    "import warnings\nwarnings.warn('careful', stacklevel=9)",
    "exit",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LiveKernel]]:
    """One kernel of each sort, used by all tests of this file in order."""
    kernels = []
    for name, module in (("durable", "durable_kernel"), ("stock", "ipykernel_launcher")):
        folder = tmp_path_factory.mktemp(name)
        kernels.append(LiveKernel(folder, module=module))
        kernels[-1].start()
    yield kernels
    for kernel in kernels:
        kernel.close()


def test_cells_bring_what_they_bring_in_the_stock_kernel(both: list[LiveKernel]) -> None:
    durable, stock = both
    for code in CELLS:
        options = {"user_expressions": {"e": "x + 1"}} if code == "x + 1" else {}

        ours, theirs = durable.run(code, **options), stock.run(code, **options)

        assert _essence(ours) == _essence(theirs), code


def test_kernel_info_differs_by_the_absence_of_subshells_only(tmp_path: Path) -> None:
    infos = []
    for module in ("durable_kernel", "ipykernel_launcher"):
        (tmp_path / module).mkdir()
        kernel = LiveKernel(tmp_path / module, module=module)
        try:
            kernel.start()
            kernel.client.kernel_info()
            infos.append(kernel.client.get_shell_msg(timeout=10)["content"])
        finally:
            kernel.close()

    features = [info.pop("supported_features") for info in infos]
    for info in infos:
        del info["banner"]  # holds a tip of the day

    assert infos[0] == infos[1]
    assert set(features[1]) - set(features[0]) == {"kernel subshells"}


def _essence(shown: Shown) -> Any:
    """What a user sees; streams joined, because their cut depends on timing."""
    reply = {key: value for key, value in shown.reply.items() if key != "engine_info"}
    others = [each for each in shown.messages if each[0] != "stream"]
    told = shown.text("stderr").splitlines(keepends=True)
    own = [line for line in told if not line.startswith("durable: ")]
    return reply, others, shown.text("stdout"), own
