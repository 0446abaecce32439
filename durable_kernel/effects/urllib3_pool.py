"""urllib3, and with it requests, botocore and kubernetes: every attempt on the wire is a call.

The hook sits at `HTTPConnectionPool._make_request`. Everything above runs again on replay: Retry,
redirects, cookies, authentication, decoders, the pool itself. Below it, live, is the connection
with its proxy and TLS; on replay urllib3's own connection class reads the recorded head and builds
the response, and the body comes from one of `http_files`. The connection of the pool is not used.

Versions 1.26 and 2 differ in where the response is built and the body preloaded: above
`_make_request`, or in it. A tunnel through a proxy is opened before `_make_request`; that is put
off until it is known that the request is sent.

Nothing here imports urllib3: it is patched once the user has imported it. Not recorded are HTTP/2
(experimental in urllib3), and what is said over a connection that somebody takes out of a response.
"""

from __future__ import annotations

import functools
import http.client
import inspect
import io
import logging
import ssl
from collections.abc import Iterator
from typing import Any

import wrapt

from durable_kernel.effects.http_body import Bodies, Spool
from durable_kernel.effects.http_crossings import SWITCHING_PROTOCOLS, Crossings
from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_files import attach_live, attach_recorded
from durable_kernel.effects.http_heads import StandInSocket, head_bytes, head_of
from durable_kernel.effects.http_keys import HEADER, Keyed, keyed
from durable_kernel.effects.http_payloads import BrokenEnd, Payload, ResumedPayload
from durable_kernel.effects.http_recall import Recalled, make_read_interrupted, recall
from durable_kernel.effects.http_repeat import came_back_gone
from durable_kernel.effects.http_wire import (
    RequestHeaders,
    body_digest,
    describe_headers,
    describe_request,
    parse_answer,
)
from durable_kernel.effects.urllib3_errors import Urllib3Errors
from durable_kernel.ports import (
    CURRENT_LANE,
    Call,
    Lane,
    Step,
    Witness,
    machinery,
    suspended,
)

__all__ = ["install"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TUNNEL_IS_DUE = "_durable_tunnel_is_due"
_IS_UNVERIFIED = "_durable_is_unverified"

_log = logging.getLogger("urllib3.connectionpool")


def install(witness: Witness) -> None:
    """Put hooks into urllib3, now or when it is imported. Again: only the witness is replaced."""
    wrapt.register_post_import_hook(functools.partial(_patch, witness), "urllib3.connectionpool")


def _patch(witness: Witness, module: Any) -> None:
    known = getattr(module.HTTPConnectionPool._make_request, "durable_hook", None)
    if known is not None:
        known.told.witness = witness
        return
    hook = _Hook(module, witness)
    module.HTTPConnectionPool._make_request = hook.wrap(module.HTTPConnectionPool._make_request)
    module.HTTPSConnectionPool._prepare_proxy = _put_off(hook.prepare_proxy)
    module.HTTPSConnectionPool._validate_conn = _noted(module.HTTPSConnectionPool._validate_conn)


def _put_off(original: Any) -> Any:
    @functools.wraps(original)
    def _prepare_proxy(pool: Any, conn: Any) -> None:
        if CURRENT_LANE.get() is None:
            original(pool, conn)
        else:
            setattr(conn, _TUNNEL_IS_DUE, True)

    return _prepare_proxy


def _noted(original: Any) -> Any:
    """Note on a connection that it was warned of: its certificates are not checked."""

    @functools.wraps(original)
    def _validate_conn(pool: Any, conn: Any) -> None:
        original(pool, conn)
        if not conn.is_verified and not getattr(conn, "proxy_is_verified", None):
            setattr(conn, _IS_UNVERIFIED, True)

    return _validate_conn


class _Attempt:
    """One call of `_make_request`: what it was given, with the body drained."""

    __slots__ = ("body", "conn", "is_tunnel_due", "key", "method", "options", "pool", "url")

    def __init__(
        self,
        pool: Any,
        conn: Any,
        method: str,
        url: str,
        options: dict[str, Any],
        bodies: Bodies,
    ) -> None:
        self.pool = pool
        self.conn = conn
        self.method = method
        self.url = url
        self.options = options
        self.key: Keyed | None = None
        self.is_tunnel_due = vars(conn).pop(_TUNNEL_IS_DUE, False)
        body = options.get("body")
        self.body: Spool | None = None
        if body is not None and not _is_plain(body):
            self.body = bodies.drain(body, "utf-8", getattr(conn, "blocksize", 16_384))

    def digest(self) -> tuple[str, int]:
        """Return hash and size of the body."""
        if self.body is not None:
            return self.body.digest, self.body.size_bytes
        whole = self.content()
        return body_digest(whole), len(whole)

    def content(self) -> bytes:
        """Return the body, to look into it."""
        if self.body is not None:
            return self.body.content()
        body = self.options.get("body") or b""
        return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)

    def pieces(self) -> Iterator[bytes] | Any:
        """Return the body as it may be sent, once."""
        return self.options.get("body") if self.body is None else self.body.pieces()

    def full_url(self) -> str:
        if not self.url.startswith("/"):  # to a proxy that forwards
            return self.url
        pool = self.pool
        host = f"[{pool.host}]" if ":" in pool.host and pool.host[0] != "[" else pool.host
        is_default = pool.port is None or pool.port == _DEFAULT_PORTS.get(pool.scheme)
        port = "" if is_default else f":{pool.port}"
        return f"{pool.scheme}://{host}{port}{self.url}"


