"""The nursery: a process that has imported everything once and forks kernels on demand.

A kernel that is forked here is the whole one: sockets, threads, hooks, restoring; it only saves the
half second of its imports. Where a kernel starts itself anew it runs the command that a launcher
would have given, so that such processes are real ones.

The parent speaks lines of JSON over stdin and stdout: `spawn` (answers the pid), `wait` (answers
the exit status as `subprocess` counts it, null after the time), and the end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.witness import Child

__all__ = ["Nursery"]

_POLL_S = 0.005


@dataclass
class Nursery(Child):
    """The nursery as its parent sees it."""

    @classmethod
    def start(cls) -> Nursery:
        """Start one; its first answer comes when all is imported."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gestures.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )
        return cls(process)

    def spawn(self, arguments: list[str], environ: dict[str, str], folder: Path, log: Path) -> int:
        """Fork a kernel; returns its process id."""
        asked = {"arguments": arguments, "environ": environ, "folder": str(folder)}
        return int(self._ask(do="spawn", log=str(log), **asked))

    def wait(self, pid: int, timeout_s: float) -> int | None:
        """Wait for the end of a kernel; None if it did not come in time."""
        status = self._ask(do="wait", pid=pid, timeout_s=timeout_s)
        return None if status is None else int(status)


# --- the process that forks -----------------------------------------------------------------------


def _spawn(command: dict[str, Any], surroundings: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _live(command, surroundings)
        status = 0
    finally:
        os._exit(status)


def _live(command: dict[str, Any], surroundings: Any) -> None:
    """Be a kernel, in the forked process."""
    from durable_kernel.kernel.app import launch
    from durable_kernel.kernel.replacing import Origin

    os.setsid()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(command["environ"])
    os.chdir(command["folder"])
    arguments = command["arguments"]
    sys.argv = ["durable_kernel", *arguments]
    whole = (sys.executable, "-m", "durable_kernel", *arguments)
    origin = Origin(whole, dict(os.environ), str(Path.cwd()), frozenset(), None)
    launch(list(arguments), surroundings, origin)


def _wait(pid: int, timeout_s: float) -> int | None:
    until = time.monotonic() + timeout_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(_POLL_S)


def main() -> None:
    """Serve until stdin ends."""
    from durable_kernel import runtime

    surroundings = runtime.prepare()
    from durable_kernel.kernel import app  # noqa: F401 - after the hooks

    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "spawn":
            answer: int | None = _spawn(command, surroundings)
        else:
            answer = _wait(command["pid"], command["timeout_s"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
