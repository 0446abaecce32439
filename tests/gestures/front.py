"""A front end: one client over all processes of a notebook's kernel, as JupyterLab drives them.

It keeps its identity while kernels come and go, sends cells with their ids, one by one or all at
once, answers what `input` asks, and keeps every message under the request that it belongs to.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from tests.gestures.nursery import Nursery
from tests.kernel.live import stands_still
from tests.kernel.sockets import unread_bytes

__all__ = ["Front", "FrontEndError", "Shown"]

HUNG_S = 60.0
TICK_MS = 50
RECONNECT_MS = 20
PORTS = 5
ARRIVED_S_MAX = 2.0
LONG = 256
"""Frames of ZMTP have two bytes more, from this size on nine."""
_NOTICE = "durable: "


class FrontEndError(Exception):
    """Something that a person would call broken: no answer, or a dead kernel."""


@dataclass
class Shown:
    """What one request brought."""

    reply: dict[str, Any] | None = None
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    idles: int = 0

    @property
    def text(self) -> str:
        """What the cell printed; what was cleared is gone."""
        return "".join(
            content["text"]
            for kind, content in self._kept()
            if kind == "stream" and content["name"] == "stdout"
        )

    @property
    def told(self) -> str:
        """The kernel's own words."""
        return "".join(
            content["text"]
            for kind, content in self.messages
            if kind == "stream" and content["text"].startswith(_NOTICE)
        )

    @property
    def error(self) -> str:
        """Name and sentence of the error that is shown; empty for none."""
        errors = [content for kind, content in self._kept() if kind == "error"]
        return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else ""

    @property
    def status(self) -> str:
        return "" if self.reply is None else str(self.reply["status"])

    @property
    def count(self) -> Any:
        return None if self.reply is None else self.reply.get("execution_count")

    @property
    def plain(self) -> str:
        return "\n".join(
            str(content["data"].get("text/plain"))
            for _, content in self.messages
            if "data" in content
        )

    def _kept(self) -> list[tuple[str, dict[str, Any]]]:
        cleared = [n for n, (kind, _) in enumerate(self.messages) if kind == "clear_output"]
        return self.messages[cleared[-1] :] if cleared else self.messages