def _is_plain(body: Any) -> bool:
    """Tell whether a body is at hand: text, or bytes of any kind."""
    if isinstance(body, (str, bytes, bytearray)):
        return True
    if hasattr(body, "read"):
        return False
    try:
        memoryview(body)
    except TypeError:
        return False
    return True


class _Hook:
    """Decides between the world, the journal and a cut answer."""

    def __init__(self, module: Any, witness: Witness) -> None:
        self.told = Crossings("urllib3", witness)
        self._bodies = Bodies()
        self.prepare_proxy = module.HTTPSConnectionPool._prepare_proxy
        self._connection = module.HTTPConnection
        self._errors = inspect.getmodule(module.MaxRetryError)
        self._http_error = module.ProtocolError.__mro__[1]
        self._read_interrupted = make_read_interrupted(module.ProtocolError)
        self._last_headers: tuple[Any, RequestHeaders] = [], describe_headers([])
        self._original: Any = None
        self._builds_responses = False

    def wrap(self, original: Any) -> Any:
        self._original = original
        names = tuple(inspect.signature(original).parameters)[4:]
        self._builds_responses = "preload_content" in names  # version 2

        @functools.wraps(original)
        def _make_request(
            pool: Any, conn: Any, method: str, url: str, *given: Any, **options: Any
        ) -> Any:
            lane = CURRENT_LANE.get()
            if lane is None or not isinstance(conn, http.client.HTTPConnection):
                self._pass(pool, method, url)
                return original(pool, conn, method, url, *given, **options)
            options.update(zip(names, given, strict=False))
            attempt = _Attempt(pool, conn, method, url, options, self._bodies)
            call = self._describe(lane, attempt)
            step = lane.port.begin(lane, call, parse_answer)
            return self._carry_out(lane, attempt, call, step)

        _make_request.durable_hook = self  # type: ignore[attr-defined]
        return _make_request

    def _pass(self, pool: Any, method: str, url: str) -> None:
        target = url if "://" in url else f"{pool.scheme}://{pool.host}:{pool.port}{url}"
        self.told.passed(method, target)

    def _carry_out(self, lane: Lane, attempt: _Attempt, call: Call, step: Step) -> Any:
        attempt.key = keyed(lane, call, step) if call.act else None
        if step.outcome is not None:
            recalled = recall(lane, call, step, step.outcome, self._errors_of(attempt))
            if recalled.head is None:
                raise self._recorded_failure(attempt, recalled)
            if recalled.head["status"] == SWITCHING_PROTOCOLS:
                self.told.upgraded(call.label)  # on replay there is nobody to talk to
            return self._rebuild(attempt, recalled.head, recalled.payload(), recalled.broken)
        exchange = Exchange(call, step, attempt.key)
        if step.head is not None:
            return self._resume(attempt, step, exchange, self._errors_of(attempt))
        try:
            with suspended():
                response = self._send(attempt)
        except BaseException as error:
            told = self._errors_of(attempt).describe(error)
            exchange.fail(error, **self._circumstances(attempt), **told)
            if attempt.body is not None and not attempt.body.was_read:
                self._bodies.give_back(attempt.options["body"], attempt.body)
            raise
        if step.is_unasked and (found := came_back_gone(call, step, response.status)):
            with machinery():
                attempt.conn.close()  # the next one is sent over another connection
            decided = lane.port.put_in_doubt(lane, call, step, found, parse_answer)
            return self._carry_out(lane, attempt, call, decided)
        return self._record(attempt, exchange, response)

    # --- requests ---

    def _describe(self, lane: Lane, attempt: _Attempt) -> Call:
        options = attempt.options
        headers = list((options.get("headers") or {}).items())
        known = self._last_headers
        if known[0] != headers:
            raw = [(_as_bytes(name), _as_bytes(value)) for name, value in headers]
            known = self._last_headers = headers, describe_headers(raw)
        digest, size_bytes = ("", 0) if options.get("body") is None else attempt.digest()
        return describe_request(
            lane,
            attempt.method,
            attempt.full_url(),
            known[1],
            body=digest,
            body_bytes=size_bytes,
            read_body=attempt.content,
            timeout=_seconds_of(options.get("timeout")),
        )

    def _errors_of(self, attempt: _Attempt) -> Urllib3Errors:
        named = {"conn": attempt.conn, "pool": attempt.pool, "url": attempt.url}
        return Urllib3Errors(self._errors, self._read_interrupted, named)

    def _send(self, attempt: _Attempt) -> Any:
        """Make the real request. The body of its response is not read yet."""
        options = {**attempt.options, "body": attempt.pieces()}
        if attempt.key is not None:
            headers = attempt.options.get("headers")
            options["headers"] = {} if headers is None else headers.copy()
            options["headers"][HEADER] = attempt.key.key
        if self._builds_responses:
            options["preload_content"] = False
        if attempt.is_tunnel_due and attempt.conn.sock is None:
            self._open_tunnel(attempt)
        return self._original(attempt.pool, attempt.conn, attempt.method, attempt.url, **options)

    def _open_tunnel(self, attempt: _Attempt) -> None:
        """Do what `urlopen` does before `_make_request`, with its translation of time-outs."""
        pool, conn = attempt.pool, attempt.conn
        if not self._builds_responses:
            self.prepare_proxy(pool, conn)
            return
        try:
            self.prepare_proxy(pool, conn)
        except (ssl.SSLError, OSError) as error:
            pool._raise_timeout(err=error, url=pool.proxy.url, timeout_value=conn.timeout)
            raise

    def _circumstances(self, attempt: _Attempt) -> dict[str, Any]:
        """Say what of the connection decides how an exception is treated above."""
        found: dict[str, Any] = {}
        if vars(attempt.conn).pop(_IS_UNVERIFIED, False):
            found["is_unverified"] = True
        if getattr(attempt.conn, "has_connected_to_proxy", False):
            found["has_connected_to_proxy"] = True
        if attempt.body is not None and not attempt.body.was_read:
            found["is_body_unsent"] = True
        return found

    # --- live answers ---

    def _record(self, attempt: _Attempt, exchange: Exchange, response: Any) -> Any:
        """Record the head of a live response, and put the tee into it."""
        inner = getattr(response, "_fp", None) if self._builds_responses else response
        label = exchange.call.label
        if not isinstance(inner, http.client.HTTPResponse):  # HTTP/2
            exchange.abandon()
            self.told.unknown(label)
            return response
        head = head_of(inner)
        if vars(attempt.conn).pop(_IS_UNVERIFIED, False):
            head["is_unverified"] = True
        exchange.set_head(head)
        if inner.status == SWITCHING_PROTOCOLS:
            self.told.upgraded(label)
        attach_live(inner, exchange, functools.partial(self.told.taken, label))
        return self._preload(attempt, response)

    def _preload(self, attempt: _Attempt, response: Any) -> Any:
        """Read the body as the constructor does, where an exception names no pool."""
        if not self._builds_responses or not attempt.options.get("preload_content", True):
            return response
        owners = response._pool, response._connection
        response._pool = response._connection = None
        decode = attempt.options.get("decode_content", True)
        response._body = response.read(decode_content=decode)
        response._pool, response._connection = owners
        return response

    # --- cut answers ---

    def _resume(
        self, attempt: _Attempt, step: Step, exchange: Exchange, errors: Urllib3Errors
    ) -> Any:
        """Serve what was recorded; the request is made again behind it."""
        owners: list[Any] = []  # a response closes what is below it when it is dropped

        def reopen() -> http.client.HTTPResponse:
            try:
                response = self._send(attempt)
                owners.append(response)
            except self._http_error as error:
                # As if the connection was lost in the body: `_error_catcher` knows such ones.
                raise ConnectionResetError(str(error)) from error
            found: http.client.HTTPResponse
            found = response._fp if self._builds_responses else response
            return found

        label = exchange.call.label
        payload = ResumedPayload(
            exchange,
            reopen,
            leave=lambda is_whole: None if is_whole else attempt.conn.close(),
            interrupted=lambda reason: errors.interrupted(label, reason),
        )
        return self._rebuild(attempt, step.head, payload, None)

    # --- recorded answers ---

    def _recorded_failure(self, attempt: _Attempt, recalled: Recalled) -> BaseException:
        """Make the recorded exception, after what it left behind at the time."""
        facts = recalled.outcome.error
        extra = facts.extra if facts is not None else {}
        attempt.pool.num_requests += 1
        if extra.get("is_unverified"):
            self._warn_unverified(attempt)
        if extra.get("has_connected_to_proxy"):
            attempt.conn._has_connected_to_proxy = True
        if extra.get("is_body_unsent") and attempt.body is not None:
            self._bodies.give_back(attempt.options["body"], attempt.body)
        assert recalled.error is not None, "a call without a head raised something"
        return recalled.error()

    def _rebuild(
        self,
        attempt: _Attempt,
        head: dict[str, Any],
        payload: Payload,
        broken: BrokenEnd | None,
    ) -> Any:
        """Let urllib3 build its response from a recorded head."""
        pool, options = attempt.pool, attempt.options
        pool.num_requests += 1
        if head.get("is_unverified"):
            self._warn_unverified(attempt)
        named = ("decode_content", "enforce_content_length")
        how: dict[str, Any] = {name: options[name] for name in named if name in options}
        if self._builds_responses:
            how["preload_content"] = False
        with machinery():
            wire = self._connection("recorded")
            wire.sock = StandInSocket(io.BytesIO(head_bytes(head)))
            wire.request(attempt.method, attempt.url, **how)
            response = wire.getresponse()
        inner = response._fp if self._builds_responses else response
        attach_recorded(inner, payload, broken)
        version = response.version_string if self._builds_responses else wire._http_vsn_str
        length = response.length_remaining if self._builds_responses else response.length
        words = (pool.scheme, pool.host, pool.port, attempt.method, attempt.url)
        _log.debug('%s://%s:%s "%s %s %s" %s %s', *words, version, response.status, length)
        if not self._builds_responses:
            return response
        response.retries = options.get("retries")
        response._connection = options.get("response_conn")
        response._pool = pool
        return self._preload(attempt, response)

    def _warn_unverified(self, attempt: _Attempt) -> None:
        """Let the pool look at a connection that seems to be open: it warns as it did."""
        conn = attempt.conn
        with machinery():
            conn.sock = StandInSocket()
            try:
                attempt.pool._validate_conn(conn)
            finally:
                conn.sock = None
                vars(conn).pop(_IS_UNVERIFIED, None)


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")


def _seconds_of(timeout: Any) -> dict[str, float | None] | None:
    """Return the time-outs of an attempt, in seconds. None: what the socket does by default."""
    if timeout is None:
        return None
    found = {}
    for phase in ("connect", "read"):
        seconds = getattr(timeout, f"{phase}_timeout", None)
        found[phase] = seconds if isinstance(seconds, (int, float)) else None
    return found
