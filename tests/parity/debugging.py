"""A front end's side of the debugger: requests on the control channel, events on IOPub."""

from __future__ import annotations

import queue
import time
from typing import Any

from tests.kernel.live import LiveKernel

__all__ = ["DebugClient"]

_WAIT_S = 120.0


class DebugClient:
    """Debugs one kernel process."""

    def __init__(self, kernel: LiveKernel) -> None:
        self._kernel = kernel
        self._seq = 0
        self.thread = 0

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a debug request; return its reply."""
        self._seq += 1
        content = {"type": "request", "seq": self._seq, "command": command, "arguments": arguments}
        client = self._kernel.client
        message = client.session.msg("debug_request", content)
        client.control_channel.send(message)
        while True:
            reply = client.get_control_msg(timeout=_WAIT_S)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                answered: dict[str, Any] = reply["content"]
                return answered

    def attach(self) -> None:
        """Begin, as front ends do."""
        started = self.request(
            "initialize",
            clientID="test",
            adapterID="",
            pathFormat="path",
            linesStartAt1=True,
            columnsStartAt1=True,
        )
        assert started["success"], started
        assert self.request("attach")["success"]

    def stop_at(self, source: str, line: int) -> str:
        """Set a breakpoint in a cell. Returns the name of its file."""
        path: str = self.request("dumpCell", code=source)["body"]["sourcePath"]
        found = self.request("setBreakpoints", breakpoints=[{"line": line}], source={"path": path})
        assert [each["verified"] for each in found["body"]["breakpoints"]] == [True]
        assert self.request("configurationDone")["success"]
        return path

    def wait_until_stopped(self) -> list[dict[str, Any]]:
        """Wait for a cell to stop. Returns its frames, the innermost first.

        Other messages that come meanwhile stay for those who wait for them.
        """
        others: list[dict[str, Any]] = []
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                message = self._kernel.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["content"].get("event") == "stopped":
                self._kernel.put_back(others)
                self.thread = message["content"]["body"]["threadId"]
                stack = self.request("stackTrace", threadId=self.thread)
                frames: list[dict[str, Any]] = stack["body"]["stackFrames"]
                return frames
            others.append(message)
        raise AssertionError(f"no cell stopped: {others}")

    def variables(self, frame: dict[str, Any]) -> dict[str, str]:
        """Return the local variables of a frame, as text."""
        scope = self.request("scopes", frameId=frame["id"])["body"]["scopes"][0]
        found = self.request("variables", variablesReference=scope["variablesReference"])
        return {each["name"]: each["value"] for each in found["body"]["variables"]}

    def go_on(self) -> None:
        assert self.request("continue", threadId=self.thread)["success"]
