"""aiohttp 3.9 to 3.14: every exchange over one of its connectors is a journaled call.

The hook sits at `BaseConnector.connect`, which gets a finished ClientRequest and returns a
Connection whose protocol is about to be told how to parse. It is the one place through which
redirects, retries, middlewares and WebSockets all come, one exchange at a time, and its signature
has not changed since aiohttp 3.0. Above it everything runs again on replay: cookies, redirects,
authentication, the writing of the request. Below it, the other cut is at `ResponseHandler`
(`aiohttp_tap`): bytes that enter the parser. Parser, reader and response are the library's own,
live and on replay; a replayed connection is a real one on a transport that goes nowhere.

    aiohttp_tap      a live exchange, recorded       aiohttp_bodies   requests, drained
    aiohttp_player   a recorded one, played          aiohttp_errors   exceptions, there and back
    aiohttp_resumer  a cut one, continued            aiohttp_pace     when its bytes arrived

ClientRequest and ClientSession are not hooked: users exchange these classes, and their insides move
with every version. Connectors of users that override `connect` without calling it are not seen
here, but by the detector. Read with private names: `ClientRequest._body` (`body` before
3.12), `_timer`, `_continue`; `StreamReader._wait`, `_waiter`, `_timer`, `_protocol`;
`TimerContext._cancelled`; `ResponseHandler._on_read_timeout`; `BaseConnector._loop`, `_acquired`.

The parts are what stood on the wire behind the head, still chunked: `iter_chunks` sees the chunks
of the server. A recorded connection has no peer address and no TLS object. A WebSocket is told to
the witness (status 101): what is said over it is not recorded.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import wrapt

from durable_kernel.effects.aiohttp_bodies import Bodies, DrainedBody
from durable_kernel.effects.aiohttp_errors import Errors
from durable_kernel.effects.aiohttp_pace import make_paced_reader
from durable_kernel.effects.aiohttp_player import Player, make_playing_handler
from durable_kernel.effects.aiohttp_resumer import (
    RepeatedStep,
    Resumer,
    Started,
    continue_answer,
)
from durable_kernel.effects.aiohttp_tap import MarkedStep, Tap, head_of, listen
from durable_kernel.effects.http_crossings import SWITCHING_PROTOCOLS, Crossings
from durable_kernel.effects.http_exchange import Exchange, await_cancellation
from durable_kernel.effects.http_keys import HEADER, keyed
from durable_kernel.effects.http_repeat import came_back_gone
from durable_kernel.effects.http_wire import (
    AnswerChangedError,
    answered_head_and_body,
    describe_headers,
    describe_request,
    parse_answer,
)
from durable_kernel.ports import (
    CURRENT_LANE,
    Call,
    ErrorFacts,
    Lane,
    Outcome,
    Step,
    Witness,
    entered,
    reach_ending,
    suspended,
)

__all__ = ["install"]

_BODILESS = frozenset({204, 304})
_PHASES = ("total", "connect", "sock_connect", "sock_read")


def install(witness: Witness) -> None:
    """Put hooks into aiohttp, now or when it is imported.

    Called again, it only replaces the witness.
    """
    wrapt.register_post_import_hook(functools.partial(_patch, witness), "aiohttp")


def _patch(witness: Witness, module: Any) -> None:
    base = module.connector.BaseConnector
    known = getattr(base.connect, "durable_hook", None)
    if known is not None:
        known.told.witness = witness
        return
    hook = _Hook(module, witness)
    base.connect = hook.wrap(base.connect)
    listen(module.client_proto.ResponseHandler)
    # It shuffles those who wait for a connection: with a generator of its own (H9).
    module.connector.random = module.connector.random.Random(0)


class _Hook:
    """Decides between the world, the journal and a cut answer."""

    def __init__(self, module: Any, witness: Witness) -> None:
        self.told = Crossings("aiohttp", witness)
        self._library = _Library(module)

    def wrap(self, original: Any) -> Any:
        @functools.wraps(original)
        async def connect(connector: Any, req: Any, *args: Any, **options: Any) -> Any:
            lane = CURRENT_LANE.get()
            if lane is None:
                self.told.passed(req.method, str(req.url))
                return await original(connector, req, *args, **options)
            drained = await self._library.bodies.drain(req)
            call = self._library.describe(lane, req, drained, _timeout_of(args, options))
            step = await lane.port.begin_async(lane, call, parse_answer)
            key = keyed(lane, call, step)
            if key is not None:
                req.headers[HEADER] = key.key
            if step.is_unasked and req.method == "DELETE" and step.head is None:
                opened = functools.partial(original, connector, req, *args, **options)
                step = await self._repeat(lane, call, step, req, opened)
            if step.outcome is not None:
                return await self._recall(lane, call, step, step.outcome, connector, req)
            if step.head is not None:

                async def reopen() -> Any:
                    connection = await original(connector, req, *args, **options)
                    return await _send(req, connection, resumer.parsing)

                resumer = Resumer(lane, call, step, req, self._library, reopen)
                return self._library.connection(connector, req, resumer)
            if options.get("traces") or (args and args[0]):
                _note_traces(lane, call)
            marked = MarkedStep(step, is_in_company=lane.port.is_crowded)
            exchange = Exchange(call, marked, key)
            try:
                with suspended():
                    connection = await original(connector, req, *args, **options)
            except BaseException as error:
                await reach_ending(step, error)
                is_timed_out = bool(getattr(req._timer, "_cancelled", False))
                extra = self._library.extra_of(error)
                exchange.fail(error, is_timed_out=is_timed_out, **extra)
                raise
            tell_upgraded = functools.partial(self._tell_upgraded, lane, call.label)
            protocol = connection.protocol
            Tap(exchange, marked, req, protocol, self._library, tell_upgraded).attach()
            return connection

        connect.durable_hook = self  # type: ignore[attr-defined]
        return connect

    def _tell_upgraded(self, lane: Lane, label: str) -> None:
        """Tell it as the lane's: the loop hears of it in a context that has none."""
        with entered(lane):
            self.told.upgraded(label)

    async def _repeat(
        self,
        lane: Lane,
        call: Call,
        step: Step,
        request: Any,
        connect: Callable[[], Awaitable[Any]],
    ) -> Step:
        """Make a DELETE again, whole, to look at what comes back before anybody gets it (H21)."""
        exchange = Exchange(call, step)
        try:
            with suspended():
                response = await _send(request, await connect(), {"read_until_eof": True})
                body = await response.content.read()
                response.close()
        except BaseException as error:
            exchange.fail(error, **self._library.extra_of(error))
            raise
        head = head_of(Started(response))
        if found := came_back_gone(call, step, head["status"]):
            return await lane.port.put_in_doubt_async(lane, call, step, found, parse_answer)
        framed, parts = continue_answer(head, [], (head, body))
        step.set_head(framed)
        for part in parts:
            step.add_part(part)
        exchange.end()
        return RepeatedStep(step, framed, parts)

    async def _recall(
        self, lane: Lane, call: Call, step: Step, outcome: Outcome, connector: Any, request: Any
    ) -> Any:
        """Serve a settled step: a connection that plays it, or what `connect` raised."""
        facts = outcome.error
        if step.head is None and facts is not None and "tick" not in facts.extra:
            await step.turn()
            await _meet_time_out(facts, request)
            await await_cancellation(outcome)
            raise self._library.rebuild(facts, request)
        player = self._library.play(lane, call, step, outcome, request)
        if step.head is not None and step.head["status"] == SWITCHING_PROTOCOLS:
            self.told.upgraded(call.label)
        return self._library.connection(connector, request, player)


