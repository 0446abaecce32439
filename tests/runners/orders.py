"""Orders to die: who is killed, and at which moment. Handed down by the environment.

An order is carried out once, by whichever process comes to its moment first; the file `order` in
the case's folder takes a byte then. Nothing here raises an audit event once a cell may run: the
detector must not journal the campaign's own acts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from durable_kernel.testing.crash_points import die, nothing

__all__ = ["IN_KERNEL", "IN_RUNNER", "ORDER", "Mortal", "Order", "watch_files"]

ORDER = "RUNNERS_ORDER"
"""Environment variable: the order, and the file that says whether it was carried out."""

IN_RUNNER = "file"
"""The moment before the runner changes a file."""

IN_KERNEL = (
    "opening",
    "cell.before",
    "cell.written",
    "announce.before",
    "announce.torn",
    "announce.synced",
    "read",
    "settle.before",
    "settle.written",
    "output.before",
    "output.written",
    "shown",
    "commit.before",
    "commit.torn",
    "commit.synced",
    "replied",
)

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.truncate"})


@dataclass(frozen=True, slots=True)
class Order:
    """Kill `who` (kernel, runner or both) at the `nth` time that the moment comes.

    Two moments are the parent's: "timer", `nth` milliseconds after the start, and "arrival", some
    milliseconds after the `nth` request reached the witness.
    """

    who: str
    moment: str
    nth: int

    @property
    def is_the_parents(self) -> bool:
        return self.moment in ("timer", "arrival")

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what hands the order down. The file is made anew."""
        used = folder / "order"
        used.write_bytes(b"")
        return {ORDER: json.dumps({**asdict(self), "used": str(used)})}


class Mortal:
    """A process that may have to die, or to kill its peer: runner and kernel are each other's."""

    def __init__(self, given: str | None, *, is_runner: bool) -> None:
        order: dict[str, Any] = json.loads(given) if given else {}
        self.peer: Callable[[], int] = lambda: 0
        self._moment = order.get("moment", "")
        self._left = int(order.get("nth", 0))
        who = order.get("who", "")
        self._kills_itself = who in ("both", "runner" if is_runner else "kernel")
        self._kills_peer = who in ("both", "kernel" if is_runner else "runner")
        self._used = os.open(order["used"], os.O_RDWR | os.O_CLOEXEC) if order else -1
        if order and os.fstat(self._used).st_size:
            self._moment = ""

    @classmethod
    def of_kernel(cls, environ: Mapping[str, str], runner: int) -> Self:
        """Make that of a kernel. Its peer is held by a descriptor: numbers are used again."""
        mortal = cls(environ.get(ORDER), is_runner=False)
        try:
            peer = os.pidfd_open(runner)
        except ProcessLookupError:
            peer = -1
        mortal.peer = lambda: peer
        return mortal

    def reach(self, moment: str, before_dying: Callable[[], None]) -> None:
        """Carry out the order if this is its moment."""
        if moment != self._moment:
            return
        self._left -= 1
        if self._left:
            return
        self._moment = ""
        os.write(self._used, b"!")
        if self._kills_peer and self.peer() > 0:
            try:
                signal.pidfd_send_signal(self.peer(), signal.SIGKILL)
            except ProcessLookupError:
                return
        if self._kills_itself:
            before_dying()
            die()

    def pass_by(self, moment: str) -> None:
        """Carry out the order if this is its moment."""
        self.reach(moment, nothing)


def watch_files(mortal: Mortal, folder: Path) -> None:
    """Let each change of a file in this folder, the working one, be a moment from now on."""
    inside = f"{folder}{os.sep}"
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & writing)
        else:
            changes = event in _CHANGES
        path = str(arguments[0]) if changes else ""
        if changes and (path.startswith(inside) or not path.startswith(os.sep)):
            mortal.pass_by(IN_RUNNER)

    sys.addaudithook(hear)
