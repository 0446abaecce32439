"""Bodies below http.client: any body, cut anywhere, read in any way, is read alike three times."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import urllib3
from hypothesis import given, settings, strategies as st

from durable_kernel.effects.http_exchange import Exchange
from durable_kernel.effects.http_files import attach_live, attach_recorded
from durable_kernel.effects.http_heads import StandInSocket, head_bytes, head_of
from durable_kernel.effects.http_payloads import BrokenEnd, RecordedPayload
from durable_kernel.ports import Call, Ending, Outcome
from durable_kernel.testing.fake_port import FakePort, FakeStep

Operation = tuple[str, int]
LONGEST = 70_000


class Arriving(io.RawIOBase):
    """A connection on which bytes arrive in packets of given sizes, over and over."""

    def __init__(self, content: bytes, packets: list[int]) -> None:
        self._content = io.BytesIO(content)
        self._packets = packets
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._count += 1
        size = min(len(buffer), self._packets[self._count % len(self._packets)])
        found = self._content.read(size)
        buffer[: len(found)] = found
        return len(found)


def open_response(content: bytes, packets: list[int]) -> http.client.HTTPResponse:
    sock: Any = StandInSocket(io.BufferedReader(Arriving(content, packets)))
    response = http.client.HTTPResponse(sock, method="GET")
    response.begin()
    return response


# --- ways to read ---------------------------------------------------------------------------------


def do_plain(response: http.client.HTTPResponse, operation: Operation) -> Any:
    name, size = operation
    if name == "readinto":
        buffer = bytearray(size)
        return response.readinto(buffer), buffer
    if name == "peek":
        return response.peek(size)
    if name == "all":
        return response.read()
    return getattr(response, name)(size)


def do_urllib3(response: Any, operation: Operation) -> Any:
    name, size = operation
    if name == "stream":
        return list(response.stream(size))
    if name == "chunk":
        return next(response.stream(size), None)
    if name == "all":
        return response.read()
    return getattr(response, name)(size), response.tell()


def read_all(
    do: Callable[[Any, Operation], Any], response: Any, operations: list[Operation]
) -> list[Any]:
    """Read as told, then to the end. An exception is a result, and the last one."""
    is_streaming = bool(operations) and operations[-1][0] in ("stream", "chunk")
    found: list[Any] = []
    for operation in [*operations, ("stream", LONGEST) if is_streaming else ("all", 0)]:
        try:
            found.append(do(response, operation))
        except (http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
            found.append((type(error), str(error)))
            break
    return found


def as_urllib3(inner: http.client.HTTPResponse) -> Any:
    return urllib3.HTTPResponse(
        body=inner,
        headers=dict(inner.msg.items()),
        status=inner.status,
        preload_content=False,
        original_response=inner,
        request_method="GET",
    )


# --- three times ----------------------------------------------------------------------------------


def live_exchange() -> tuple[Exchange, FakeStep]:
    port = FakePort()
    call = Call("http", "GET http://a.example/")
    step = port.begin(port.make_lane(), call)
    return Exchange(call, step), step


def read_thrice(
    content: bytes,
    packets: list[int],
    read: Callable[[http.client.HTTPResponse], list[Any]],
) -> tuple[list[Any], list[Any], list[Any], Outcome]:
    """Return what is read without a hook, live, and on replay, and the recorded outcome."""
    bare = read(open_response(content, packets))

    response = open_response(content, packets)
    head = head_of(response)
    exchange, step = live_exchange()
    attach_live(response, exchange, lambda: None)
    live = read(response)
    response.close()
    outcome = step.entry.outcome
    assert outcome is not None

    recorded = open_response(head_bytes(head), [LONGEST])
    payload = RecordedPayload(step.entry.parts)
    attach_recorded(recorded, payload, BrokenEnd.of(outcome))
    return bare, live, read(recorded), outcome


def chunked(pieces: list[bytes]) -> bytes:
    framed = [b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join(framed) + b"0\r\nTrailer: yes\r\n\r\n"


class Answer(NamedTuple):
    """An answer on the wire: pieces of its body, and where its connection was cut."""

    framing: str
    sizes: list[int]
    cut: int | None

    def wire(self) -> bytes:
        text = b"a line of text\n" * (LONGEST // 15 + 1)
        pieces = [text[:size] for size in self.sizes]
        body = chunked(pieces) if self.framing == "chunked" else b"".join(pieces)
        lines = {
            "chunked": [b"Transfer-Encoding: chunked"],
            "counted": [b"Content-Length: %d" % len(body)],
            "closed": [],
        }[self.framing]
        head = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])
        return head + (body if self.cut is None else body[: self.cut % (len(body) + 1)])


ANSWERS = st.builds(
    Answer,
    st.sampled_from(["chunked", "counted", "closed"]),
    st.lists(st.integers(1, 3000) | st.just(LONGEST), max_size=5),
    st.none() | st.integers(0, 3 * LONGEST),
)
SIZES = st.integers(1, 200) | st.integers(1, 2 * LONGEST)
PACKETS = st.lists(st.integers(16, 20_000), min_size=1, max_size=4)
EXACT = st.sampled_from(["read", "readinto", "all"])
HASTY = st.sampled_from(["read", "readline", "readinto", "read1", "peek", "all"])
# Either http.client takes the chunks of a body apart, or urllib3 does; both fail in any case.
THROUGH_URLLIB3 = [st.sampled_from(["read", "all"]), st.sampled_from(["stream", "chunk"])]


def sequences_of(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(st.tuples(names, SIZES), max_size=6)


@settings(max_examples=150, deadline=None)
@given(ANSWERS, PACKETS, sequences_of(EXACT))
def test_http_client_reads_alike_without_us_live_and_on_replay(
    answer: Answer, packets: list[int], operations: list[Operation]
) -> None:
    def read(response: http.client.HTTPResponse) -> list[Any]:
        return read_all(do_plain, response, operations)

    bare, live, recorded, outcome = read_thrice(answer.wire(), packets, read)

    assert live == bare
    assert recorded == live
    assert outcome.ending in (Ending.VALUE, Ending.ERROR)


@settings(max_examples=150, deadline=None)
@given(ANSWERS, PACKETS, sequences_of(HASTY))
def test_pieces_that_depend_on_arrival_come_again(
    answer: Answer, packets: list[int], operations: list[Operation]
) -> None:
    """`read1` and `peek` return what is there: on replay, what was there.

    How much of a broken chunk was lost with it depends on how it was read; that is not compared.
    """

    def read(response: http.client.HTTPResponse) -> list[Any]:
        *found, last = read_all(do_plain, response, operations)
        is_error = isinstance(last, tuple) and isinstance(last[0], type)
        return [*found, last[0] if is_error else last]

    _, live, recorded, _ = read_thrice(answer.wire(), packets, read)

    assert recorded == live


@settings(max_examples=150, deadline=None)
@given(ANSWERS, PACKETS, st.one_of([sequences_of(names) for names in THROUGH_URLLIB3]))
def test_urllib3_reads_alike_without_us_live_and_on_replay(
    answer: Answer, packets: list[int], operations: list[Operation]
) -> None:
    """It takes chunks apart by itself, on the file below http.client."""

    def read(response: http.client.HTTPResponse) -> list[Any]:
        return read_all(do_urllib3, as_urllib3(response), operations)

    bare, live, recorded, _ = read_thrice(answer.wire(), packets, read)

    assert live == bare
    assert recorded == live


# --- endings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_body_that_is_left_unread_is_abandoned(framing: bytes, is_closed: bool) -> None:
    """H17: closed, or dropped."""
    response = open_response(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % framing, [9])
    exchange, step = live_exchange()
    attach_live(response, exchange, lambda: None)
    del exchange

    if is_closed:
        response.close()
    del response

    assert step.entry.outcome is not None
    assert step.entry.outcome.ending is Ending.ABANDONED


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    exchange, step = live_exchange()
    response = open_response(b"HTTP/1.1 204 No Content\r\n\r\n", [9])

    attach_live(response, exchange, lambda: None)

    assert step.entry.outcome is not None
    assert step.entry.outcome.ending is Ending.VALUE


def test_a_head_keeps_its_lines_on_the_wire() -> None:
    """Case, order, repeated names, continued lines, bytes that are no ASCII."""
    wire = (
        b"HTTP/1.0 299 Quite Fine\r\nset-cookie: a=1\r\nX-Two: one\r\n more\r\nSet-Cookie: b=2\r\n"
        b"X-Bytes: \xe9\r\nX-Empty: \r\n\r\n"
    )
    response = open_response(wire, [len(wire)])

    assert head_bytes(head_of(response)) == wire