class Front:
    """One notebook window. `nursery` forks its kernels; None: they are processes of their own."""

    def __init__(self, folder: Path, nursery: Nursery | None, notebook: Path) -> None:
        self.folder = folder
        self.notebook = notebook
        self.pid = 0
        self._nursery = nursery
        self._process: subprocess.Popen[bytes] | None = None
        self.client: BlockingKernelClient = None  # type: ignore[assignment]
        self.shown: dict[str, Shown] = {}
        self.typed: list[str] = []
        self._taken: list[socket.socket] = []
        self.new_kernel_id()

    # --- kernels ----------------------------------------------------------------------------------

    def new_kernel_id(self) -> None:
        """Stand under another server: its kernel has another id, and this client is new."""
        if self.client is not None:
            self.close_client()
        path = self.folder / "runtime" / f"kernel-{uuid.uuid4()}.json"
        path.parent.mkdir(exist_ok=True)
        shell, iopub, stdin, control, hb = self._take_ports()
        write_connection_file(
            str(path),
            shell_port=shell,
            iopub_port=iopub,
            stdin_port=stdin,
            control_port=control,
            hb_port=hb,
            key=path.stem.encode(),
        )
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "jupyter_session": "named"}))
        self.connection_file = path
        self.kernel_id = path.stem.removeprefix("kernel-")
        self.client = BlockingKernelClient(connection_file=str(path))
        if self._nursery is not None:  # kernels that start fast find clients that come back fast
            self.client.context.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.client.load_connection_file()
        self.client.start_channels(hb=False)

    def _take_ports(self) -> Iterator[int]:
        """Take ports that stay ours while no kernel listens on them: on a busy machine others come.

        A socket that is bound and listens to nobody keeps each; a kernel may listen beside it.
        """
        self._let_go()
        for _ in range(PORTS):
            taken = socket.socket()
            self._taken.append(taken)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 0))
            yield taken.getsockname()[1]
        if sys.platform != "linux":  # where nobody can listen beside it
            self._let_go()

    def _let_go(self) -> None:
        for each in self._taken:
            each.close()
        self._taken.clear()

    def environ(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_"))
        }
        return {
            **kept,
            "DURABLE_HOME": str(self.folder / "home"),
            "DURABLE_POISON_S": "0",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JPY_SESSION_NAME": str(self.notebook),
            "JUPYTER_DATA_DIR": str(self.folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONHASHSEED": "0",
        }

    def spawn(self) -> None:
        """Start a kernel, and wait for nothing."""
        arguments = ["-f", str(self.connection_file), "--HistoryManager.enabled=False"]
        log, folder = self.folder / "kernel.log", self.notebook.parent
        if self._nursery is not None:
            self.pid = self._nursery.spawn(arguments, self.environ(), folder, log)
            return
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "durable_kernel", *arguments],
                env={**self.environ(), "PYTHONPATH": os.pathsep.join(sys.path)},
                cwd=folder,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def start(self) -> None:
        """Start a kernel and wait until it answers on both channels."""
        self.spawn()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + HUNG_S
        while time.monotonic() < until:
            asked = self.client.kernel_info()
            shown = self.shown.setdefault(asked, Shown())
            soon = time.monotonic() + 0.4
            while time.monotonic() < soon:
                self.pump()
                if shown.idles:
                    return
        raise FrontEndError(f"the kernel does not answer\n{self.log()[-2000:]}")

    def wait_for_death(self, timeout_s: float = HUNG_S) -> int:
        """Wait until the process is gone; returns its exit status. What it sent is read."""
        if self._nursery is not None:
            status = self._nursery.wait(self.pid, timeout_s)
        else:
            assert self._process is not None
            try:
                status = self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                status = None
        if status is None:
            raise FrontEndError("the process does not end")
        while self.pump(20):
            continue
        self.pid = 0
        return status

    def kill(self) -> None:
        """Kill -9: no byte leaves the process any more."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_for_death()

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def shut_down(self, *, restart: bool) -> None:
        """Stop as servers do: SIGINT, a shutdown request, and wait."""
        self.interrupt()
        self.client.shutdown(restart=restart)
        self.wait_for_death()

    def close(self) -> None:
        if self.pid:
            self.kill()
        self.close_client()

    def close_client(self) -> None:
        self.client.stop_channels()
        self.client.context.destroy(linger=0)
        self._let_go()

    def log(self) -> str:
        path = self.folder / "kernel.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- requests ---------------------------------------------------------------------------------

    def send_together(self, cells: Sequence[tuple[str, str | None]]) -> list[str]:
        """Send cells that are all there before the first is begun, as those of Run All mean to be.

        A kernel aborts what is there when a cell fails. Where this process stood still between two
        cells, the second would come later and be executed.
        """
        messages = [self._request(*each) for each in cells]
        if len(messages) == 1 or sys.platform != "linux":
            return [self._send(each) for each in messages]
        session, port = self.client.session, self.client.shell_port
        sizes = [len(each) for message in messages for each in session.serialize(message)]
        os.kill(self.pid, signal.SIGSTOP)
        try:
            self.until(lambda: stands_still(self.pid), "the kernel's standing still")
            enough = unread_bytes(port) + sum(n + (2 if n < LONG else 9) for n in sizes)
            asked = [self._send(each) for each in messages]
            soon = time.monotonic() + ARRIVED_S_MAX  # who is not connected yet gets all at once
            while unread_bytes(port) < enough and time.monotonic() < soon:
                time.sleep(0.001)
        finally:
            os.kill(self.pid, signal.SIGCONT)
        return asked

    def send(self, code: str, cell_id: str | None, **content: Any) -> str:
        """Send a cell; returns the name of the request."""
        return self._send(self._request(code, cell_id, **content))

    def _request(self, code: str, cell_id: str | None, **content: Any) -> dict[str, Any]:
        message: dict[str, Any] = self.client.session.msg(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": True,
                "stop_on_error": True,
                **content,
            },
            metadata={} if cell_id is None else {"cellId": cell_id},
        )
        return message

    def _send(self, message: dict[str, Any]) -> str:
        self.client.shell_channel.send(message)
        asked = str(message["header"]["msg_id"])
        self.shown[asked] = Shown()
        return asked

    def look(self, expression: str) -> str:
        """Evaluate, as a variable explorer does; returns the text of the value."""
        content = {"silent": True, "store_history": False, "user_expressions": {"it": expression}}
        shown = self.wait(self.send("", None, **content))
        while shown.status == "aborted":  # as by any kernel, right behind an error
            shown = self.wait(self.send("", None, **content))
        assert shown.reply is not None
        found = (shown.reply.get("user_expressions") or {}).get("it")
        if found is None or found["status"] != "ok":
            raise FrontEndError(f"a look was refused: {shown.reply}")
        return str(found["data"]["text/plain"])

    def wait(self, asked: str, *, is_reply_due: bool = True) -> Shown:
        """Wait for idle and reply of a request; of one of a dead kernel the reply may not come."""
        shown = self.shown[asked]
        self.until(
            lambda: shown.idles > 0 and (shown.reply is not None or not is_reply_due),
            lambda: f"the reply to {asked}, which showed {shown.messages}, {shown.reply}",
        )
        return shown

    def until(self, condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
        """Read messages until something is so. Raises FrontEndError."""
        deadline = time.monotonic() + HUNG_S
        while not condition():
            self.pump()
            if time.monotonic() > deadline:
                what = what if isinstance(what, str) else what()
                raise FrontEndError(f"{what} did not come\n{self.log()[-2000:]}")

    def pump(self, timeout_ms: int = TICK_MS) -> bool:
        """Take what has arrived; wait a moment for it. False: nothing came."""
        channels = (
            self.client.shell_channel,
            self.client.iopub_channel,
            self.client.stdin_channel,
        )
        poller = zmq.Poller()
        for each in channels:
            poller.register(each.socket, zmq.POLLIN)
        ready = dict(poller.poll(timeout_ms))
        for each in channels:
            if each.socket in ready:
                while each.msg_ready():
                    self._take(each.get_msg(timeout=0))
        return bool(ready)

    def _take(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "input_request":
            self.client.input(self.typed.pop(0) if self.typed else "?")
            return
        shown = self.shown.get(message["parent_header"].get("msg_id", ""))
        if shown is None:
            return
        if kind == "execute_reply":
            shown.reply = content
        elif kind == "status":
            shown.idles += content["execution_state"] == "idle"
        elif kind != "execute_input":
            shown.messages.append((kind, content))
