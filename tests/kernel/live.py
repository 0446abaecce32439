"""A real kernel process and one client of it, on one connection file over all its processes.

The client is not restarted with the kernel: like a front end it keeps its identity, so that what a
resumed cell sends reaches the request of the killed process. The kernel gets a home of its own.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

_WAIT_S = 120.0


@dataclass
class Shown:
    """What one request brought: its reply, and its messages on IOPub in order."""

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply.get("status"))

    @property
    def outputs(self) -> list[tuple[str, dict[str, Any]]]:
        return [each for each in self.messages if each[0] not in ("status", "execute_input")]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.outputs]

    def text(self, name: str = "stdout") -> str:
        return "".join(
            content["text"]
            for kind, content in self.messages
            if kind == "stream" and content["name"] == name
        )

    def plain(self) -> str:
        """The text of results and displays, but not of progress."""
        return "\n".join(
            content["data"]["text/plain"]
            for _, content in self.outputs
            if "data" in content and "durable" not in str(content.get("transient"))
        )


class LiveKernel:
    """Start, ask, kill, start again."""

    def __init__(
        self,
        folder: Path,
        *,
        module: str = "durable_kernel",
        connection_name: str = "connection.json",
        arguments: Sequence[str] = (),
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.folder = folder
        self.before = before
        self._module = module
        self._arguments = arguments
        self._environment = environment
        self.connection_file = folder / connection_name
        write_connection_file(str(self.connection_file), key=b"a key of this test")
        self.client = BlockingKernelClient(connection_file=str(self.connection_file))
        self.client.load_connection_file()
        self.process: subprocess.Popen[bytes] | None = None
        self._unread: deque[dict[str, Any]] = deque()
        self.on_message: Callable[[dict[str, Any]], None] = lambda _message: None
        """Called with each message of IOPub that is looked at, whatever it belongs to."""

    def environ(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_"))
        }
        return {
            **inherited,
            "DURABLE_HOME": str(self.folder / "home"),
            "DURABLE_RUN": "nightly",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_DATA_DIR": str(self.folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONHASHSEED": "0",
            **self._environment,
        }

    def start(self, **environment: str) -> float:
        """Start a process; returns the seconds until it answered kernel_info."""
        began = time.monotonic()
        self.adopt(self.spawn(**environment))
        return time.monotonic() - began

    def command(self) -> list[str]:
        return [
            *self.before,
            *(sys.executable, "-m", self._module, "-f", str(self.connection_file)),
            *self._arguments,
        ]

    def spawn(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process and wait for nothing."""
        with (self.folder / "kernel.log").open("ab") as log:
            return subprocess.Popen(
                self.command(),
                env={**self.environ(), **environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until this process, or one that it started, answers."""
        self.process = process
        if not self.client.channels_running:
            self.client.start_channels()
        self._wait_for_info()

    def _wait_for_info(self) -> None:
        """Ask until an answer came on both channels: a subscription needs a moment, too."""
        deadline = time.monotonic() + _WAIT_S
        asked = set()
        while time.monotonic() < deadline:
            asked.add(self.client.kernel_info())
            try:
                while True:
                    reply = self.client.get_shell_msg(timeout=0.5)
                    if reply["parent_header"].get("msg_id") in asked:
                        break
                while True:
                    message = self.client.get_iopub_msg(timeout=0.2)
                    self._unread.append(message)
                    if message["parent_header"].get("msg_id") in asked:
                        return
            except queue.Empty:
                assert self.process is not None
                assert self.process.poll() is None, self.log()
        raise AssertionError(f"no kernel_info_reply within {_WAIT_S} s\n{self.log()}")

    def put_back(self, messages: Sequence[dict[str, Any]]) -> None:
        """Let messages of IOPub that were read for something else be read again."""
        self._unread.extend(messages)

    def _next_message(self) -> dict[str, Any] | None:
        message: dict[str, Any]
        if self._unread:
            message = self._unread.popleft()
        else:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                return None
        self.on_message(message)
        return message

    def name_session(self) -> None:
        """Mark the connection file as servers do for the kernel of a notebook."""
        content = json.loads(self.connection_file.read_text())
        self.connection_file.write_text(json.dumps({**content, "jupyter_session": "named"}))

    def ask(self, code: str, **options: Any) -> str:
        """Send an execute request; returns its id."""
        asked: str = self.client.execute(code, **options)
        return asked

    def run(self, code: str, **options: Any) -> Shown:
        """Execute and wait for reply and idle.

        Every kernel aborts what comes in right behind an error reply, for a moment that a client
        cannot see; nothing of it ran, so it is asked again, as people do.
        """
        deadline = time.monotonic() + _WAIT_S
        while True:
            shown = self.wait(self.ask(code, **options))
            if shown.status != "aborted" or time.monotonic() > deadline:
                return shown

    def wait(self, asked: str, timeout_s: float = _WAIT_S) -> Shown:
        """Collect what belongs to a request until its idle status, then its reply."""
        shown = Shown()
        self.watch(asked, lambda seen: seen == ("status", {"execution_state": "idle"}), shown)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            reply = self.client.get_shell_msg(timeout=timeout_s)
            if reply["parent_header"].get("msg_id") == asked:
                shown.reply = reply["content"]
                return shown
        raise AssertionError(f"no reply\n{self.log()}")

    def watch(
        self,
        asked: str,
        until: Callable[[tuple[str, dict[str, Any]]], bool],
        shown: Shown | None = None,
        timeout_s: float = _WAIT_S,
    ) -> Shown:
        """Collect the IOPub messages of a request until one of them is the one waited for."""
        shown = shown or Shown()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self._next_message()
            if message is None or message["parent_header"].get("msg_id") != asked:
                continue
            shown.messages.append((message["msg_type"], message["content"]))
            if until(shown.messages[-1]):
                return shown
        raise AssertionError(f"not seen within {timeout_s} s: {shown.messages}\n{self.log()}")

    def kill(self) -> None:
        """Kill -9: no byte leaves the process any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)

    def shut_down(self, *, restart: bool) -> int:
        """Stop as servers do: SIGINT, a shutdown request, and wait. Returns the exit status."""
        assert self.process is not None
        self.interrupt()
        self.client.shutdown(restart=restart)
        return self.process.wait(timeout=_WAIT_S)

    def log(self) -> str:
        path = self.folder / "kernel.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.client.stop_channels()
        self.client.context.destroy(linger=0)


def printed(text: str) -> Callable[[tuple[str, dict[str, Any]]], bool]:
    """Tell whether a message is stream output that holds `text`."""
    return lambda seen: seen[0] == "stream" and text in seen[1]["text"]
