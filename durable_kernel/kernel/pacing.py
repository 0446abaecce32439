"""Pacing: what is shown again leaves no faster than a Jupyter server lets it pass.

A server drops what a kernel sends beyond 1,000 messages or 1 MB of streams' text a second, both
counted over the 3 s before a message comes (jupyter_server, `ZMQChannelsWebsocketConnection`). A
cell that printed for an hour is replayed in seconds, so all that it showed would come at once.

While something is shown again, all messages of cells and widgets wait here in one queue:

    a stream's text      is joined with what waits of the same request and stream, up to a size
    an update            of a display or a widget takes the place of one that waits
    clear_output         and the output after it take away what waits of the same request
    each other message   keeps its place

A widget that comes, goes, or begins or ceases to take a request's outputs is a *border*: nothing is
joined or taken away across it. What is left goes out as the bucket of a `Rate` fills. Who writes
faster than that waits as soon as `_QUEUED_BYTES_MAX` are queued.

Knows messages, and neither cells nor sockets.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PACED_KINDS", "Pacer", "Rate"]

PACED_KINDS = frozenset(
    {
        "clear_output",
        "comm_close",
        "comm_msg",
        "comm_open",
        "display_data",
        "error",
        "execute_result",
        "stream",
        "update_display_data",
    }
)

_TEXT_CHARS_MAX = 32 * 1024
_ENVELOPE_BYTES = 1024
"""Headers, signature and delimiters of a message; a server counts them, too."""
_QUEUED_BYTES_MAX = 16 << 20
_MESSAGES_S = 600
"""Of the 1,000 that a server lets pass: it may stall for 1.5 s, and see more within a window."""
_BURST_S = 0.5
_WAIT_S_MIN = 0.01
"""So that one wake-up sends several small messages."""


class Rate:
    """A bucket that is full at first and holds seconds of what may be sent. A pure machine."""

    def __init__(self) -> None:
        self._room_s = _BURST_S
        self._at_s: float | None = None

    def take(self, cost_s: float, now_s: float) -> float:
        """Take what takes `cost_s` to send. Returns 0, or the seconds until it may leave.

        What costs more than a full bucket leaves when it is full, and empties it below zero.
        """
        if self._at_s is not None:
            self._room_s = min(_BURST_S, self._room_s + now_s - self._at_s)
        self._at_s = now_s
        missing_s = min(cost_s, _BURST_S) - self._room_s
        if missing_s > 0:
            return max(missing_s, _WAIT_S_MIN)
        self._room_s -= cost_s
        return 0.0


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message that waits, with what it was sent with."""

    message: dict[str, Any]
    buffers: Any
    options: Mapping[str, Any]
    size_bytes: int = 0
    text: list[str] | None = None
    chars: int = 0
    is_gone: bool = False

    def joins(self, name: str, piece: str) -> bool:
        """Tell whether more text of a stream fits into it."""
        is_text = self.text is not None and not self.is_gone
        return (
            is_text
            and self.message["content"]["name"] == name
            and self.chars + len(piece) <= _TEXT_CHARS_MAX
        )


