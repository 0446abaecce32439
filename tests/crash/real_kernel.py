"""A real kernel for the campaign: its process, one client's shell channel, and the recorder.

The client and the recorder stay while processes come and go. The client does not listen to IOPub:
the one subscriber is the recorder, so what it has not got nobody has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

__all__ = ["KernelDiedError", "KernelHungError", "RealKernel"]

HUNG_S = 120.0
TICK_S = 0.02


class KernelDiedError(Exception):
    """The process is gone."""


class KernelHungError(Exception):
    """Nothing came for longer than anybody waits."""


class RealKernel:
    """Start, ask, kill, start again; `close` at the end."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.pid = 0
        self._run_id = run_id
        self._connection_file = folder / "connection.json"
        write_connection_file(str(self._connection_file), key=b"a key of this campaign")
        self._client = BlockingKernelClient(connection_file=str(self._connection_file))
        self._client.load_connection_file()
        self._client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        self._process: subprocess.Popen[bytes] | None = None
        self._recorded = folder / "iopub.jsonl"
        self._recorded.touch()
        self._recorder = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("recorder.py")),
                str(self._connection_file),
                str(self._recorded),
            ]
        )
        self._before: list[dict[str, Any]] = []  # messages of earlier processes
        self._kill_at = 0.0
        self._deadline = 0.0

    def spawn(self) -> int:
        """Start a process; returns its pid at once."""
        own = {"DURABLE_HOME": str(self.home), "DURABLE_RUN": self._run_id}
        own["DURABLE_POISON_S"] = "0"  # a campaign kills faster than any machine
        folders = {
            name: str(self.folder / name.lower())
            for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        }
        with (self.folder / "kernel.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "durable_kernel", "-f", str(self._connection_file)],
                env={**os.environ, **own, **folders, "PYTHONHASHSEED": "0"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self._before = self.messages()
        self._kill_at = 0.0
        self._deadline = time.monotonic() + HUNG_S
        self.pid = self._process.pid
        return self.pid

    def kill_in(self, seconds: float) -> None:
        """Kill the process once so many seconds have passed."""
        self._kill_at = time.monotonic() + seconds

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait_until_ready(self) -> None:
        """Return once a request is answered, and the recorder gets what it brings.

        Raises KernelDiedError, KernelHungError; so do all that wait here.
        """
        asked: set[str] = set()
        while True:
            asked.add(self._client.kernel_info())
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                self._tick()
                if any(each["parent"] in asked for each in self.messages()):
                    return

    def ask(self, code: str) -> str:
        """Send an execute request; returns its id. An error before it does not abort it."""
        asked: str = self._client.execute(code, stop_on_error=False)
        return asked

    def wait_for_reply(self, asked: str) -> dict[str, Any]:
        """Return the content of the reply to a request."""
        while True:
            reply = self._tick()
            if reply is not None and reply["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = reply["content"]
                return content

    def wait_for_resumed(self, asked: str) -> dict[str, Any] | None:
        """Wait for the end of a cell that was interrupted; return its reply if it came.

        A reply reaches a client only if that connected again before it was sent. That the cell is
        over is told on IOPub as well, for which the kernel waits.
        """
        begun = sum(map(_is_idle_of(asked), self._before))
        while True:
            reply = self._tick()
            if reply is not None and reply["parent_header"].get("msg_id") == asked:
                content: dict[str, Any] = reply["content"]
                return content
            if sum(map(_is_idle_of(asked), self.messages())) > begun:
                return None

    def messages(self) -> list[dict[str, Any]]:
        """Return what the recorder has got so far, of all processes."""
        lines = self._recorded.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines[:-1]]

    def log(self) -> str:
        return (self.folder / "kernel.log").read_text(errors="replace")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._recorder.kill()
        self._recorder.wait()
        self._client.stop_channels()
        self._client.context.destroy(linger=0)

    def _tick(self) -> dict[str, Any] | None:
        """Wait a moment for a reply; kill if it is time, and say if the process is gone."""
        assert self._process is not None
        now = time.monotonic()
        if self._kill_at and now >= self._kill_at:
            self.kill()
        if self._process.poll() is not None:
            raise KernelDiedError(f"exit status {self._process.returncode}")
        if now > self._deadline:
            raise KernelHungError
        try:
            reply: dict[str, Any] = self._client.get_shell_msg(timeout=TICK_S)
        except Empty:
            return None
        return reply


def _is_idle_of(asked: str) -> Callable[[dict[str, Any]], bool]:
    """Tell whether a message says that the request is over."""
    idle = {"kind": "status", "parent": asked, "content": {"execution_state": "idle"}}
    return lambda message: message == idle
