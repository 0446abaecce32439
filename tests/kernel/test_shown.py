"""What a front end shows in the end: as if the kernel were a stock one, and nobody killed it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.sitting import HOLD, Holding, Sitting

pytestmark = pytest.mark.slow

_TIMES = re.compile(r"\[[^\]]*(?:it/s|s/it)\] *|\d+:\d\d:\d\d")
"""How fast a bar went, and when it ended."""

NOTEBOOKS: dict[str, Sequence[str]] = {
    "displays that later cells update": (
        "h = display('made', display_id=True)",
        "h.update('by the second')\nprint('before')\nhold()\nprint('after')\nh.update('at last')",
        (
            "from IPython.display import update_display\n"
            "update_display('by the third', display_id=h.display_id)"
        ),
        "display('one', display_id='named'); display('two', display_id='named', update=True)",
    ),
    "clear_output in a loop": (
        (
            "from IPython.display import clear_output\n"
            "for n in range(6):\n    clear_output(wait=True)\n    print('waiting', n)\n"
            "    if n == 3: hold()"
        ),
        "for n in range(3):\n    print('at once', n)\n    clear_output(wait=False)\nprint('end')",
        "print('goes'); clear_output(wait=True)",
    ),
    "tqdm": (
        "import sys, time\nfrom tqdm.auto import tqdm as auto\nfrom tqdm import tqdm",
        "for n in tqdm(range(4), file=sys.stdout, mininterval=0):\n    if n == 2: hold()",
        "for n in tqdm(range(3)): pass\nfor n in auto(range(3), desc='auto'): pass",
    ),
    "tqdm.notebook": (
        "from tqdm.notebook import tqdm, trange",
        "for n in tqdm(range(4), desc='rows', mininterval=0):\n    if n == 2: hold()",
        "for n in trange(2, desc='outer'):\n    for m in trange(2, leave=False): pass",
    ),
    "rich": (
        "from rich.progress import Progress\nfrom rich.table import Table\nimport rich",
        (
            "with Progress(auto_refresh=False) as bars:\n"
            "    task = bars.add_task('rows', total=4)\n"
            "    for n in range(4):\n        bars.update(task, advance=1, refresh=True)\n"
            "        if n == 2: hold()\n        bars.print('did', n)"
        ),
        (
            "rich.print('[bold red]red[/] text', {'a': [1, 2]})\n"
            "table = Table('a', 'b'); table.add_row('1', '2'); rich.print(table)"
        ),
        "from rich.console import Console; Console().print_json('{\"a\": 1}')",
    ),
    "matplotlib": (
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 3, 2]); plt.title('shown at the end')\nprint('text')\nhold()",
        "fig, ax = plt.subplots(); ax.bar(['a', 'b'], [1, 2]); plt.show()\n'after the figure'",
        "fig",
    ),
    "pandas": (
        "import pandas as pd\nframe = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})\nframe",
        "display(frame.style.highlight_max(subset=['a']).set_uuid('u'))\nhold()\nframe.describe()",
    ),
    "tracebacks": (
        (
            "def fails(value):\n    raise KeyError(value)\ndef outer():\n    try: fails('inner')\n"
            "    except KeyError as error: raise ValueError('chained') from error"
        ),
        "hold()\nouter()",
        "1 +",
        "fails(object())",
        "import json; json.loads('{')",
        "raise SystemError('alone')",
        "%run nowhere.py",
    ),
    "text from below Python": (
        "import subprocess, ctypes, os, sys",
        "print('first', flush=True); os.write(1, b'of the descriptor\\n')\nhold()",
        "print('last')",
        "ctypes.CDLL(None).puts(b'of C'); _ = ctypes.CDLL(None).fflush(None)",
    ),
    "carriage returns and colours": (
        (
            "import sys\nfor n in range(5):\n    print(f'\\r{n * 25}%', end='', flush=True)\n"
            "    if n == 2: hold()\n"
            "print('\\n\\x1b[31mred\\x1b[0m')\nsys.stdout.write('ab\\bc\\r\\n')"
        ),
    ),
    "a thread that outlives its cell": (
        (
            "import threading\ngo, done = threading.Event(), threading.Event()\n"
            "def work():\n    go.wait()\n    print('of the thread', flush=True)\n    done.set()\n"
            "threading.Thread(target=work).start()\nprint('started')"
        ),
        "print('holds', flush=True)\nhold()\ngo.set(); done.wait()\nprint('done')",
    ),
    "a thread that prints before its next cell is killed": (
        (
            "import threading\ngo, done = threading.Event(), threading.Event()\n"
            "def work():\n    go.wait()\n    print('of the thread', flush=True)\n    done.set()\n"
            "threading.Thread(target=work).start()\nprint('started')"
        ),
        "go.set(); done.wait()\nhold()\nprint('done')",
    ),
    "results": (
        "from IPython.display import HTML, JSON, Markdown, display\nHTML('<b>1</b>')",
        "display(Markdown('*a*'), metadata={'text/markdown': {'x': 1}}); hold(); JSON({'a': [1]})",
        (
            "class Shown:\n    def _repr_mimebundle_(self, **_):\n"
            "        return {'text/plain': 's'}, {'m': 1}\n"
            "Shown()"
        ),
        "_, Out[2].data",
    ),
}
FAILING = {"tracebacks"}
"""A cell that failed is no answer: run again, it has another number."""
FROM_BELOW = ("of the descriptor", "of C")
"""A stock kernel finishes a cell without what its thread has not read of the pipe yet."""


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder where matplotlib finds its list of fonts.

    It makes one else, and tells about that on stderr where it takes more than 5 s.
    """
    folder = str(tmp_path_factory.mktemp("matplotlib"))
    command = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(command, env={**os.environ, "MPLCONFIGDIR": folder}, check=True)
    return folder


@pytest.fixture(scope="module")
def holding() -> Iterator[Holding]:
    with Holding() as service:
        yield service


def _timeless(seen: list[Any]) -> str:
    return _TIMES.sub("[…]", "\n".join(map(repr, seen)))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_killed_kernel_leaves_what_a_stock_one_shows(
    name: str, tmp_path: Path, holding: Holding, request: pytest.FixtureRequest
) -> None:
    """H20: killed within a cell, and either way of resuming; then run once more from the top."""
    cells = [HOLD, *NOTEBOOKS[name]]
    found = {"MPLCONFIGDIR": request.getfixturevalue("fonts")} if name == "matplotlib" else {}
    with Sitting(tmp_path / "stock", holding, module="ipykernel_launcher", **found) as stock:
        expected = _timeless(stock.run(cells, awaited=FROM_BELOW))

    with Sitting(tmp_path / "eager", holding, **found) as eager:
        eagerly = _timeless(eager.run_and_be_killed(cells))
        eager.kernel.kill()
        eager.restart()
        from_the_top = _timeless(eager.run(cells))
    with Sitting(tmp_path / "match", holding, **found) as match:
        matched = _timeless(match.run_and_be_killed(cells, resume="match"))

    assert eagerly == expected
    assert matched == expected
    if name not in FAILING:
        assert from_the_top == expected
