"""Secrets in a real kernel: what front ends get is what is written, without them (H18)."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import Shown
from tests.runtime.canary import hidden_in, plant

pytestmark = pytest.mark.slow

MARK = "‹secret CANARY_TOKEN›"

CELLS = (
    "import os, sys, base64\nt = os.environ['CANARY_TOKEN']\nprint(t, t.encode())",
    "print(dict(CANARY_TOKEN=t), file=sys.stderr)",
    "import sys; os.write(1, t.encode() + b'\\n')",
    "from IPython.display import HTML, display\ndisplay(HTML(f'<b>{t}</b>'))",
    "display({'application/json': {'deep': [t]}, 'text/plain': t}, raw=True)",
    "{'a': t}",
    "base64.b64encode(b'me:' + t.encode()).decode()",
    "import subprocess; subprocess.run(['echo', t])",
    "h = display('x', display_id=True)\nh.update(t)",
    "def fails(value):\n    raise ValueError(f'no {value}')\nfails(t)",
)


def test_what_a_forked_child_prints_is_redacted_where_it_is_shown(start: Start) -> None:
    """Its messages reach the front end through a pipe, past the session of the kernel.

    ipykernel sends each write of a child over a connection of its own, so the four of this line may
    arrive in any order, and after the cell: only which ones come is promised.
    """
    token = plant("kernel")
    kernel = start(CANARY_TOKEN=token)
    awaited = ["child", " ", MARK, "\n"]

    asked = kernel.ask(
        "import os, sys\nif os.fork() == 0:\n"
        "    print('child', os.environ['CANARY_TOKEN']); sys.stdout.flush(); os._exit(0)\n"
        "_ = os.wait()"
    )
    shown = Shown()
    kernel.watch(asked, lambda _: len(shown.text()) >= len("".join(awaited)), shown)
    kernel.kill()

    assert sorted(shown.text()) == sorted("".join(awaited))
    assert MARK in shown.text()
    assert token not in repr(shown.messages)
    assert hidden_in(kernel.folder / "home", {"token": token}) == {}


def test_no_output_error_or_reply_of_a_kernel_holds_a_registered_value(start: Start) -> None:
    """Also of fd 1, of children, and in what the journal keeps of all that."""
    token = plant("kernel")
    kernel = start(CANARY_TOKEN=token)

    shown = [kernel.run(code) for code in CELLS]
    asked = kernel.run("1", user_expressions={"e": "t"})
    kernel.kill()

    assert token not in repr([(each.messages, each.reply) for each in [*shown, asked]])
    assert [n for n, each in enumerate(shown) if MARK not in repr(each.outputs)] == []
    assert MARK in repr(shown[-1].reply)
    assert MARK in repr(asked.reply)
    assert hidden_in(kernel.folder / "home", {"token": token}) == {}
