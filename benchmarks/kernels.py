"""A real kernel process and one client of it, as a front end would have them."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import zmq
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from durable_kernel.kernel.install import specification

__all__ = ["Kernel"]

_clock = time.perf_counter
_TIMEOUT_S = 120.0
_CHANNELS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
_RECONNECT_MS = 2
"""How often a client's socket asks whether the kernel listens. The usual 100 would blur starts."""


class Kernel:
    """One kernel, stock or durable, in a folder of its own."""

    def __init__(self, folder: Path, kind: str, **environment: str) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        spec: Any = specification() if kind == "durable" else get_kernel_dict()
        self._argv: list[str] = list(spec["argv"])
        self._environment: Mapping[str, str] = {**(spec.get("env") or {}), **environment}
        self._file = folder / "connection.json"
        self._reserved = {name: _reserved_port() for name in _CHANNELS}
        ports = {name: each.getsockname()[1] for name, each in self._reserved.items()}
        write_connection_file(str(self._file), key=b"a key of this benchmark", **ports)
        context = zmq.Context()
        context.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._client = BlockingKernelClient(connection_file=str(self._file), context=context)
        self._client.load_connection_file()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self._wait_for_subscription()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> float:
        """Start the process; return the seconds until it answered kernel_info."""
        self._client.start_channels(stdin=False, hb=False)
        asked = self._client.kernel_info()
        argv = [each.replace("{connection_file}", str(self._file)) for each in self._argv]
        argv[0] = sys.executable
        with (self._folder / "log").open("ab") as log:
            began = _clock()
            self._process = subprocess.Popen(
                argv, env=self._environ(), cwd=self._folder, stdout=log, stderr=log
            )
        self._reply_to(asked)
        return _clock() - began

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process took so far, which other processes blur less."""
        assert self._process is not None
        taken = psutil.Process(self._process.pid).cpu_times()
        return float(taken.user + taken.system)

    def execute(self, code: str) -> float:
        """Run a cell; return the seconds from request to reply. The kernel is idle then."""
        began = _clock()
        asked = self._client.execute(code)
        reply = self._reply_to(asked)
        spent = _clock() - began
        assert reply["content"]["status"] == "ok", reply["content"]
        self._wait_for_idle(asked)
        return spent

    def stop(self) -> None:
        """Ask it to stop, wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._client.shutdown()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._client.stop_channels()
        self._client.context.destroy(linger=0)
        for each in self._reserved.values():
            each.close()

    def _environ(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_", "PYTHON"))
        }
        return {
            **inherited,
            "DURABLE_HOME": str(self._folder / "home"),
            "DURABLE_RUN": "bench",
            "IPYTHONDIR": str(self._folder / "ipython"),
            "JUPYTER_DATA_DIR": str(self._folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self._folder / "runtime"),
            # An installed package is compiled, a checkout perhaps not: the first start compiles.
            "PYTHONPYCACHEPREFIX": str(self._folder.parent / "bytecode"),
            **self._environment,
        }

    def _reply_to(self, asked: str) -> dict[str, Any]:
        deadline = _clock() + _TIMEOUT_S
        while _clock() < deadline:
            try:
                reply: dict[str, Any] = self._client.get_shell_msg(timeout=5)
            except queue.Empty:
                assert self._process is not None
                assert self._process.poll() is None, self._log()
                continue
            if reply["parent_header"].get("msg_id") == asked:
                return reply
        raise TimeoutError(self._log())

    def _wait_for_subscription(self) -> None:
        """Ask until something came on IOPub: what is sent before a subscription is lost."""
        deadline = _clock() + _TIMEOUT_S
        while _clock() < deadline:
            self._reply_to(self._client.kernel_info())
            try:
                self._client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            return
        raise TimeoutError(self._log())

    def _wait_for_idle(self, asked: str) -> None:
        while True:
            message = self._client.get_iopub_msg(timeout=_TIMEOUT_S)
            is_ours = message["parent_header"].get("msg_id") == asked
            if is_ours and message["content"].get("execution_state") == "idle":
                return

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


def _reserved_port() -> socket.socket:
    """Return a bound socket: while it is open, nobody is given its port who asks for just any.

    Who names the port may listen there, with SO_REUSEADDR, as zmq does.
    """
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reserved
