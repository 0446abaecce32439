"""http.client, and with it urllib.request and xmlrpc: every request is a journaled call.

Hooked are the exact types HTTPConnection and HTTPSConnection. Who derives from them (urllib3, and
many others) changes how a connection is made and read, so a subclass passes; urllib3 has a hook of
its own. On replay the genuine HTTPResponse parses the recorded head, counts and unpacks the body.

A request is announced in `endheaders`, which also sends it: urllib wraps what fails there, and only
that, into a URLError. A body that follows in `send` is gathered first, because the announcement
needs its hash: then announcement, connection and failures are put off to `getresponse`. `connect`
called by itself is an observation; where it is part of a request it is part of that call.

What a recorded connection does not have is a real `sock`: it sends nothing, and has no peer.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import http.client
import io
from collections.abc import Callable
from typing import Any, NamedTuple

from durable_kernel.effects.http_body import Bodies, Spool, drain
from durable_kernel.effects.http_crossings import SWITCHING_PROTOCOLS, Crossings
from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_files import attach_live, attach_recorded
from durable_kernel.effects.http_heads import StandInSocket, head_bytes, head_of
from durable_kernel.effects.http_keys import HEADER, Keyed, keyed
from durable_kernel.effects.http_payloads import BrokenEnd, Payload, ResumedPayload
from durable_kernel.effects.http_recall import make_read_interrupted, recall
from durable_kernel.effects.http_repeat import came_back_gone
from durable_kernel.effects.http_wire import (
    RequestHeaders,
    body_digest,
    describe_headers,
    describe_request,
    parse_answer,
    redact_url,
)
from durable_kernel.ports import (
    CURRENT_LANE,
    Call,
    ErrorFacts,
    Lane,
    Outcome,
    Step,
    Witness,
    machinery,
    rebuild_error,
    suspended,
    value_of,
)

__all__ = ["install"]

_EXACT = frozenset({http.client.HTTPConnection, http.client.HTTPSConnection})
_PENDING = "_durable_pending"

ReadInterrupted = make_read_interrupted(ConnectionResetError)


def install(witness: Witness) -> None:
    """Put the hooks into http.client. Again: only the witness is replaced."""
    known = getattr(http.client.HTTPConnection.endheaders, "durable_hook", None)
    if known is not None:
        known.told.witness = witness
        return
    hook = _Hook(witness)
    plain: Any = http.client.HTTPConnection
    tls: Any = http.client.HTTPSConnection
    plain.endheaders = hook.wrap_endheaders(plain.endheaders)
    plain.getresponse = hook.wrap_getresponse(plain.getresponse)
    plain.connect = hook.wrap_connect(plain.connect)
    tls.connect = hook.wrap_connect(tls.connect)


class _Errors:
    """Implements `http_recall.ErrorKinds`."""

    @staticmethod
    def rebuild(facts: ErrorFacts) -> BaseException:
        return rebuild_error(facts)

    @staticmethod
    def interrupted(label: str, reason: str) -> BaseException:
        error: BaseException = ReadInterrupted(label, reason)
        return error

    @staticmethod
    def lost(sentence: str, *, has_head: bool) -> BaseException:
        kind = ConnectionResetError if has_head else http.client.RemoteDisconnected
        return kind(sentence)


class _Request:
    """What a connection is about to send: the lines that wait in its buffer, and the body."""

    def __init__(self, conn: Any) -> None:
        self.lines: list[bytes] = list(conn._buffer)
        self.method, _, target = self.lines[0].decode("latin-1").partition(" ")
        self.url = _full_url(conn, target.rpartition(" ")[0])
        self.body: Any = None
        self.given: Any = None
        self.digest, self.size_bytes = "", 0
        self.is_gathered = False

    def take_body(self, body: Any, block_bytes: int, bodies: Bodies) -> None:
        """Take note of a body; one that user code produces is drained, here in the lane."""
        if body is None:
            return
        if not hasattr(body, "read"):
            with contextlib.suppress(TypeError):  # no buffer: an iterable
                whole = bytes(memoryview(body))
                self.body, self.digest, self.size_bytes = body, body_digest(whole), len(whole)
                return
        self.given = body
        self.take_spool(bodies.drain(body, "latin-1", block_bytes))

    def take_spool(self, spool: Spool) -> None:
        self.body, self.digest, self.size_bytes = spool, spool.digest, spool.size_bytes

    @property
    def is_body_unsent(self) -> bool:
        """Tell whether nothing was sent of a body that user code gave."""
        return self.given is not None and not self.body.was_read

    def content(self) -> bytes:
        """Return the body, to look into it."""
        if isinstance(self.body, Spool):
            return self.body.content()
        return b"" if self.body is None else bytes(memoryview(self.body))

    def pieces(self) -> Any:
        """Return the body as it may be sent, once."""
        return self.body.pieces() if isinstance(self.body, Spool) else self.body

    def call(self, lane: Lane, conn: Any, headers: RequestHeaders) -> Call:
        seconds = conn.timeout if isinstance(conn.timeout, (int, float)) else None
        return describe_request(
            lane,
            self.method,
            self.url,
            headers,
            body=self.digest,
            body_bytes=self.size_bytes,
            read_body=self.content,
            timeout={"connect": seconds, "read": seconds},
        )


class _Headers(NamedTuple):
    """The headers of a request as `http.client` is about to send them, and what they say."""

    lines: list[bytes]
    described: RequestHeaders
    announce_body: bool

    @classmethod
    def of(cls, lines: list[bytes]) -> _Headers:
        pairs = [(name, value.lstrip()) for name, _, value in (x.partition(b":") for x in lines)]
        announce_body = any(
            (lowered := name.lower()) == b"transfer-encoding"
            or (lowered == b"content-length" and value != b"0")
            for name, value in pairs
        )
        return cls(lines, describe_headers(pairs), announce_body)


def _full_url(conn: Any, target: str) -> str:
    if "://" in target:  # to a proxy that forwards
        return target
    tunnel = conn._tunnel_host
    host, port = (tunnel, conn._tunnel_port) if tunnel else (conn.host, conn.port)
    host = f"[{host}]" if ":" in host and host[0] != "[" else host
    scheme = "https" if isinstance(conn, http.client.HTTPSConnection) else "http"
    return f"{scheme}://{host}{'' if port == conn.default_port else f':{port}'}{target}"


class _Gathering(NamedTuple):
    """A request whose body is still to come through `send`."""

    lane: Lane
    request: _Request
    spool: Spool


class _Begun(NamedTuple):
    """A request that was announced, and how it is sent."""

    lane: Lane
    request: _Request
    call: Call
    send: Callable[[Any], None]


class _Sent:
    """A request that was sent. Without an answer, it is abandoned."""

    def __init__(self, exchange: Exchange, begun: _Begun) -> None:
        self._exchange: Exchange | None = exchange
        self.begun = begun

    def take(self) -> Exchange:
        """Hand the exchange over to whoever reads the answer."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "an answer is read once"
        return exchange

    def __del__(self) -> None:
        if self._exchange is not None:
            self._exchange.abandon()


