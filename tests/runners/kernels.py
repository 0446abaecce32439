"""Kernels for runners that start in milliseconds: forked, with plain `exec`, spoken to by a socket.

    nursery   one process that imported everything and installed the hooks; forks a kernel for each
              connection
    kernel    opens the run that its environment names, as a real one does, and answers requests in
              match mode through `testing.driver`; dies where the order says
    manager   what a runner holds: the interface of jupyter_client's, without ZMQ

Both sides send lines of JSON: {"kind": message type, "parent": id of the request, "content": …}.
What is not here, compared to a real kernel: ZMQ, IPython, ipykernel, rich outputs, interrupts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx
from jupyter_client.manager import AsyncKernelManager

from durable_kernel.errors import DurableError, RunLockedError, Stop
from durable_kernel.runtime import CellRequest, Run, Settings, open_run, prepare
from durable_kernel.testing.crash_points import CrashDisk, watch_port
from durable_kernel.testing.driver import Driver
from tests.runners.orders import Mortal

__all__ = ["KERNEL_PID", "NURSERY", "ForkedKernelManager", "Nursery"]

NURSERY = "RUNNERS_NURSERY"
"""Environment variable: the socket at which the nursery listens."""

KERNEL_PID = "kernel.pid"
"""File in the folder in which a kernel runs: who it is."""

ORPHAN_S = 0.2
"""A real kernel looks for its launcher each second."""

LOCK_RETRIES, LOCK_RETRY_S = 50, 0.1
"""As a real kernel waits for its predecessor."""

_ids = itertools.count()


# --- the nursery ----------------------------------------------------------------------------------


class Nursery:
    """The process that forks kernels. Made while this one has one thread and no hooks."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "nursery")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen(16)
        self._pid = os.fork()
        if self._pid == 0:
            _forget_signals()
            _nurse(listener)
        listener.close()

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _forget_signals() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def _nurse(listener: socket.socket) -> None:
    """Fork a kernel for each connection, for ever."""
    answering = _Answering()
    answering.install()
    prepare()
    parent = os.getppid()
    while os.getppid() == parent:
        if not select.select([listener], [], [], 1.0)[0]:
            continue
        connection, _ = listener.accept()
        pid = os.fork()
        if pid == 0:
            listener.close()
            status = 1
            try:
                _Kernel(connection, answering).serve()
                status = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the log has it
                traceback.print_exc()
            finally:
                os._exit(status)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    os._exit(0)


class _Answering:
    """Tells when the HTTP library has read the head of an answer, below the hooks."""

    def __init__(self) -> None:
        self.mortal: Mortal | None = None

    def install(self) -> None:
        plain = httpx.HTTPTransport.handle_request

        def handle_request(transport: Any, request: Any) -> Any:
            response = plain(transport, request)
            if self.mortal is not None:
                self.mortal.pass_by("read")
            return response

        setattr(httpx.HTTPTransport, "handle_request", handle_request)  # noqa: B010 - a method


# --- a kernel -------------------------------------------------------------------------------------


