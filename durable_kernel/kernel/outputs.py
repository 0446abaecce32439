"""Outputs: whatever a cell shows passes through here, is journaled, and only then leaves (rule 3).

`Session.send` is the one place that sees every message: of the main thread, of the user's threads,
of the IOPub thread. A message belongs to the cell that its parent header names; if no cell has that
parent, to the running one. Text after the commit is *late*, and the journal says so.

Messages of forked children bypass the session of their parent: they arrive through a pipe, and are
taken from there. In the child itself nothing is journaled; the journal has one writer.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import zmq
from ipykernel.iostream import BackgroundSocket, IOPubThread
from jupyter_client.session import Session
from zmq.error import ZMQError

from durable_kernel.kernel.pacing import Pacer
from durable_kernel.kernel.takers import INSIDE, OutputTakers
from durable_kernel.runtime import CellExecution, CellResult, Run, beyond

__all__ = ["OUTPUT_KINDS", "Capture", "CapturingSession", "connect_thread", "watch_subscribers"]

_monotonic = time.monotonic
_DRAINED_RETRY_S = 0.02

OUTPUT_KINDS = frozenset(
    {
        "clear_output",
        "display_data",
        "error",
        "execute_result",
        "stream",
        "update_display_data",
    }
)


class Capture:
    """Decides, for each output, whose it is and whether it may be shown. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.pid = os.getpid()
        self._run: Run | None = None
        self._execution: CellExecution | None = None
        self._parent_id = ""
        self._is_shown = True
        self._positions: dict[str, int] = {}
        self._kept: list[tuple[str, Any]] = []
        self._listeners: list[Mapping[str, Any]] = []
        self._owed: dict[int, tuple[Counter[str], bool]] = {}
        self.takers = OutputTakers()

    def attach(self, run: Run) -> None:
        """Journal into this run from now on."""
        self._run = run

    def redacted(self, content: Any) -> Any:
        """Replace registered secrets in an output: what is shown is what is written (H18)."""
        secrets = self._run.secrets if self._run is not None else None
        return content if secrets is None or not secrets.is_armed else secrets.redacted(content)

    def begin(self, execution: CellExecution, parent_id: str, *, is_shown: bool) -> None:
        """From now on outputs belong to this cell. Not shown: they are only compared."""
        with self._lock:
            self._execution, self._parent_id, self._is_shown = execution, parent_id, is_shown

    def add_listener(self, parent: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Show what follows under this request, too. Returns what was shown so far."""
        with self._lock:
            self._listeners.append(parent)
            return list(self._kept)

    def note_text_from_below(self) -> None:
        """Text came through a descriptor: it is not compared with what it was (H20)."""
        with self._lock:
            if self._execution is not None:
                self._execution.has_text_from_below = True

    def finish(self, execution: CellExecution, result: CellResult) -> bool:
        """Commit the cell. No output passes meanwhile: it is on disk before, or late."""
        with self._lock:
            is_final = execution.finish(result)
            self.leave()
            return is_final

    def leave(self) -> None:
        """No cell is running any more. Without a commit before it, the position stays open."""
        with self._lock:
            execution = self._execution
            if execution is not None and self._parent_id and not execution.request.kind:
                self._positions[self._parent_id] = execution.position
                if execution.is_replay and (owed := execution.owed()):
                    self._owed[execution.position] = owed, self._is_shown
            self._execution = None
            self._kept, self._listeners = [], []

    def audience(
        self, kind: str, content: Any, metadata: Any, parent: Mapping[str, Any]
    ) -> tuple[Any, list[Mapping[str, Any]]]:
        """Journal an output.

        Returns what of it may be published now, and under which requests.
        """
        if os.getpid() != self.pid:
            return content, [parent]
        parent_id = str(parent.get("msg_id") or "")
        if taker := self.takers.of(parent_id):
            metadata = {**(metadata or {}), INSIDE: taker}
        with self._lock:
            execution = self._execution
            if execution is not None and self._is_running_cells(parent_id):
                is_safe = execution.output(kind, content, metadata)
                if not is_safe or not self._is_shown:
                    return content, []
                if execution.is_open:
                    self._kept.append((kind, content))
                return content, [parent, *self._listeners]
            position = self._positions.get(parent_id)
            if position is None or self._run is None:
                return content, [parent]
            return self._late(self._run, position, kind, content, metadata, parent)

    def _late(
        self, run: Run, position: int, kind: str, content: Any, metadata: Any, parent: Any
    ) -> tuple[Any, list[Mapping[str, Any]]]:
        """Journal what came after its cell's commit, unless a replayed lane says it again."""
        owed, is_shown = self._owed.get(position, (None, False))
        new = content if owed is None else beyond(owed, kind, content)
        shown = content if is_shown else new
        if new is not None and not run.late_output(position, kind, new, metadata):
            shown = None
        return (content, []) if shown is None else (shown, [parent])

    def _is_running_cells(self, parent_id: str) -> bool:
        return parent_id == self._parent_id or parent_id not in self._positions


class CapturingSession(Session):
    """A session that asks `capture` before an output leaves. All else goes straight through."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.capture = Capture()
        self.pacer = Pacer(lambda *_: None, lambda *_: None, _monotonic)
        self._is_sending_thread = lambda: True

    def send(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> Any:
        """Send a message as jupyter_client does; an output is journaled before."""
        target: Any = stream  # ipykernel's sockets are none of zmq's
        if not isinstance(stream, BackgroundSocket | IOPubThread):
            try:
                return super().send(
                    stream, msg_or_type, content, parent, ident, buffers, track, header, metadata
                )
            except ZMQError as error:
                if error.errno != zmq.ENOTSOCK:
                    raise
                # A kernel that stops has closed its sockets: nobody waits for this reply.
                is_kind = isinstance(msg_or_type, str)
                return self.msg(msg_or_type, content, parent) if is_kind else msg_or_type
        if isinstance(msg_or_type, dict):
            message = msg_or_type
        else:
            message = self.msg(msg_or_type, content, parent, header, metadata)
        for under in self._audience(message):
            if under is not message["parent_header"]:
                copy = self.msg(
                    message["msg_type"], message["content"], dict(under), None, message["metadata"]
                )
                self._send_in_turn(target, copy, ident, buffers)
            else:
                self._send_in_turn(target, message, ident, buffers, track=track)
        return message

    def send_past_journal(self, stream: Any, kind: str, content: Any, parent: Any) -> None:
        """Tell the user something that is no output of a cell: progress, notices, answers."""
        super().send(stream, kind, content, parent=parent, ident=kind.encode())

    # --- what is shown again ----------------------------------------------------------------------

    def pace_on(self, thread: IOPubThread) -> None:
        """Let what is shown again leave through this thread, as its turn comes."""

        def send(message: dict[str, Any], buffers: Any, options: Mapping[str, Any]) -> None:
            if message["msg_type"] == "stream":  # text of several messages, or a part of one
                told = (message["content"], message["parent_header"], None, message["metadata"])
                message = self.msg("stream", *told)
            Session.send(self, options["target"], message, ident=options["ident"], buffers=buffers)

        def call_later(delay_s: float, function: Any) -> None:
            thread.schedule(lambda: thread.io_loop.call_later(delay_s, function))

        self.pacer = Pacer(send, call_later, _monotonic)
        self._is_sending_thread = lambda: (
            threading.get_ident() == thread.thread.ident or os.getpid() != thread._master_pid
        )

    def wait_for_room(self) -> None:
        """Wait while too much of what is shown again waits, unless this thread is to send it."""
        if self.pacer.is_full and not self._is_sending_thread():
            self.pacer.wait_for_room()

    @contextmanager
    def showing_again(self) -> Iterator[None]:
        """Let outputs wait for their turn: they come faster than they came first."""
        self.pacer.begin()
        try:
            yield
        finally:
            self.pacer.end()

    async def shown(self) -> None:
        """Wait until all that was shown again has left: a reply comes after its outputs."""
        while not self.pacer.is_empty:  # noqa: ASYNC110 - another thread empties it
            await asyncio.sleep(_DRAINED_RETRY_S)

    def show_again(self, stream: Any, kind: str, content: Any, parent: Any) -> None:
        """Publish an output that is in the journal already."""
        message = self.msg(kind, content, parent)
        self._send_in_turn(stream, message, kind.encode(), None)

    def _send_in_turn(
        self, target: Any, message: dict[str, Any], ident: Any, buffers: Any, *, track: bool = False
    ) -> None:
        self.wait_for_room()
        if os.getpid() != self.capture.pid or not self.pacer.take(
            message, buffers, target=target, ident=ident
        ):
            super().send(target, message, ident=ident, buffers=buffers, track=track)

    def _cull_digest_history(self) -> None:
        """Forget some old signatures. The stock way draws from the user's generator (H9)."""
        surplus = max(len(self.digest_history) // 10, 1)
        for digest in list(islice(self.digest_history, surplus)):
            self.digest_history.discard(digest)

    def _audience(self, message: dict[str, Any]) -> list[Mapping[str, Any]]:
        kind = message["header"]["msg_type"]
        parent = message["parent_header"]
        if kind not in OUTPUT_KINDS:
            self.capture.takers.note(kind, message["content"])
            return [parent]
        message["content"] = self.capture.redacted(message["content"])
        message["metadata"] = self.capture.redacted(message["metadata"])
        message["content"], under = self.capture.audience(
            kind, message["content"], message["metadata"], parent
        )
        return under


def watch_subscribers(thread: IOPubThread) -> threading.Event:
    """Return an event that is set once somebody listens to IOPub. What is sent before is lost."""
    event = threading.Event()
    stream = getattr(thread, "_xpub_stream", None)
    if stream is None:
        event.set()  # an ipykernel whose socket does not tell
        return event

    def receive(frames: list[bytes]) -> None:
        event.set()
        thread._handle_subscription(frames)

    stream.on_recv(receive)
    return event


def connect_thread(thread: IOPubThread, session: CapturingSession) -> None:
    """Let all that leaves through `thread` pass through `session`, as of forked children.

    Their messages reach it through a pipe.
    """
    session.pace_on(thread)
    pipe = getattr(thread, "_pipe_in", None)
    if pipe is None:
        return

    def receive(frames: list[bytes]) -> None:
        if len(frames) > 1 and frames[0] == thread._pipe_uuid:
            idents, parts = session.feed_identities(frames[1:])
            message = session.deserialize(parts)
            content = message["content"]
            if not session._audience(message):
                return
            if message["content"] is not content:  # a secret was redacted
                frames = [frames[0], *session.serialize(message, idents)]
        thread._handle_pipe_msg(frames)

    pipe.on_recv(receive)
