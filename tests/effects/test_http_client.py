"""http.client, urllib.request and xmlrpc against a real server: recorded, then served again."""

from __future__ import annotations

import csv
import http.client
import http.cookiejar
import io
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.http_service import LINES, HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay, run


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    """All hooks: the detector hears what leaks."""
    return hooked


Scenario = Callable[[HttpService], Any]


def connect_to(service: HttpService, **options: Any) -> http.client.HTTPConnection:
    host = service.origin.removeprefix("http://")
    return http.client.HTTPConnection(host, **options)


def facts_of(response: http.client.HTTPResponse) -> dict[str, Any]:
    """Everything that user code can see of a response, which is read to its end."""
    with response:
        body = response.read()
    return {
        "type": type(response),
        "status": response.status,
        "reason": response.reason,
        "version": response.version,
        "headers": response.getheaders(),
        "body": body,
        "url": getattr(response, "url", None),
        "length": response.length,
        "will_close": response.will_close,
        "closed": (response.isclosed(), response.closed),
    }


# --- urllib.request -------------------------------------------------------------------------------


def open_url(service: HttpService) -> Any:
    return facts_of(urllib.request.urlopen(service.url("/hello?page=2")))


def open_packed(service: HttpService) -> Any:
    return facts_of(urllib.request.urlopen(service.url("/gzip")))


def open_chunked(service: HttpService) -> Any:
    return facts_of(urllib.request.urlopen(service.url("/lines")))


def open_until_the_connection_closes(service: HttpService) -> Any:
    return facts_of(urllib.request.urlopen(service.url("/closing")))


def open_head(service: HttpService) -> Any:
    request = urllib.request.Request(service.url("/hello"), method="HEAD")
    return facts_of(urllib.request.urlopen(request))


def follow_redirects_with_cookies(service: HttpService) -> Any:
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    found = facts_of(opener.open(service.url("/redirect/2")))
    both = facts_of(opener.open(service.url("/cookies")))
    return found, both, sorted((cookie.name, cookie.value) for cookie in jar)


def authenticate(service: HttpService) -> Any:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, service.origin, "user", "pass")
    opener = urllib.request.build_opener(urllib.request.HTTPDigestAuthHandler(passwords))
    return facts_of(opener.open(service.url("/private")))


def post_form(service: HttpService) -> Any:
    return facts_of(urllib.request.urlopen(service.url("/echo"), data=b"a=1"))


def post_generator(service: HttpService) -> Any:
    """H28: the generator runs in the cell, live and on replay."""
    produced: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            produced.append(number)
            yield b"piece %d" % number

    request = urllib.request.Request(service.url("/echo"), data=body(), method="POST")
    return facts_of(urllib.request.urlopen(request)), produced


def post_file(service: HttpService) -> Any:
    """H28."""
    file = io.BytesIO(b"z" * 100_000)
    headers = {"Content-Length": "100000"}
    request = urllib.request.Request(service.url("/echo"), data=file, headers=headers)
    return facts_of(urllib.request.urlopen(request)), file.tell()


