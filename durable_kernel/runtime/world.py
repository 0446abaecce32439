"""World: what the port needs to know beyond the journal.

Wall time, the user's line, the generators, queued decisions, and the witness of crossings that no
lane journals.

Real clocks are captured at import: the hooks that replace them must not record the kernel's own
reading.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from weakref import WeakSet

from durable_kernel.codec import KnownSecrets
from durable_kernel.effects.threads import runs_in_greenlet
from durable_kernel.errors import DurableError, Stop, WorldClosedError
from durable_kernel.history import Crossed, Resolved
from durable_kernel.journal import Inbox
from durable_kernel.ports import CURRENT_LANE, INSIDE_EFFECT, machinery
from durable_kernel.runtime.inbox import AskedResolution, parse_resolution
from durable_kernel.runtime.parking import Parked, decide

__all__ = ["Generators", "World"]

_time_ns = time.time_ns  # noqa: TID251 - bound before any hook: a reading of ours is no record


class Generators(Protocol):
    """The global random generators of the process (`durable_kernel.effects.generators`)."""

    def save(self) -> Mapping[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...

    def reseed(self, entropy: bytes) -> None: ...

    def fingerprint(self) -> bytes: ...

    def share(self) -> None: ...

    def unshare(self) -> None: ...


class Blamed(Protocol):
    """The part of the port that a crossing needs."""

    latch: Stop | None
    position: int
    secrets: KnownSecrets

    @property
    def is_live(self) -> bool: ...

    def set_latch(self, stop: Stop) -> Stop: ...

    def write(self, record: Crossed) -> None: ...


class World:
    """One process's surroundings; a `ports.Witness`.

    The runtime attaches a run, and tells when a cell runs.
    """

    def __init__(self, generators: Generators, *, wall_ns: Callable[[], int] = _time_ns) -> None:
        self._generators = generators
        self.read_wall_ns = wall_ns
        self._port: Blamed | None = None
        self.is_loading = False
        """Values of cells are made again, which runs their code without a lane."""
        self._inbox: Inbox | None = None
        self._kernel_threads = frozenset(thread.ident for thread in threading.enumerate())
        self._threads_of_cells: WeakSet[threading.Thread] = WeakSet()
        self._main = threading.main_thread().ident
        self._told: Callable[[str], None] = lambda _sentence: None
        self._seen: set[tuple[int, str, bool]] = set()
        self.notebook = ""
        self.is_cell_running = False
        self.is_redoing = False
        self.crossings: list[Crossed] = []

    def attach(
        self,
        port: Any,
        inbox: Inbox,
        *,
        notebook: str,
        tell: Callable[[str], None],
        threads: Iterable[threading.Thread],
    ) -> None:
        """Point at a run.

        `threads` are the kernel's own: what they do is never a cell's crossing.
        """
        self._port, self._inbox, self.notebook, self._told = port, inbox, notebook, tell
        self._kernel_threads = frozenset(thread.ident for thread in threads)
        self._seen.clear()

    def leave_cell(self) -> None:
        """End a cell. Threads that it leaves behind are remembered: their acts are a cell's too."""
        self.is_cell_running = False
        for thread in threading.enumerate():
            if thread.ident not in self._kernel_threads:
                self._threads_of_cells.add(thread)

    def detach(self) -> None:
        self._port = None
        self._generators.unshare()

    # --- what the port asks -----------------------------------------------------------------------

    def wall_ns(self) -> int:
        return self.read_wall_ns()

    def clock_text(self, wall_ns: int) -> str:
        """Write a moment for people, in UTC, seconds."""
        return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def where(self) -> str:
        """Name the user's line that is running: "cell 7 (fetch.ipynb, line 3)"."""
        position = self._port.position if self._port is not None else 0
        frame = sys._getframe(1)  # noqa: SLF001 - the only way to a caller's frame
        line = 0
        while frame is not None:
            if frame.f_globals.get("__name__") == "__main__":
                line = frame.f_lineno
                break
            frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
        inside = ", ".join(part for part in (self.notebook, f"line {line}" if line else "") if part)
        return f"cell {position}" + (f" ({inside})" if inside else "")

    def tell(self, sentence: str) -> None:
        self._told(sentence)

    def generators_before(self) -> bytes:
        return self._generators.fingerprint()

    def generators_after(self, before: bytes | None) -> Mapping[str, Any] | None:
        """Return the generators' state if it changed since `before` (None: nobody looked)."""
        if before is None or self._generators.fingerprint() == before:
            return None
        return self._generators.save()

    def share_generators(self, *, is_shared: bool) -> None:
        """Let draws ask for their turn from here on, or let them go as they come."""
        if is_shared:
            self._generators.share()
        else:
            self._generators.unshare()

    def restore_generators(self, state: Mapping[str, Any]) -> None:
        self._generators.restore(state)

    def queued_resolution(self, parked: Parked) -> Resolved | None:
        """Return the last decision about this call that another process put into the inbox.

        What was decided before it is void: a retry that waits behind another one would make the
        call once more after the next crash. A bad decision is told and dropped.
        """
        if self._inbox is None:
            return None
        announced_ns = parked.recorded.announced.wall_ns
        found: list[tuple[str, AskedResolution]] = []
        for name, payload in self._messages(self._inbox):  # oldest first
            asked = parse_resolution(payload)
            if asked is None or not asked.is_about(parked.name, announced_ns):
                continue
            found.append((name, asked))
            if parked.was_decided_by(name):  # a crash kept it, and none before it, from going
                self._take(found)
        while found:
            name, asked = found.pop()
            self._take(found)
            try:
                return decide(parked, asked.choice, asked.answer, self.wall_ns(), name)
            except DurableError as error:
                self._inbox.take(name)
                self.tell(str(error))
        return None

    def _take(self, messages: list[tuple[str, AskedResolution]]) -> None:
        """Put messages away, the oldest first, so that a crash leaves the last one."""
        assert self._inbox is not None, "messages come from it"
        while messages:
            self._inbox.take(messages.pop(0)[0])

    def _messages(self, inbox: Inbox) -> list[tuple[str, bytes]]:
        """Return what was signed by the user; the rest is told once and put aside."""
        for each in inbox.refused():
            try:
                aside = inbox.put_aside(each)
            except OSError as error:
                self.tell(f"{each.path}: a message to this run is not used: {each.why} ({error}).")
                continue
            self.tell(
                f"a message to this run was refused: {each.why}. It decides nothing, and is kept "
                f"as {aside}. If you sent it, decide again with `durable resolve`."
            )
        return inbox.pending()

    def resolution_taken(self, decision: Resolved) -> None:
        """Take the message that brought the decision: it is in the journal now."""
        if self._inbox is not None and decision.message:
            self._inbox.take(decision.message)

    # --- ports.Witness ----------------------------------------------------------------------------

    def crossing(self, what: str, *, is_act: bool) -> None:
        port = self._port
        if port is None or not self._is_users() or INSIDE_EFFECT.get():
            return
        with machinery():
            self._blame(port, what, is_act=is_act)

    def change_by_hand(self, what: str) -> None:
        """Tell an act on the running cell that a person did from outside it. Any thread."""
        if self._port is not None and self.is_cell_running:
            with machinery():
                self._blame(self._port, what, is_act=True)

    def _blame(self, port: Blamed, what: str, *, is_act: bool) -> None:
        what = port.secrets.redact_text(what)
        if port.latch is not None and is_act:
            raise port.latch.with_traceback(None)
        if not port.is_live and not self.is_redoing:
            if is_act:
                raise port.set_latch(_closed(self.where(), what))
            return
        key = (port.position, what, is_act)
        if key in self._seen:
            return
        self._seen.add(key)
        record = Crossed(what=what, where=self.where(), is_act=is_act)
        port.write(record)
        self.crossings.append(record)
        if is_act:
            self._told(
                f"{record.where}: it {what}. This version does not record that, so after a crash "
                "the cell will not be executed again by itself."
            )

    def _is_users(self) -> bool:
        """Tell whether a cell, or a thread that a cell started, is what is running."""
        if CURRENT_LANE.get() is not None or self.is_loading:
            return True
        ident = threading.get_ident()
        if ident == self._main or ident in self._kernel_threads:
            return self.is_cell_running and runs_in_greenlet()
        return self.is_cell_running or threading.current_thread() in self._threads_of_cells


def _closed(where: str, what: str) -> WorldClosedError:
    return WorldClosedError(
        where,
        "nothing of the kind",
        f"something that the journal does not hold: it {what}",
        (),
        "while a cell is replayed the world is closed, so this was stopped before it happened.",
    )