class _Kernel:
    def __init__(self, connection: socket.socket, answering: _Answering) -> None:
        self._connection = connection
        self._incoming = connection.makefile("rb")
        begun = json.loads(self._incoming.readline())
        os.environ.clear()
        os.environ.update(begun["env"])
        os.chdir(begun["cwd"])
        Path(KERNEL_PID).write_text(str(os.getpid()))
        with Path("kernel.log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        self._mortal = Mortal.of_kernel(os.environ, begun["runner"])
        answering.mortal = self._mortal
        self._requests: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._parent = ""
        self._run: Run | None = None
        self._driver: Driver | None = None
        self._refusal: BaseException | None = None

    def serve(self) -> None:
        """Answer requests until the runner says that it is over, or is gone."""
        self._send("ready", {"pid": os.getpid()})
        threading.Thread(target=self._listen, daemon=True).start()
        self._open()
        while True:
            request = self._requests.get()
            self._parent = request["id"]
            if request["kind"] == "shutdown":
                break
            if request["kind"] == "kernel_info_request":
                self._send("kernel_info_reply", {"language_info": {"name": "python"}})
                continue
            self._execute(request["code"], expects_error=not request["stop_on_error"])
        if self._run is not None:
            self._run.shutdown(restart=False)
            self._run.close()

    def _listen(self) -> None:
        """Take requests; end the process once the runner is gone, as kernels do."""
        with suppress(OSError):  # a killed runner resets the connection
            for line in self._incoming:
                self._requests.put(json.loads(line))
        time.sleep(ORPHAN_S)
        os._exit(1)

    def _open(self) -> None:
        try:
            self._run = self._opened()
        except (DurableError, Stop) as error:
            self._refusal = error
            return
        watch_port(self._run, self._mortal.reach)
        self._driver = Driver(self._run, show=self._show)

    def _opened(self) -> Run:
        disk = CrashDisk(self._mortal.reach)
        settings = Settings.from_environ(os.environ)
        for left in reversed(range(LOCK_RETRIES)):
            try:
                run = open_run(settings, surroundings=prepare(), disk=disk)
            except RunLockedError:
                if not left:
                    raise
                time.sleep(LOCK_RETRY_S)
            else:
                disk.is_opening = False
                return run
        raise AssertionError("the last try returns or raises")

    def _execute(self, source: str, *, expects_error: bool) -> None:
        self._status = "ok"
        self._error: dict[str, Any] = {}
        self._send("status", {"execution_state": "busy"})
        if self._run is not None and self._refusal is None:
            self._perform(self._run, source, expects_error=expects_error)
        if self._refusal is not None:
            self._fail(type(self._refusal).__name__, str(self._refusal))
        self._send("execute_reply", {"status": self._status, **self._error})
        self._send("status", {"execution_state": "idle"})

    def _perform(self, run: Run, source: str, *, expects_error: bool) -> None:
        assert self._driver is not None, "there is one for each run"
        run.attend(can_ask=False)  # as nbclient says with each request
        try:
            execution = run.match_cell(CellRequest(source), expects_error=expects_error)
        except (DurableError, Stop) as error:
            self._refusal = error
            return
        self._send("execute_input", {"execution_count": execution.position + 1})
        self._driver._execute(execution)
        self._refusal = run.latch
        if told := run.take_notices():
            text = "".join(f"durable: {sentence}\n" for sentence in told)
            self._send("stream", {"name": "stderr", "text": text})

    def _show(self, _position: int, kind: str, text: str) -> None:
        if kind == "error":
            self._fail(*text.split(": ", 1))
        elif kind != "reply":
            self._send("stream", {"name": kind, "text": text})
        self._mortal.pass_by("replied" if kind == "reply" else "shown")

    def _fail(self, name: str, value: str) -> None:
        self._status = "error"
        self._error = {"ename": name, "evalue": value, "traceback": [f"{name}: {value}"]}
        self._send("error", self._error)

    def _send(self, kind: str, content: Mapping[str, Any]) -> None:
        message = {"kind": kind, "parent": self._parent, "content": content}
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # the runner is gone, and this process will be


# --- what a runner holds --------------------------------------------------------------------------


class ForkedKernelManager(AsyncKernelManager):
    """Starts a forked kernel. What nbclient and papermill ask of a manager, and no more."""

    pid = 0
    """Of the kernel that was started last, in this process."""

    _link: _Link | None = None

    @property
    def has_kernel(self) -> bool:
        return self._link is not None

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        env = options.get("env") or dict(os.environ)
        cwd = str(options.get("cwd") or Path.cwd())
        self._link = _Link(os.environ[NURSERY])
        self._link.send(env=dict(env), cwd=cwd, runner=os.getpid())

    def client(self, **_options: Any) -> Any:
        assert self._link is not None, "a kernel was started"
        return _Client(self._link)

    async def is_alive(self) -> bool:  # type: ignore[override]
        return self._link is not None and self._link.is_open

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """Stop the kernel; returns when it is gone."""
        assert self._link is not None, "a kernel was started"
        self._link.send(kind="shutdown", id="")
        await self._link.closed.wait()

    async def cleanup_resources(self, restart: bool = False) -> None:  # type: ignore[override]
        if self._link is not None:
            self._link.close()
            self._link = None


class _Link:
    """The connection to one kernel; messages are sorted as they come."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)
        self._rest = b""
        self.is_open = True
        self.closed = asyncio.Event()
        self.shell = _Channel()
        self.iopub = _Channel()

    def send(self, **message: Any) -> None:
        content = json.dumps(message).encode() + b"\n"
        try:
            sent = self._socket.send(content)
        except OSError:
            return  # is_alive tells
        assert sent == len(content), "requests are small"

    def close(self) -> None:
        if self._socket.fileno() != -1:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self.is_open = False
        self.closed.set()

    def _read(self) -> None:
        try:
            received = self._socket.recv(1 << 16)
        except OSError:
            received = b""
        if not received:
            self.close()
            return
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            self._sort(json.loads(line))

    def _sort(self, message: dict[str, Any]) -> None:
        kind, content = message["kind"], message["content"]
        if kind == "ready":
            ForkedKernelManager.pid = content["pid"]
        channel = self.shell if kind in ("ready", *_REPLIES) else self.iopub
        channel.waiting.put_nowait(
            {
                "msg_type": kind,
                "header": {"msg_type": kind},
                "parent_header": {"msg_id": message["parent"]},
                "content": content,
                "metadata": {},
            }
        )


_REPLIES = ("kernel_info_reply", "execute_reply")


class _Channel:
    def __init__(self) -> None:
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109 - as asked
        try:
            return await asyncio.wait_for(self.waiting.get(), timeout)
        except TimeoutError:
            raise Empty from None


class _Client:
    """The client of one kernel."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self.shell_channel, self.iopub_channel = link.shell, link.iopub
        self.allow_stdin = False

    def start_channels(self) -> None: ...

    def stop_channels(self) -> None: ...

    async def wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as asked
        """Return when the kernel is there. Raises RuntimeError if it died, as the real one does."""
        while True:
            try:
                await self.shell_channel.get_msg(timeout=0.05)
                return
            except Empty:
                if not self._link.is_open:
                    raise RuntimeError("Kernel died before replying to kernel_info") from None

    async def is_alive(self) -> bool:
        return self._link.is_open

    def execute(self, code: str, *, stop_on_error: bool = True, **_options: Any) -> str:
        return self._ask(kind="execute_request", code=code, stop_on_error=stop_on_error)

    def kernel_info(self) -> str:
        return self._ask(kind="kernel_info_request")

    def _ask(self, **request: Any) -> str:
        asked = f"{os.getpid()}-{next(_ids)}"
        self._link.send(**request, id=asked)
        return asked


if sys.platform == "win32":
    raise ImportError("forks")