def iterate_lines(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/closing")) as response:
        return list(response)


def iterate_lines_of_chunks(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/lines")) as response:
        return list(response)


def parse_rows(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/lines")) as response:
        return list(csv.reader(io.TextIOWrapper(response)))


def read_in_pieces(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/big/1")) as response:
        buffer = bytearray(7)
        first = response.read(10), response.readinto(buffer), buffer, response.readline(50)
        return first, response.peek(1)[:1], response.read1(5), response.read(100_000)


def read_what_is_there(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/lines")) as response:
        pieces = []
        while piece := response.read1():
            pieces.append(piece)
        return pieces


def leave_unread(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/big/3")) as response:
        return response.status


def fail_with_a_status(service: HttpService) -> Any:
    try:
        urllib.request.urlopen(service.url("/status/500"))
    except urllib.error.HTTPError as error:
        with error:
            return type(error), error.code, error.reason, error.read(), error.headers.items()


def refuse_the_connection(service: HttpService) -> Any:
    """Only what fails while it is sent becomes a URLError."""
    try:
        urllib.request.urlopen("http://127.0.0.1:1/")
    except urllib.error.URLError as error:
        return type(error), type(error.reason), str(error), getattr(error.reason, "errno", None)


def time_out_at_the_head(service: HttpService) -> Any:
    return urllib.request.urlopen(service.url("/silent"), timeout=0.05)


def time_out_in_the_body(service: HttpService) -> Any:
    with urllib.request.urlopen(service.url("/stalling"), timeout=0.05) as response:
        first = response.read1(100)
        try:
            return first, response.read()
        except TimeoutError as error:
            return first, facts_of_error(error)


def lose_the_connection(service: HttpService) -> Any:
    try:
        urllib.request.urlopen(service.url("/broken")).read()
    except http.client.IncompleteRead as error:
        return type(error), str(error), error.partial, error.expected


# --- http.client ----------------------------------------------------------------------------------


def keep_the_connection(service: HttpService) -> Any:
    conn = connect_to(service)
    found = []
    for _ in range(3):
        conn.request("GET", "/port")
        found.append(facts_of(conn.getresponse()))
    conn.close()
    assert len({each["body"] for each in found}) == 1
    return found


def send_a_body_in_pieces(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.putrequest("POST", "/echo")
    conn.putheader("Content-Length", "9")
    conn.endheaders()
    conn.send(b"abc")
    conn.send(io.BytesIO(b"def"))
    conn.send(iter([b"g", b"hi"]))
    found = facts_of(conn.getresponse())
    conn.request("GET", "/port")
    facts_of(conn.getresponse())
    conn.close()
    return found


def send_chunks_by_hand(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.putrequest("POST", "/echo")
    conn.putheader("Transfer-Encoding", "chunked")
    conn.endheaders()
    conn.send(b"3\r\nabc\r\n0\r\n\r\n")
    found = facts_of(conn.getresponse())
    conn.close()
    return found


def send_chunks(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.request("POST", "/echo", body=iter([b"ab", b"", b"c"]))
    found = facts_of(conn.getresponse())
    conn.close()
    return found


def connect_first(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.connect()
    conn.request("GET", "/hello")
    found = facts_of(conn.getresponse())
    conn.close()
    return found


def fail_to_connect_first(service: HttpService) -> Any:
    http.client.HTTPConnection("127.0.0.1", 1).connect()


def ask_too_early(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.request("GET", "/lines")
    response = conn.getresponse()
    conn.request("GET", "/hello")
    try:
        conn.getresponse()
    except http.client.ResponseNotReady as error:
        return type(error), str(error), response.read()
    finally:
        conn.close()


def call_a_procedure(service: HttpService) -> Any:
    with xmlrpc.client.ServerProxy(service.url("/procedure")) as server:
        return server.add(2, 3)


SCENARIOS: list[Scenario] = [
    open_url,
    open_packed,
    open_chunked,
    open_until_the_connection_closes,
    open_head,
    follow_redirects_with_cookies,
    authenticate,
    post_form,
    post_generator,
    post_file,
    iterate_lines,
    iterate_lines_of_chunks,
    parse_rows,
    read_in_pieces,
    read_what_is_there,
    leave_unread,
    fail_with_a_status,
    refuse_the_connection,
    time_out_at_the_head,
    time_out_in_the_body,
    lose_the_connection,
    keep_the_connection,
    send_a_body_in_pieces,
    send_chunks_by_hand,
    send_chunks,
    connect_first,
    fail_to_connect_first,
    call_a_procedure,
    *(
        lambda service, end=end: urllib.request.urlopen(service.url(f"/torn/{end}")).read()
        for end in ("inside", "size", "bytes", "between", "garbled")
    ),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_standard_library_sees_the_same_again_and_the_server_nothing(
    scenario: Scenario, service: HttpService, witness: FakeWitness
) -> None:
    record_and_replay(service, lambda: scenario(service))

    assert witness.acts == []


def test_lines_are_recorded_by_what_came_and_not_one_by_one(service: HttpService) -> None:
    """A table of a million rows would be a million parts."""
    lines, port = record_and_replay(service, lambda: iterate_lines(service))

    (recorded,) = port.journal().calls
    assert lines == LINES
    assert len(recorded.parts) < len(LINES)


def give_up(service: HttpService) -> Any:
    conn = connect_to(service)
    conn.request("GET", "/count/given-up")
    conn.close()
    conn.request("GET", "/hello")
    found = facts_of(conn.getresponse())
    conn.close()
    return found


@pytest.mark.parametrize("scenario", [give_up, ask_too_early])
def test_a_request_without_an_answer_is_given_up_again(
    scenario: Scenario, service: HttpService
) -> None:
    """Hits are not compared: the server may count such a request at any time."""
    live = FakePort()
    first = run(live, lambda: scenario(service))
    again = FakePort(live.journal())

    second = run(again, lambda: scenario(service))

    assert second == first
    assert (again.made, again.answered) == (0, 2)
