"""httpx and httpx2: every request that goes through their own HTTP transport is a journaled call.

The hook sits at `HTTPTransport.handle_request` and `AsyncHTTPTransport.handle_async_request`, whose
contract is public: a Request in, a Response with a stream of raw bytes out. Everything above runs
again on replay: redirects, cookies, authentication, retries, decoders. Everything below (pool,
proxy, TLS) does not. Other transports (mock, ASGI, WSGI) are not hooked: they are pure, or carry
effects of their own.

Nothing here imports the libraries: they are patched once the user has imported them. What a
recorded response does not have is `extensions["network_stream"]`; an upgraded connection (status
101) is told to the witness, because what is said over it is not recorded.

The read error behind a cut answer that came back different (H23) is both: `except httpx.HTTPError`
catches it, and so does `except RequestInterrupted`. It derives from `httpx.ReadError` and from
RequestInterrupted, hence also from Exception.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import wrapt

from durable_kernel.effects.http_body import Spool
from durable_kernel.effects.http_crossings import SWITCHING_PROTOCOLS, Crossings
from durable_kernel.effects.http_exchange import Exchange, await_cancellation
from durable_kernel.effects.http_keys import HEADER, Keyed, keyed
from durable_kernel.effects.http_recall import make_read_interrupted, recall
from durable_kernel.effects.http_repeat import came_back_gone
from durable_kernel.effects.http_wire import (
    AnswerChangedError,
    RecordedPrefix,
    RequestHeaders,
    body_digest,
    describe_headers,
    describe_request,
    make_head,
    open_headers,
    parse_answer,
)
from durable_kernel.effects.httpx_streams import (
    AsyncRecordingStream,
    AsyncReplayingStream,
    AsyncResumingStream,
    RecordingStream,
    ReplayingStream,
    ResumingStream,
    SpooledBody,
)
from durable_kernel.ports import (
    CURRENT_LANE,
    Call,
    ErrorFacts,
    Lane,
    Step,
    Witness,
    reach_ending,
    rebuild_error,
    suspended,
)

__all__ = ["install"]

_LIBRARIES = ("httpx", "httpx2")
_NO_BODY = "", 0
_CHUNKED = b"transfer-encoding"


def install(witness: Witness) -> None:
    """Put hooks into both libraries, now or when they are imported.

    Called again, it only replaces the witness.
    """
    for name in _LIBRARIES:
        wrapt.register_post_import_hook(functools.partial(_patch, witness), name)


def _patch(witness: Witness, module: Any) -> None:
    """Put the hooks into `module`. It may be patched already, also under its other name."""
    known = getattr(module.HTTPTransport.handle_request, "durable_hook", None)
    if known is not None:
        known.told.witness = witness
        return
    hook = _Hook(module, witness)
    module.HTTPTransport.handle_request = hook.wrap(module.HTTPTransport.handle_request)
    module.AsyncHTTPTransport.handle_async_request = hook.wrap_async(
        module.AsyncHTTPTransport.handle_async_request
    )


class _Hook:
    """The hook of one library: decides between the world, the journal and a cut answer."""

    def __init__(self, module: Any, witness: Witness) -> None:
        self.told = Crossings(module.__name__, witness)
        self._library = _Library(module)

    def wrap(self, original: Any) -> Any:
        library = self._library

        @functools.wraps(original)
        def handle_request(transport: Any, request: Any) -> Any:
            lane = CURRENT_LANE.get()
            if lane is None or not isinstance(request.stream, library.sync_stream):
                self._pass(lane, request)
                return original(transport, request)
            content = getattr(request, "_content", None)
            body = _NO_BODY if content == b"" else library.drain(request)
            call = library.describe(lane, request, body)
            step = lane.port.begin(lane, call, parse_answer)
            return carry_out(lane, call, step, transport, request)

        def carry_out(lane: Lane, call: Call, step: Step, transport: Any, request: Any) -> Any:
            key = keyed(lane, call, step) if call.act else None
            if step.outcome is not None:
                recalled = recall(lane, call, step, step.outcome, library.errors_of(request))
                if recalled.head is None:
                    assert recalled.error is not None
                    raise recalled.error()
                self.meet_upgrade(call, recalled.head)
                return library.rebuild(recalled.head, library.replaying(recalled))
            if "trace" in request.extensions:
                library.tell_of_trace(lane, call)
            exchange = Exchange(call, step, key)
            sent = request if key is None else library.with_key(request, key)
            if step.head is not None:
                return self._resume(exchange, lambda: original(transport, sent))
            try:
                with suspended():
                    response = original(transport, sent)
            except BaseException as error:
                exchange.fail(error)
                raise
            if step.is_unasked and (found := came_back_gone(call, step, response.status_code)):
                with suspended():
                    response.close()
                decided = lane.port.put_in_doubt(lane, call, step, found, parse_answer)
                return carry_out(lane, call, decided, transport, request)
            head = library.head_of(response)
            stream = library.recording(response.stream, exchange, _length_of(head))
            return self._record(exchange, response, head, stream)

        handle_request.durable_hook = self  # type: ignore[attr-defined]
        return handle_request

    def wrap_async(self, original: Any) -> Any:
        library = self._library

        @functools.wraps(original)
        async def handle_async_request(transport: Any, request: Any) -> Any:
            lane = CURRENT_LANE.get()
            if lane is None or not isinstance(request.stream, library.async_stream):
                self._pass(lane, request)
                return await original(transport, request)
            call = library.describe(lane, request, await library.drain_async(request))
            step = await lane.port.begin_async(lane, call, parse_answer)
            return await carry_out(lane, call, step, transport, request)

        async def carry_out(
            lane: Lane, call: Call, step: Step, transport: Any, request: Any
        ) -> Any:
            key = keyed(lane, call, step)
            if step.outcome is not None:
                recalled = recall(lane, call, step, step.outcome, library.errors_of(request))
                await step.turn()
                if recalled.head is None:
                    assert recalled.error is not None
                    await await_cancellation(step.outcome)
                    raise recalled.error()
                self.meet_upgrade(call, recalled.head)
                return library.rebuild(recalled.head, library.async_replaying(recalled, step))
            if "trace" in request.extensions:
                library.tell_of_trace(lane, call)
            exchange = Exchange(call, step, key)
            sent = request if key is None else library.with_key(request, key)
            if step.head is not None:
                await step.turn()
                return self._resume_async(exchange, lambda: original(transport, sent))
            response = None
            try:
                with suspended():
                    response = await original(transport, sent)
                await step.turn()
            except BaseException as error:
                if response is not None:
                    with suspended():
                        await response.aclose()
                await reach_ending(step, error)
                exchange.fail(error)
                raise
            if found := came_back_gone(call, step, response.status_code):
                with suspended():
                    await response.aclose()
                decided = await lane.port.put_in_doubt_async(lane, call, step, found, parse_answer)
                return await carry_out(lane, call, decided, transport, request)
            stream = library.async_recording(response.stream, exchange)
            return self._record(exchange, response, library.head_of(response), stream)

        return handle_async_request

    def _resume(self, exchange: Exchange, send: Callable[[], Any]) -> Any:
        """Serve what is recorded of a cut answer; `send` makes the request again behind it."""
        library = self._library

        def reopen(prefix: RecordedPrefix) -> Any:
            response = send()
            try:
                prefix.check_head(library.head_of(response))
            except AnswerChangedError:
                response.stream.close()
                raise
            return response.stream

        body = library.resuming(exchange, reopen, library.interrupted)
        return library.rebuild(exchange.step.head, body)

    def _resume_async(self, exchange: Exchange, send: Callable[[], Awaitable[Any]]) -> Any:
        """Do the same for the asynchronous transport."""
        library = self._library

        async def reopen(prefix: RecordedPrefix) -> Any:
            response = await send()
            try:
                prefix.check_head(library.head_of(response))
            except AnswerChangedError:
                await response.stream.aclose()
                raise
            return response.stream

        body = library.async_resuming(exchange, reopen, library.interrupted)
        return library.rebuild(exchange.step.head, body)

    def _pass(self, lane: Lane | None, request: Any) -> None:
        if lane is None:
            self.told.passed(request.method, str(request.url))

    def meet_upgrade(self, call: Call, head: dict[str, Any]) -> None:
        """On replay there is nobody to talk to."""
        if head["status"] == SWITCHING_PROTOCOLS:
            self.told.upgraded(call.label)

    def _record(self, exchange: Exchange, response: Any, head: dict[str, Any], stream: Any) -> Any:
        """Record the head of a live response and put the tee into it."""
        if exchange.keyed is None:
            exchange.step.set_head(head)
        else:
            exchange.set_head(head)
        if response.status_code == SWITCHING_PROTOCOLS:
            self.told.upgraded(exchange.call.label)
        response.stream = stream
        stream.attach(response)
        return response


class _Library:
    """One of the two libraries: its classes, and how they are taken apart and built."""

    def __init__(self, module: Any) -> None:
        self._response = module.Response
        self.request_error = module.RequestError
        self.read_error = module.ReadError
        self._last_headers: tuple[Any, RequestHeaders] = [], describe_headers([])
        self.read_interrupted = make_read_interrupted(module.ReadError)
        self.sync_stream = module.SyncByteStream
        self.async_stream = module.AsyncByteStream
        both = (module.SyncByteStream, module.AsyncByteStream)
        self.spooled: Any = type("SpooledBody", (SpooledBody, *both), {})
        self.recording = _based(RecordingStream, self.sync_stream)
        self.resuming = _based(ResumingStream, self.sync_stream)
        self.replaying = _based(ReplayingStream, self.sync_stream)
        self.async_recording = _based(AsyncRecordingStream, self.async_stream)
        self.async_resuming = _based(AsyncResumingStream, self.async_stream)
        self.async_replaying = _based(AsyncReplayingStream, self.async_stream)

    # --- requests ---

    def describe(self, lane: Lane, request: Any, body: tuple[str, int]) -> Call:
        """Describe a drained request; `body` is its digest and size."""
        headers = request.headers.raw
        known = self._last_headers
        if known[0] != headers:
            known = self._last_headers = headers, describe_headers(headers)
        return describe_request(
            lane,
            request.method,
            str(request.url),
            known[1],
            body=body[0],
            body_bytes=body[1],
            read_body=lambda: _body_of(request),
            timeout=request.extensions.get("timeout"),
        )

    def drain(self, request: Any) -> tuple[str, int]:
        """Read the body in the lane; return digest and size. The request then sends the spool."""
        content = getattr(request, "_content", None)
        if content is not None:
            return body_digest(content), len(content)
        if not isinstance(request.stream, SpooledBody):
            spool = Spool()
            for piece in request.stream:
                spool.add(piece)
            request.stream = self.spooled(spool)
        return request.stream.spool.digest, request.stream.spool.size_bytes

    async def drain_async(self, request: Any) -> tuple[str, int]:
        """Do the same for a body that may be an asynchronous generator."""
        content = getattr(request, "_content", None)
        if content is not None:
            return body_digest(content), len(content)
        if not isinstance(request.stream, SpooledBody):
            spool = Spool()
            async for piece in request.stream:
                spool.add(piece)
            request.stream = self.spooled(spool)
        return request.stream.spool.digest, request.stream.spool.size_bytes

    def with_key(self, request: Any, key: Keyed) -> Any:
        """Return the request as it is sent: a copy with the key in it."""
        sent = object.__new__(type(request))  # `copy` would pickle, and leave the stream behind
        vars(sent).update(vars(request))
        sent.headers = request.headers.copy()
        sent.headers[HEADER] = key.key
        return sent

    def tell_of_trace(self, lane: Lane, call: Call) -> None:
        """Tell what is not repeated."""
        lane.port.note(
            lane,
            f'the "trace" callback of {call.label} is called while the request is made, but '
            "not again on replay: what it changed will be missing there",
        )

    # --- answers ---

    def head_of(self, response: Any) -> dict[str, Any]:
        """Take the head of a live response."""
        extensions = response.extensions
        return make_head(
            response.status_code,
            response.headers.raw,
            extensions.get("http_version", b"HTTP/1.1"),
            extensions.get("reason_phrase"),
        )

    def rebuild(self, head: dict[str, Any], stream: Any) -> Any:
        """Build the library's response from a recorded head."""
        extensions = {"http_version": head["http_version"]}
        if head["reason"] is not None:
            extensions["reason_phrase"] = head["reason"]
        response = self._response(
            head["status"], headers=open_headers(head), stream=stream, extensions=extensions
        )
        stream.attach(response)
        return response

    def errors_of(self, request: Any) -> _Errors:
        return _Errors(self, request)

    def interrupted(self, call: Call, reason: str) -> BaseException:
        """Make the read error of an answer that came back different."""
        error: BaseException = self.read_interrupted(call.label, reason)
        return error


