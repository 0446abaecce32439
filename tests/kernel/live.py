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
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from durable_kernel.runtime.vitals import Doing, read_signs
from tests.kernel.sockets import reserved_port, unread_bytes

_WAIT_S = 120.0
_CHANNELS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
_LONG = 256
"""From this size on ZMTP writes nine bytes before a frame, else two."""

HELD = "import os, time\nwhile not os.path.exists('let go'): time.sleep(0.02)\n"
"""Lines of a cell that end once `let_go` was called, in whichever process they run."""


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

    def told(self) -> str:
        """Everything on stderr, and the progress: in it stands what is told of a slow restoration.

        Whether a request waited long enough to be shown any is a matter of the machine.
        """
        shown = [content["data"]["text/plain"] for _, content in self.outputs if "data" in content]
        return self.text("stderr") + "\n".join(shown)


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
        self._reserved = [reserved_port() for _ in _CHANNELS]
        self._ports = {
            name: each.getsockname()[1]
            for name, each in zip(_CHANNELS, self._reserved, strict=True)
        }
        write_connection_file(str(self.connection_file), key=b"a key of this test", **self._ports)
        self.client = BlockingKernelClient(connection_file=str(self.connection_file))
        self.client.load_connection_file()
        self.process: subprocess.Popen[bytes] | None = None
        self._unread: deque[dict[str, Any]] = deque()
        self._of_others: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._replies: dict[str, dict[str, Any]] = {}
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

    def _next_message_of(self, asked: str) -> dict[str, Any] | None:
        kept = self._of_others[asked]
        if kept:
            return kept.popleft()
        message = self._next_message()
        if message is None or (belongs_to := message["parent_header"].get("msg_id")) == asked:
            return message
        self._of_others[belongs_to or ""].append(message)
        return None

    def name_session(self) -> None:
        """Mark the connection file as servers do for the kernel of a notebook."""
        content = json.loads(self.connection_file.read_text())
        self.connection_file.write_text(json.dumps({**content, "jupyter_session": "named"}))

    def ask(self, code: str, **options: Any) -> str:
        """Send an execute request; returns its id."""
        asked: str = self.client.execute(code, **options)
        return asked

    def ask_together(self, *cells: tuple[str, str | None]) -> list[str]:
        """Send cells, each with its id if it has one, that are there before the first is begun.

        A front end sends the cells of Run All in one go; this process may stand still in between.
        """
        messages = [
            self.client.session.msg(
                "execute_request",
                {
                    "code": code,
                    "silent": False,
                    "store_history": True,
                    "user_expressions": {},
                    "allow_stdin": True,
                    "stop_on_error": True,
                },
                metadata={} if cell_id is None else {"cellId": cell_id},
            )
            for code, cell_id in cells
        ]
        with self.standing_still():
            for message in messages:
                self.hand_over("shell", message)
        return [str(message["header"]["msg_id"]) for message in messages]

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the process by SIGSTOP; what it is sent inside, it finds all at once."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            deadline = time.monotonic() + _WAIT_S
            while not stands_still(self.process.pid):
                assert time.monotonic() < deadline, "it goes on"
                time.sleep(0.001)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def hand_over(self, name: str, message: dict[str, Any]) -> None:
        """Send a message; returns once it is in the socket of the process that stands still."""
        assert self.process is not None
        session, port = self.client.session, self._ports[f"{name}_port"]
        sizes = list(map(len, session.serialize(message)))
        enough = unread_bytes(port) + sum(sizes) + sum(2 if n < _LONG else 9 for n in sizes)
        session.send(getattr(self.client, f"{name}_channel").socket, message)
        deadline = time.monotonic() + _WAIT_S
        while unread_bytes(port) < enough and stands_still(self.process.pid):
            assert time.monotonic() < deadline, f"what was sent does not arrive\n{self.log()}"
            time.sleep(0.001)

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
        shown.reply = self.reply_to(asked, timeout_s)
        return shown

    def reply_to(self, asked: str, timeout_s: float = _WAIT_S) -> dict[str, Any]:
        """Wait for the reply to a request of the shell channel; others' replies stay for them."""
        deadline = time.monotonic() + timeout_s
        while asked not in self._replies:
            assert time.monotonic() < deadline, f"no reply\n{self.log()}"
            reply = self.client.get_shell_msg(timeout=timeout_s)
            self._replies[reply["parent_header"].get("msg_id", "")] = reply["content"]
        return self._replies.pop(asked)

    def watch(
        self,
        asked: str,
        until: Callable[[tuple[str, dict[str, Any]]], bool],
        shown: Shown | None = None,
        timeout_s: float = _WAIT_S,
    ) -> Shown:
        """Collect the IOPub messages of a request until one of them is the one waited for.

        What belongs to others stays for those who wait for them later.
        """
        shown = shown or Shown()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self._next_message_of(asked)
            if message is None:
                continue
            shown.messages.append((message["msg_type"], message["content"]))
            if until(shown.messages[-1]):
                return shown
        raise AssertionError(f"not seen within {timeout_s} s: {shown.messages}\n{self.log()}")

    def settle(self) -> None:
        """Wait until what the kernel published so far is here: zmq sends on a thread of its own."""
        message = self.client.session.msg("kernel_info_request")
        self.client.control_channel.send(message)
        is_idle = ("status", {"execution_state": "idle"})
        self.watch(message["header"]["msg_id"], lambda seen: seen == is_idle)

    def kill(self) -> None:
        """Kill -9: no byte leaves the process any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)

    def shut_down(self, *, restart: bool) -> int:
        """Stop as servers do: SIGINT, a shutdown request, and wait. Returns the exit status.

        The process gets both at once, as from a sender that does not stand still in between: it
        waits a moment only for the request behind a signal.
        """
        assert self.process is not None
        message = self.client.session.msg("shutdown_request", {"restart": restart})
        with self.standing_still():
            self.interrupt()
            self.hand_over("control", message)
        return self.process.wait(timeout=_WAIT_S)

    def let_go(self) -> None:
        """Let cells end that are `HELD`."""
        (self.folder / "let go").touch()

    def hold_again(self) -> None:
        """Let cells that are `HELD` hold from now on, and those that are executed again."""
        (self.folder / "let go").unlink()

    def wait_for_restoring(self, position: int) -> None:
        """Wait until the process executes a recorded position again."""
        folder, deadline = self.folder / "home/runs/nightly", time.monotonic() + _WAIT_S
        while True:
            signs = read_signs(folder)
            if (signs.doing, signs.position) == (Doing.RESTORING, position):
                return
            assert time.monotonic() < deadline, f"it restores nothing\n{self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        path = self.folder / "kernel.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.client.stop_channels()
        self.client.context.destroy(linger=0)
        for each in self._reserved:
            each.close()


def printed(text: str) -> Callable[[tuple[str, dict[str, Any]]], bool]:
    """Tell whether the messages so far hold `text`, which may stand in several of them."""
    so_far = {"stdout": "", "stderr": ""}

    def is_there(seen: tuple[str, dict[str, Any]]) -> bool:
        kind, content = seen
        if kind == "stream":
            so_far[content["name"]] += content["text"]
        return any(text in each for each in so_far.values())

    return is_there


def stands_still(pid: int) -> bool:
    """Tell whether SIGSTOP has reached all threads of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    states = (path.joinpath("stat").read_text().rpartition(")")[2].split()[0] for path in threads)
    return all(each == "T" for each in states)