class Pacer:
    """A queue before the socket. Safe from any thread.

    `send` is called with (message, buffers, options), and `call_later` with seconds and a function;
    both belong to one thread, which sends. `bytes_s` of 0 paces nothing.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any], Any, Mapping[str, Any]], object],
        call_later: Callable[[float, Callable[[], None]], object],
        now_s: Callable[[], float],
        bytes_s: float = 0.0,
    ) -> None:
        self._send = send
        self._call_later = call_later
        self._now_s = now_s
        self._bytes_s = bytes_s
        self._rate = Rate()
        self._lock = threading.RLock()
        self._queue: deque[_Waiting] = deque()
        self._latest: dict[tuple[str, ...], _Waiting] = {}
        self._shown: dict[str, list[_Waiting]] = {}
        self._clears: dict[str, _Waiting] = {}
        self._clearing: set[str] = set()
        self._queued_bytes = 0
        self._users = 0
        self._is_pumping = False
        self._has_room = threading.Event()
        self._has_room.set()

    def limit(self, bytes_s: float) -> None:
        """Let so many bytes a second pass from now on; 0: all."""
        with self._lock:
            self._bytes_s, self._rate = bytes_s, Rate()

    def begin(self) -> None:
        """From now on messages are shown again; ends as often as it began."""
        with self._lock:
            self._users += 1

    def end(self) -> None:
        """End it: what comes from now on is new, and passes at once when nothing waits any more."""
        with self._lock:
            self._users -= 1

    @property
    def is_empty(self) -> bool:
        """Tell whether everything was sent."""
        return not self._queue and not self._is_pumping

    @property
    def is_full(self) -> bool:
        """Tell whether so much waits that who writes more has to wait, too."""
        return self._queued_bytes > _QUEUED_BYTES_MAX

    def wait_for_room(self) -> None:
        """Block as long as too much waits. Not for the thread that sends."""
        self._has_room.wait()

    def take(self, message: dict[str, Any], buffers: Any, **options: Any) -> bool:
        """Queue a message. False: it may be sent at once, and the caller does."""
        if message["msg_type"] not in PACED_KINDS or not self._bytes_s:
            return False
        with self._lock:
            if not self._users and self.is_empty:
                return False
            self._put(message, buffers, options)
            if not self._is_pumping:
                self._is_pumping = True
                self._call_later(0.0, self._pump)
        return True

    # --- what waits -------------------------------------------------------------------------------

    def _put(self, message: dict[str, Any], buffers: Any, options: Mapping[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        request = str((message["parent_header"] or {}).get("msg_id"))
        if kind.startswith("comm_"):
            self._put_comm(kind, message, buffers, options)
        elif kind == "stream":
            self._clear_before(request)
            self._put_text(request, message, options)
        elif kind == "update_display_data":
            key = ("display", str((content.get("transient") or {}).get("display_id")))
            self._put_latest(key, message, buffers, options)
        elif kind == "clear_output":
            self._put_clear(request, message, options)
        else:
            self._clear_before(request)
            self._shown.setdefault(request, []).append(self._append(message, buffers, options))

    def _put_text(self, request: str, message: dict[str, Any], options: Mapping[str, Any]) -> None:
        content = message["content"]
        name, text = content["name"], content["text"]
        shown = self._shown.setdefault(request, [])
        for start in range(0, len(text), _TEXT_CHARS_MAX):
            piece = text[start : start + _TEXT_CHARS_MAX]
            if not shown or not shown[-1].joins(name, piece):
                head = {**message, "content": {"name": name, "text": ""}}
                shown.append(self._append(head, None, options))
                shown[-1].text = []
            last = shown[-1]
            assert last.text is not None, "only text is joined"
            last.text.append(piece)
            last.chars += len(piece)
            self._grow(last, len(json.dumps(piece, ensure_ascii=False).encode("utf-8", "replace")))

    def _put_clear(self, request: str, message: dict[str, Any], options: Mapping[str, Any]) -> None:
        """Queue a clear_output: what it takes away, it does at once or before the next output."""
        if message["content"].get("wait"):
            if request not in self._clearing:
                self._clears[f"next {request}"] = self._append(message, None, options)
                self._clearing.add(request)
            return
        self._clearing.discard(request)
        self._take_away(request)
        self._clears[request] = self._append(message, None, options)

    def _put_comm(
        self, kind: str, message: dict[str, Any], buffers: Any, options: Mapping[str, Any]
    ) -> None:
        content = message["content"]
        told = content.get("data")
        told = told if isinstance(told, dict) else {}
        state: Any = told.get("state")
        is_update = (
            kind == "comm_msg" and isinstance(state, dict) and told.get("method") == "update"
        )
        if not is_update or buffers or "msg_id" in state or told.get("buffer_paths"):
            self._append(message, buffers, options)
            self._draw_border()
            return
        key = ("widget", str(content["comm_id"]))
        known = self._latest.get(key)
        if known is not None and not known.is_gone:
            old = known.message["content"]
            merged = {**old["data"], "state": {**old["data"]["state"], **state}}
            known.message["content"] = {**old, "data": merged}
            return
        message = {**message, "content": dict(content)}
        self._latest[key] = self._append(message, buffers, options)

    def _put_latest(
        self,
        key: tuple[str, ...],
        message: dict[str, Any],
        buffers: Any,
        options: Mapping[str, Any],
    ) -> None:
        known = self._latest.get(key)
        if known is not None:
            self._drop(known)
        self._latest[key] = self._append(message, buffers, options)

    def _append(
        self, message: dict[str, Any], buffers: Any, options: Mapping[str, Any]
    ) -> _Waiting:
        waiting = _Waiting(message, buffers, options)
        self._queue.append(waiting)
        self._grow(waiting, _ENVELOPE_BYTES + _size_of(message["content"], buffers))
        return waiting

    def _grow(self, waiting: _Waiting, size_bytes: int) -> None:
        waiting.size_bytes += size_bytes
        self._queued_bytes += size_bytes
        if self._queued_bytes > _QUEUED_BYTES_MAX:
            self._has_room.clear()

    def _drop(self, waiting: _Waiting) -> None:
        """Take a message out of the queue, where it stays as an empty place."""
        if not waiting.is_gone:
            waiting.is_gone = True
            self._shrink(waiting)

    def _shrink(self, waiting: _Waiting) -> None:
        self._queued_bytes -= waiting.size_bytes
        if self._queued_bytes <= _QUEUED_BYTES_MAX:
            self._has_room.set()

    def _clear_before(self, request: str) -> None:
        """Take away all before a clear_output that waited for this next output."""
        if request in self._clearing:
            self._clearing.discard(request)
            waited = self._clears.pop(f"next {request}")
            self._take_away(request)
            self._clears[request] = waited

    def _take_away(self, request: str) -> None:
        """Drop what waits to be shown, and older ways to take it away."""
        for waiting in self._shown.pop(request, ()):
            self._drop(waiting)
        for key in (request, f"next {request}"):
            if key in self._clears:
                self._drop(self._clears.pop(key))

    def _draw_border(self) -> None:
        self._latest.clear()
        self._shown.clear()
        self._clears.clear()
        self._clearing.clear()

    # --- what goes out: on the thread that sends --------------------------------------------------

    def _pump(self) -> None:
        while (due := self._next_due()) is not None:
            self._send(*due)

    def _next_due(self) -> tuple[dict[str, Any], Any, Mapping[str, Any]] | None:
        """Take what may leave now. None: nothing may, and if something waits it is called again."""
        with self._lock:
            while self._queue and self._queue[0].is_gone:
                self._queue.popleft()
            if not self._queue:
                self._is_pumping = False
                self._draw_border()
                return None
            first = self._queue[0]
            size = first.size_bytes if first.text is not None else 0
            wait_s = self._rate.take(max(size / self._bytes_s, 1 / _MESSAGES_S), self._now_s())
            if wait_s:
                self._call_later(wait_s, self._pump)
                return None
            self._queue.popleft()
            self._drop(first)
            message, buffers, options = first.message, first.buffers, first.options
            if first.text is not None:
                message["content"]["text"] = "".join(first.text)
            first.message, first.buffers, first.text = {}, None, None  # others still name it
            return message, buffers, options


def _size_of(content: Mapping[str, Any], buffers: Any) -> int:
    """Estimate what a message holds in memory, in bytes; the text of a stream is counted apart."""
    data = content.get("data")
    texts = data.values() if isinstance(data, dict) else ()
    size = sum(len(each) for each in texts if isinstance(each, str | bytes))
    return size + sum(memoryview(each).nbytes for each in buffers or ())
