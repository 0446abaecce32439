"""A real jupyter_server in its own process, spoken to by REST and websocket as JupyterLab does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import websocket

from durable_kernel.history import Opened
from durable_kernel.kernel.install import install
from durable_kernel.store import Store
from tests.kernel.live import stands_still
from tests.kernel.sitting import is_told_by_us
from tests.kernel.sockets import reserved_port

_WAIT_S = 120.0
_TOKEN = "of-this-test"


class Server:
    """Start a server whose notebooks live in `folder`, with the durable kernelspec installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "jupyter"
        self._root = folder / "notebooks"
        (self._root / "sub").mkdir(parents=True)
        install(prefix=str(self._data))
        self._reserved = reserved_port()
        self._port = int(self._reserved.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._http: httpx.Client | None = None
        self._channels: list[Channel] = []

    def start(self, *options: str) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                    *(f"--ServerApp.port={self._port}", f"--IdentityProvider.token={_TOKEN}"),
                    f"--ServerApp.root_dir={self._root}",
                    *options,
                ],
                env=self._environ(),
                stdout=log,
                stderr=log,
            )
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{self._port}/api/",
            headers={"Authorization": f"token {_TOKEN}"},
            timeout=_WAIT_S,
        )
        wait_until(self._answers, "the server does not answer", self.log)

    def _environ(self) -> dict[str, str]:
        hidden = ("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {
            **inherited,
            "DURABLE_HOME": str(self.folder / "home"),
            "HOME": str(self.folder),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_PATH": str(self._data / "share" / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
        }

    def _answers(self) -> bool:
        try:
            return "kernels" in self.get("status")
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        assert self._http is not None
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        assert self._http is not None
        answer = self._http.post(path, json=body or {}).raise_for_status()
        return answer.json() if answer.content else None

    def patch(self, path: str, body: Any) -> Any:
        assert self._http is not None
        return self._http.patch(path, json=body).raise_for_status().json()

    def delete(self, path: str) -> None:
        assert self._http is not None
        self._http.delete(path).raise_for_status()

    def write_notebook(self, path: str, *sources: str) -> None:
        """Save a notebook; its cells have ids that come from their place."""
        cells: list[dict[str, Any]] = [
            {
                "id": f"cell-{number}",
                "cell_type": "code",
                "source": source,
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate(sources)
        ]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (self._root / path).write_text(json.dumps(content))

    def open_notebook(self, path: str) -> str:
        """Start a kernel for a notebook as JupyterLab does. Returns the kernel's id."""
        if not (self._root / path).exists():
            self.write_notebook(path)
        name = Path(path).name
        session = self.post(
            "sessions",
            {"path": path, "name": name, "type": "notebook", "kernel": {"name": "durable"}},
        )
        return str(session["kernel"]["id"])

    def connect(self, kernel_id: str) -> Channel:
        """Open a websocket; returns when the server accepted it, so the kernel answered."""
        session = uuid.uuid4().hex
        connection = websocket.create_connection(
            f"ws://127.0.0.1:{self._port}/api/kernels/{kernel_id}/channels?session_id={session}",
            header=[f"Authorization: token {_TOKEN}"],
            timeout=_WAIT_S,
        )
        self._channels.append(Channel(connection, session))
        return self._channels[-1]

    def stop(self) -> None:
        """Stop it as a user does; it shuts its kernels down."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill -9: its kernels notice that it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._http is not None
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        self._process.send_signal(number)
        self._process.wait(timeout=_WAIT_S)
        self._http.close()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self._reserved.close()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the server by SIGSTOP; what it is sent inside, it finds all at once."""
        assert self._process is not None
        process = self._process
        process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: stands_still(process.pid), "the server goes on", self.log)
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def lives(self) -> int:
        """How many processes have opened a run so far, of all runs."""
        store = Store(self.folder / "home")
        return sum(
            each.type == Opened.CODE for place in store.all() for each in store.frames(place)
        )

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")


class Channel:
    """One websocket to a kernel."""

    def __init__(self, connection: Any, session: str) -> None:
        self._connection = connection
        self._session = session
        self._of_others: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)

    def ask(self, code: str) -> str:
        """Send an execute request; returns its id."""
        return self.tell(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )

    def ask_info(self) -> str:
        return self.tell("kernel_info_request", {})

    def tell(self, kind: str, content: Any) -> str:
        """Send a message on the shell channel; returns its id."""
        asked = uuid.uuid4().hex
        header = {
            "msg_id": asked,
            "msg_type": kind,
            "session": self._session,
            "username": "",
            "version": "5.4",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
        }
        self._connection.send(json.dumps(message))
        return asked

    def collect(self, asked: str, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Collect the messages of a request until one is the one waited for.

        What belongs to others stays for those who wait for them later.
        """
        found = []
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            if not self._of_others[asked]:
                message = json.loads(self._connection.recv())
                self._of_others[message["parent_header"].get("msg_id", "")].append(message)
                continue
            message = self._of_others[asked].popleft()
            found.append(message)
            if until(message):
                return found
        raise AssertionError(f"not seen within {_WAIT_S} s: {found}")

    def run(self, code: str) -> list[dict[str, Any]]:
        """Execute and wait for the reply and idle, in whatever order their channels bring them.

        What came in right behind an error reply was aborted, and is asked again: `LiveKernel.run`.
        """
        deadline = time.monotonic() + _WAIT_S
        while True:
            asked = self.ask(code)
            found = self.collect(asked, lambda each: each["msg_type"] == "execute_reply")
            reply = found[-1]["content"]
            if not any(is_idle(each) for each in found):
                found += self.collect(asked, is_idle)
            if reply["status"] != "aborted" or time.monotonic() > deadline:
                return found

    def close(self) -> None:
        self._connection.close()


def is_idle(message: dict[str, Any]) -> bool:
    return bool(message["content"].get("execution_state") == "idle")


def errors_of(messages: list[dict[str, Any]]) -> str:
    """What a request wrote to stderr: also what the kernel tells its user."""
    found = [each["content"] for each in messages if each["msg_type"] == "stream"]
    return "".join(each["text"] for each in found if each["name"] == "stderr")


def text_of(messages: list[dict[str, Any]]) -> str:
    """What a request printed, and its result; not what is told of a restoration before it."""
    parts = []
    for message in messages:
        content = message["content"]
        if is_told_by_us(message["msg_type"], content):
            continue
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            parts.append(content["text"])
        if message["msg_type"] in ("display_data", "execute_result"):
            parts.append(content["data"]["text/plain"])
    return "".join(parts)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process took so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def wait_until(
    holds: Callable[[], bool], otherwise: str, log: Callable[[], str] = str, wait_s: float = _WAIT_S
) -> float:
    """Wait for a condition of another process, which offers nothing to wait on. Returns seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < wait_s, f"{otherwise}\n{log()}"
        time.sleep(0.05)
    return time.monotonic() - began