class _Errors:
    """The exceptions of one request. Implements `http_recall.ErrorKinds`."""

    def __init__(self, library: _Library, request: Any) -> None:
        self._library = library
        self._request = request

    def rebuild(self, facts: ErrorFacts) -> BaseException:
        return self._raised_by(rebuild_error(facts))

    def interrupted(self, label: str, reason: str) -> BaseException:
        return self._raised_by(self._library.read_interrupted(label, reason))

    def lost(self, sentence: str, *, has_head: bool) -> BaseException:
        return self._raised_by(self._library.read_error(sentence))

    def _raised_by(self, error: Any) -> BaseException:
        if isinstance(error, self._library.request_error):
            error.request = self._request
        raised: BaseException = error
        return raised


def _length_of(head: dict[str, Any]) -> int:
    """Return how many bytes make the whole body of an answer, -1 where only its end tells.

    Over HTTP/2 the end may come some time after the last byte.
    """
    headers = dict(head["headers"])
    length = headers.get(b"Content-Length") or headers.get(b"content-length")
    if length is None or not length.isdigit() or _CHUNKED in map(bytes.lower, headers):
        return -1
    return int(length) if head["http_version"] == b"HTTP/1.1" else -1


def _body_of(request: Any) -> bytes:
    """Return the body of a drained request."""
    content: bytes | None = getattr(request, "_content", None)
    return request.stream.spool.content() if content is None else content


def _based(behaviour: type, base: type) -> Any:
    """Give a stream the base class by which the library knows its streams."""
    return type(behaviour.__name__, (behaviour, base), {})