class _Library(Errors):
    """One aiohttp: its exceptions, its classes, and how they are taken apart and built."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.bodies = Bodies(module)
        self.playing_handler = make_playing_handler(module.client_proto.ResponseHandler)
        self._connection = module.connector.Connection
        self._reader = module.streams.StreamReader
        self._paced_reader = make_paced_reader(self._reader)

    def pace(self, reader: Any) -> Any:
        """Let the reader of a body count; one that has no body stays as it is."""
        if type(reader) is self._reader:
            reader.__class__ = self._paced_reader
        return reader

    def describe(self, lane: Lane, request: Any, body: DrainedBody, timeout: Any) -> Call:
        """Describe a drained request; `body` is its digest and size."""
        headers = [
            (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            for name, value in request.headers.items()
        ]
        return describe_request(
            lane,
            request.method,
            str(request.url),
            describe_headers(headers),
            body=body.digest,
            body_bytes=body.size_bytes,
            read_body=body.content,
            timeout=timeout and {phase: getattr(timeout, phase, None) for phase in _PHASES},
        )

    def connection(self, connector: Any, request: Any, player: Player) -> Any:
        """Build the library's connection over a stand-in, and count it as taken."""
        loop, key = connector._loop, request.connection_key
        handler = player.attach(loop)
        connector._acquired.add(handler)
        # 3.9 counts every connection here too; later versions only where there is a limit.
        if connector._limit_per_host or hasattr(connector, "_drop_acquired_per_host"):
            connector._acquired_per_host[key].add(handler)
        return self._connection(connector, key, handler, loop)

    def play(self, lane: Lane, call: Call, step: Step, outcome: Outcome, request: Any) -> Player:
        """Make the player of a settled step."""
        head, parts = step.head, step.parts
        answer = answered_head_and_body(outcome)
        if answer is not None and head is None:
            head, body = answer
            has_body = body and head["status"] not in _BODILESS and request.method != "HEAD"
            parts = (body,) if has_body else ()
        elif answer is not None:
            try:
                head, parts = continue_answer(head, list(parts), answer)
            except AnswerChangedError as change:
                error = self.interrupted(call.label, str(change))
                outcome = Outcome.of_error(error, is_read_interrupted=True)
        return Player(lane, call, outcome, head, parts, request, self, step)


async def _send(request: Any, connection: Any, parsing: dict[str, Any]) -> Any:
    """Send a request over a real connection; its answer stays as it is encoded."""
    connection.protocol.set_response_params(**{**parsing, "auto_decompress": False})
    try:
        response = await request.send(connection)
        await response.start(connection)
    except BaseException:
        connection.close()
        raise
    return response


async def _meet_time_out(facts: ErrorFacts, request: Any) -> None:
    """Let the time-out of the whole request come now, if it came when this was recorded."""
    if facts.extra.get("is_timed_out") and hasattr(request._timer, "timeout"):
        request._timer.timeout()  # cancels this task
        await asyncio.get_running_loop().create_future()


def _timeout_of(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return args[1] if len(args) > 1 else options.get("timeout")


def _note_traces(lane: Lane, call: Call) -> None:
    lane.port.note(
        lane,
        f"trace callbacks that tell how {call.label} got its connection are called while it is "
        "made, but not again on replay: what they changed will be missing there",
    )