class _Answer(NamedTuple):
    """An answer that does not come from the connection. `payload` None: an exception comes."""

    payload: Payload | None
    broken: BrokenEnd | None


class _Failing:
    """The file of an answer whose head never came: `http.client` meets the recorded exception."""

    def __init__(self, make_error: Callable[[], BaseException]) -> None:
        self._make_error = make_error

    def readline(self, _limit: int = -1) -> bytes:
        raise self._make_error()

    def _ignore(self) -> None:
        """Do nothing: there is no connection."""

    close = flush = _ignore


class _Hook:
    """Decides between the world, the journal and a cut answer."""

    def __init__(self, witness: Witness) -> None:
        self.told = Crossings("http.client", witness)
        self._bodies = Bodies()
        self._last_headers = _Headers.of([])  # clients send the same again and again
        self._endheaders: Any = None
        self._getresponse: Any = None

    # --- what takes the place of http.client's methods ---

    def wrap_endheaders(self, original: Any) -> Any:
        self._endheaders = original

        @functools.wraps(original)
        def endheaders(
            conn: Any, message_body: Any = None, *, encode_chunked: bool = False
        ) -> None:
            lane = CURRENT_LANE.get()
            if type(conn) not in _EXACT or not conn._buffer:
                original(conn, message_body, encode_chunked=encode_chunked)
                return
            _forget(conn)
            if lane is None:
                self._pass(conn)
                original(conn, message_body, encode_chunked=encode_chunked)
                return
            request = _Request(conn)
            if message_body is None and self._headers_of(request).announce_body:
                self._gather(lane, conn, request)
                return
            request.take_body(message_body, conn.blocksize, self._bodies)

            def send(sender: Any) -> None:
                original(sender, request.pieces(), encode_chunked=encode_chunked)

            self._begin(lane, conn, request, send)

        endheaders.durable_hook = self  # type: ignore[attr-defined]
        return endheaders

    def wrap_getresponse(self, original: Any) -> Any:
        self._getresponse = original

        @functools.wraps(original)
        def getresponse(conn: Any) -> Any:
            pending = vars(conn).pop(_PENDING, None)
            if isinstance(pending, _Gathering):
                self._send_gathered(conn, pending)
                pending = vars(conn).pop(_PENDING)
            if isinstance(pending, _Sent):
                return self._receive(conn, pending.take(), pending.begun)
            response = original(conn)
            if isinstance(pending, _Answer) and pending.payload is not None:
                attach_recorded(response, pending.payload, pending.broken)
            return response

        return getresponse

    def wrap_connect(self, original: Any) -> Any:
        @functools.wraps(original)
        def connect(conn: Any) -> None:
            lane = CURRENT_LANE.get()
            if lane is None or type(conn) not in _EXACT:
                original(conn)
                return
            url = _full_url(conn, "")
            call = Call("connect", f"connect to {redact_url(url)}", {"url": redact_url(url)})
            step = lane.port.begin(lane, call)
            if step.outcome is None:
                _connect(original, conn, step.settle)
                return
            value_of(step.outcome, lambda: ConnectionResetError(f"{call.label} was marked failed"))
            conn.sock = StandInSocket()

        return connect

    def _pass(self, conn: Any) -> None:
        request = _Request(conn)
        self.told.passed(request.method, request.url)

    def _headers_of(self, request: _Request) -> _Headers:
        lines = request.lines[1:]
        if self._last_headers.lines != lines:
            self._last_headers = _Headers.of(lines)
        return self._last_headers

    # --- a body that comes through `send` ---

    def _gather(self, lane: Lane, conn: Any, request: _Request) -> None:
        """Let the connection believe that the head was sent, and gather what follows."""
        spool = Spool()

        def send(data: Any) -> None:
            """Add to the body: bytes, a file, or an iterable of bytes."""
            is_whole = isinstance(data, (bytes, bytearray, memoryview))
            gathered = drain([data] if is_whole else data, "latin-1", conn.blocksize)
            for piece in gathered.pieces():
                spool.add(piece)

        sock = conn.sock
        self._send_nowhere(conn)
        conn.sock = sock
        conn.send = send
        setattr(conn, _PENDING, _Gathering(lane, request, spool))
        request.is_gathered = True

    def _send_gathered(self, conn: Any, gathered: _Gathering) -> None:
        _forget(conn)
        request = gathered.request
        request.take_spool(gathered.spool)

        def send(sender: Any) -> None:
            sender.send(b"\r\n".join([*request.lines, b"", b""]))
            for piece in gathered.spool.pieces():
                sender.send(piece)

        self._begin(gathered.lane, conn, request, send)

    def _send_nowhere(self, conn: Any, answer: Any = None) -> None:
        """Bring the connection into the state of one that has sent, and waits for `answer`."""
        with machinery():
            conn.sock = StandInSocket(answer)
            if conn._buffer:
                self._endheaders(conn)

    # --- the call ---

    def _begin(self, lane: Lane, conn: Any, request: _Request, send: Callable[[Any], None]) -> None:
        """Announce a request, and send it unless it is recorded."""
        call = request.call(lane, conn, self._headers_of(request).described)
        step = lane.port.begin(lane, call, parse_answer)
        self._carry_out(conn, _Begun(lane, request, call, send), step)

    def _carry_out(self, conn: Any, begun: _Begun, step: Step) -> None:
        lane, request, call, send = begun
        if step.outcome is not None:
            self._recall(lane, conn, request, call, step)
            return
        key = keyed(lane, call, step) if call.act else None
        if key is not None:
            _add_key(conn, request, key)
        exchange = Exchange(call, step, key)
        if step.head is not None:
            self._resume(conn, exchange, send)
            return
        if isinstance(conn.sock, StandInSocket):
            conn.sock = None  # it was recorded; from here on there is a connection
        try:
            with suspended():
                send(conn)
        except BaseException as error:
            exchange.fail(error, is_unsent=True, is_body_unsent=request.is_body_unsent)
            if request.is_body_unsent:
                self._bodies.give_back(request.given, request.body)
            raise
        setattr(conn, _PENDING, _Sent(exchange, begun))

    def _receive(self, conn: Any, exchange: Exchange, begun: _Begun) -> Any:
        """Read the head of a live answer, record it, and put the tee below it."""
        try:
            with suspended():
                response = self._getresponse(conn)
        except BaseException as error:
            exchange.fail(error)
            raise
        if exchange.step.is_unasked and (
            found := came_back_gone(exchange.call, exchange.step, response.status)
        ):
            return self._doubt(conn, exchange, begun, found)
        exchange.set_head(head_of(response))
        label = exchange.call.label
        if response.status == SWITCHING_PROTOCOLS:
            self.told.upgraded(label)
        attach_live(response, exchange, functools.partial(self.told.taken, label))
        return response

    def _doubt(self, conn: Any, exchange: Exchange, begun: _Begun, found: str) -> Any:
        """Put the call in doubt that came back so; return the answer that is decided on."""
        with machinery():
            conn.close()
        lane, request, call, _send = begun
        decided = lane.port.put_in_doubt(lane, call, exchange.step, found, parse_answer)
        # As it was when the request was announced.
        conn._buffer = [] if request.is_gathered else list(request.lines)
        conn._HTTPConnection__state = "Request-sent" if request.is_gathered else "Request-started"
        self._carry_out(conn, begun, decided)
        return conn.getresponse()

    def _recall(self, lane: Lane, conn: Any, request: _Request, call: Call, step: Any) -> None:
        """Prepare the connection to give what is recorded."""
        recalled = recall(lane, call, step, step.outcome, _Errors())
        if recalled.head is not None:
            if recalled.head["status"] == SWITCHING_PROTOCOLS:
                self.told.upgraded(call.label)  # on replay there is nobody to talk to
            self._serve(conn, recalled.head, recalled.payload(), recalled.broken)
            return
        assert recalled.error is not None, "a call without a head raised something"
        facts = recalled.outcome.error
        if facts is not None and facts.extra.get("is_unsent"):
            self._send_nowhere(conn)
            conn.sock = None
            if facts.extra.get("is_body_unsent") and request.given is not None:
                self._bodies.give_back(request.given, request.body)
            raise recalled.error()
        self._send_nowhere(conn, _Failing(recalled.error))
        setattr(conn, _PENDING, _Answer(None, None))

    def _resume(self, conn: Any, exchange: Exchange, send: Callable[[Any], None]) -> None:
        """Serve what was recorded of a cut answer; behind it the request is made again (H23)."""
        repeating = copy.copy(conn)
        repeating._buffer = list(conn._buffer)
        repeating._HTTPConnection__response = None
        repeating.sock = None

        def reopen() -> http.client.HTTPResponse:
            send(repeating)
            found: http.client.HTTPResponse = self._getresponse(repeating)
            return found

        label = exchange.call.label
        payload = ResumedPayload(
            exchange,
            reopen,
            leave=lambda _is_whole: repeating.close(),
            interrupted=lambda reason: _Errors.interrupted(label, reason),
        )
        self._serve(conn, exchange.step.head, payload, None)

    def _serve(
        self, conn: Any, head: dict[str, Any], payload: Payload, broken: BrokenEnd | None
    ) -> None:
        self._send_nowhere(conn, io.BytesIO(head_bytes(head)))
        setattr(conn, _PENDING, _Answer(payload, broken))


def _forget(conn: Any) -> None:
    """Leave an earlier request of this connection alone: it gets no answer any more."""
    vars(conn).pop(_PENDING, None)
    vars(conn).pop("send", None)


def _add_key(conn: Any, request: _Request, key: Keyed) -> None:
    """Add the key to the lines that are sent."""
    line = f"{HEADER}: {key.key}".encode()
    if line not in request.lines:
        request.lines.append(line)
        if conn._buffer:
            conn._buffer.append(line)


def _connect(original: Any, conn: Any, settle: Callable[[Outcome], None]) -> None:
    try:
        with suspended():
            original(conn)
    except BaseException as error:
        settle(Outcome.of_error(error))
        raise
    settle(Outcome.of_value(None))
