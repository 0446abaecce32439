"""A real SIGKILL in the middle of `durable gc --delete` and `durable fork`: every run is whole.

The process kills itself at the n-th change of the disk; `tests/store/test_retention.py` and
`tests/sharing/test_forking.py` do the same at each n with a fake.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from durable_kernel.history import Outline, RecordCodec
from durable_kernel.store import Store
from durable_kernel.store.retention import Policy, plan_sweep
from durable_kernel.store.sweeping import sweep
from tests.runtime.notebooks import Notebook

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from durable_kernel.journal import RealDisk
from durable_kernel.sharing import fork_run
from durable_kernel.store import Store
from durable_kernel.store.retention import Policy, plan_sweep
from durable_kernel.store.sweeping import sweep

home, act, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

class Killing:
    def __init__(self):
        self.real, self.done = RealDisk(), 0
    def __getattr__(self, name):
        def operate(*arguments, **named):
            self.done += 1
            if self.done == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return getattr(self.real, name)(*arguments, **named)
        return operate

store = Store(home, disk=Killing())
if act == "fork":
    fork_run(store, store.get("notebook"))
else:
    policy = Policy(named=("doomed",))
    sweep(store, plan_sweep(store, policy, time.time_ns()), policy, time.time_ns())
"""


def killed(home: Path, act: str, operation: int) -> bool:
    """Run it in a process that is killed at this operation. False: it came to its end."""
    command = [sys.executable, "-c", SCRIPT, str(home), act, str(operation)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def furnished(home: Path) -> Notebook:
    notebook = Notebook(home)
    notebook.service.during = lambda _name: "z" * 100_000
    notebook.lived("x = service.look('large')", "y = 1")
    with notebook.session(run="doomed") as session:
        session.execute("x = service.look('large')")
    return notebook


@pytest.mark.parametrize("act", ["fork", "gc"])
def test_a_kill_leaves_every_run_whole_and_the_next_command_finishes(
    tmp_path: Path, act: str
) -> None:
    operation, step, was_killed = 1, 3, True

    while was_killed:
        home = tmp_path / f"{act}-{operation}"
        notebook = furnished(home)
        was_killed = killed(home, act, operation)
        operation += step
        store = Store(home)
        for place in store.all():
            outline = Outline.of(store.frames(place), RecordCodec())
            assert outline.status == "idle", place.run_id
        policy = Policy(named=("doomed",) if store.exists("doomed") else ())
        much_later_ns = 2 * 10**18
        sweep(store, plan_sweep(store, policy, much_later_ns), policy, much_later_ns)
        assert list(store.runs.glob(".*")) == []
        assert not store.exists("doomed")
        assert notebook.replayed().namespace["y"] == 1

    assert operation > 2 * step
