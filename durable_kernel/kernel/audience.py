"""Audience: clients that send the interrupted cell again while it is being finished.

A stock front end forgets the request of a kernel that died; what the resumed cell prints reaches
it under a name that it does not know any more. Running the cell again attaches to it: the request
is not executed, it gets what was printed so far, then the rest, then the reply.

Requests join on the shell-channel thread; the cell begins and ends on the main thread. Before the
run is open nobody knows which cell that is, so until then requests are held, in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable_kernel.history import Cell

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Audience", "Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """One request that attached: who sent it, what it said, and its bytes."""

    idents: Any
    message: Mapping[str, Any]
    frames: Sequence[Any]


class Audience:
    """Everybody who waits for the interrupted cell."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._lock = threading.RLock()
        self._expected: Cell | None = None
        self._held: list[Member] | None = []
        self._has_begun = False
        self._members: list[Member] = []

    def expect(self, cell: Cell | None) -> None:
        """Let requests join that send this cell again (None: no cell was interrupted)."""
        with self._lock:
            self._expected = cell
        self._kernel.call_on_shell_thread(self._release)

    def _release(self) -> None:
        """Let go of the held requests. On the shell-channel thread, so that none overtakes."""
        with self._lock:
            held, self._held = self._held or [], None
            for member in held:
                if not self.join(member):
                    self._kernel.post(*member.frames)

    def join(self, member: Member) -> bool:
        """Attach a request, if it is the expected cell, or hold it. False: it is another one."""
        with self._lock:
            if self._held is not None:
                self._held.append(member)
                return True
            if self._expected is None or not _is_same(self._expected, member.message):
                return False
            self._members.append(member)
            if self._has_begun:
                self._welcome(member)
            return True

    def begin(self) -> None:
        """Start showing the cell: it runs from now on."""
        with self._lock:
            self._has_begun = True
            for member in self._members:
                self._welcome(member)

    def end(self, reply: dict[str, Any] | None) -> None:
        """Send everybody the reply. None: the cell did not get its turn, so their requests do."""
        with self._lock:
            members, self._members, self._expected = self._members, [], None
            if members and reply is not None:
                self._kernel.from_the_top.has_shown_last = True
            for member in members:
                if reply is None:
                    self._kernel.call_on_shell_thread(self._kernel.post, *member.frames)
                else:
                    self._kernel.send_reply(member.idents, member.message, reply)
                    self._kernel.publish_state("idle", member.message)
        self._kernel.call_on_shell_thread(self._release)

    def newest(self) -> Member | None:
        """Return the request that attached last: its sender is there to be asked for input."""
        with self._lock:
            return self._members[-1] if self._members and self._has_begun else None

    def _welcome(self, member: Member) -> None:
        kernel, message = self._kernel, member.message
        kernel.publish_state("busy", message)
        shown = {
            "code": message["content"]["code"],
            "execution_count": kernel.shell.execution_count - 1,
        }
        kernel.publish("execute_input", shown, message)
        for kind, content in kernel.capture.add_listener(message):
            kernel.session.show_again(kernel.iopub_socket, kind, content, message)


def _is_same(cell: Cell, message: Mapping[str, Any]) -> bool:
    """Tell whether it is the same source, of the same notebook cell as far as both say which."""
    recorded = cell.request.get("cell_id")
    asked = (message.get("metadata") or {}).get("cellId")
    is_other_cell = recorded is not None and asked is not None and recorded != asked
    sealed = cell.sealed_source
    if sealed is not None and not sealed.is_open:
        return False
    return message["content"]["code"] == cell.code and not is_other_cell
