"""requests and urllib3 against a real server in another process: recorded, then served again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import requests.adapters
import urllib3
from urllib3.util import Retry

from durable_kernel.testing.fake_port import FakeWitness
from tests.effects.http_service import HttpService
from tests.effects.http_sessions import facts_of_error, record_and_replay


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    """All hooks: clocks answer for `elapsed`, sleeps for back-off, the detector hears leaks."""
    return hooked


Scenario = Callable[[HttpService], Any]


# --- requests -------------------------------------------------------------------------------------


def facts_of(response: requests.Response) -> dict[str, Any]:
    """Everything that user code can see of a finished response."""
    return {
        "type": type(response),
        "status": response.status_code,
        "headers": list(response.headers.items()),
        "content": response.content,
        "text": response.text,
        "encoding": response.encoding,
        "cookies": sorted(response.cookies.items()),
        "elapsed": response.elapsed,
        "reason": response.reason,
        "url": response.url,
        "raw": facts_of_raw(response.raw),
        "history": [facts_of(earlier) for earlier in response.history],
    }


def facts_of_raw(raw: Any) -> dict[str, Any]:
    original = raw._original_response
    return {
        "type": type(raw),
        "status": raw.status,
        "version": (raw.version, getattr(raw, "version_string", None)),
        "headers": list(raw.headers.items()),
        "read": raw.tell(),
        "length": raw.length_remaining,
        "chunked": raw.chunked,
        "closed": raw.closed,
        "original": (type(original), original.msg.items(), original.isclosed()),
    }


def get(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/hello"), params={"page": 2}))


def get_status_500(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/status/500")))


def get_status_204(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/status/204")))


def raise_for_status(service: HttpService) -> Any:
    requests.get(service.url("/status/500")).raise_for_status()


def get_packed(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/gzip")))


def get_chunked(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/lines")))


def get_until_the_connection_closes(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/closing")))


def head(service: HttpService) -> Any:
    return facts_of(requests.head(service.url("/hello")))


def keep_cookies(service: HttpService) -> Any:
    with requests.Session() as session:
        set_both = facts_of(session.get(service.url("/cookies")))
        sent_back = session.get(service.url("/cookie")).text
        return set_both, sent_back, sorted(session.cookies.items())


def follow_redirects(service: HttpService) -> Any:
    return facts_of(requests.get(service.url("/redirect/2")))


def authenticate(service: HttpService) -> Any:
    auth = requests.auth.HTTPDigestAuth("user", "pass")
    return requests.get(service.url("/private"), auth=auth).text


def post_json(service: HttpService) -> Any:
    return facts_of(requests.post(service.url("/echo"), json={"a": [1, 2]}))


def post_text(service: HttpService) -> Any:
    return facts_of(requests.post(service.url("/echo"), data="grüß Gott"))


def post_generator(service: HttpService) -> Any:
    """H28: the generator runs in the cell, live and on replay."""
    produced: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            produced.append(number)
            yield b"piece %d" % number

    found = facts_of(requests.post(service.url("/echo"), data=body()))
    return produced, found


class Watched(io.BytesIO):
    """A file with a progress callback, as uploads have it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.progress: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.progress.append(len(found))
        return found


def post_file(service: HttpService) -> Any:
    """H28."""
    file = Watched(b"z" * 100_000)
    found = facts_of(requests.post(service.url("/echo"), data=file))
    return found, file.progress, file.tell()


def post_multipart(service: HttpService) -> Any:
    """The boundary is drawn by urllib3, and part of the call: its entropy is recorded."""
    files = {"file": ("a.txt", b"z" * 100_000, "text/plain")}
    return facts_of(requests.post(service.url("/echo"), data={"a": "1"}, files=files))


def keep_the_body_over_307(service: HttpService) -> Any:
    return facts_of(requests.post(service.url("/moved"), data=b"body"))


def iterate_content(service: HttpService) -> Any:
    with requests.get(service.url("/lines"), stream=True) as response:
        return list(response.iter_content(4)), facts_of_raw(response.raw), response.elapsed


def iterate_chunks(service: HttpService) -> Any:
    with requests.get(service.url("/lines"), stream=True) as response:
        return list(response.iter_content(None))


def iterate_lines(service: HttpService) -> Any:
    with requests.get(service.url("/lines"), stream=True) as response:
        return list(response.iter_lines()), facts_of_raw(response.raw)


def iterate_events(service: HttpService) -> Any:
    with requests.get(service.url("/events"), stream=True) as response:
        return list(response.iter_lines(decode_unicode=True))


def unpack_while_streaming(service: HttpService) -> Any:
    with requests.get(service.url("/gzip"), stream=True) as response:
        return list(response.iter_content(100)), response.raw.tell()


def close_early(service: HttpService) -> Any:
    with requests.get(service.url("/big/3"), stream=True) as response:
        first = response.raw.read(1000)
    return first, facts_of_raw(response.raw)


def close_unread(service: HttpService) -> Any:
    with requests.post(service.url("/echo"), data=b"x", stream=True) as response:
        pass
    return facts_of_raw(response.raw)


def retry_by_adapter(service: HttpService) -> Any:
    retry = Retry(3, status_forcelist=[503], backoff_factor=0.001)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        response = session.get(service.url("/busy/requests"))
    return facts_of(response), response.raw.retries.history


def time_out_at_the_head(service: HttpService) -> Any:
    return requests.get(service.url("/silent"), timeout=0.05)


def time_out_in_the_body(service: HttpService) -> Any:
    parts: list[Any] = []
    with requests.get(service.url("/stalling"), timeout=0.05, stream=True) as response:
        try:
            parts.extend(response.iter_content(100))
        except requests.ConnectionError as error:
            parts.append(facts_of_error(error))
    return parts, facts_of_raw(response.raw)


def lose_the_connection(service: HttpService) -> Any:
    return requests.get(service.url("/broken")).content


def refuse_the_connection(service: HttpService) -> Any:
    return requests.get("http://127.0.0.1:1/closed?page=2")


def use_an_unknown_host(service: HttpService) -> Any:
    """The name is too long to be asked for anywhere."""
    return requests.get(f"http://{('x' * 60 + '.') * 5}invalid/")


def use_a_bad_host(service: HttpService) -> Any:
    return requests.get(f"http://{'x' * 70}.invalid/")


REQUESTS: list[Scenario] = [
    get,
    get_status_500,
    get_status_204,
    raise_for_status,
    get_packed,
    get_chunked,
    get_until_the_connection_closes,
    head,
    keep_cookies,
    follow_redirects,
    authenticate,
    post_json,
    post_text,
    post_generator,
    post_file,
    post_multipart,
    keep_the_body_over_307,
    iterate_content,
    iterate_chunks,
    iterate_lines,
    iterate_events,
    unpack_while_streaming,
    close_early,
    close_unread,
    retry_by_adapter,
    time_out_at_the_head,
    time_out_in_the_body,
    lose_the_connection,
    refuse_the_connection,
    use_an_unknown_host,
    use_a_bad_host,
]


@pytest.mark.parametrize("scenario", REQUESTS, ids=lambda scenario: scenario.__name__)
def test_requests_sees_the_same_again_and_the_server_nothing(
    scenario: Scenario, service: HttpService, witness: FakeWitness
) -> None:
    """H32: `elapsed` included."""
    record_and_replay(service, lambda: scenario(service))

    assert witness.acts == []


# --- urllib3 itself -------------------------------------------------------------------------------


@contextlib.contextmanager
def asked(method: str, url: str, **options: Any) -> Iterator[Any]:
    """Ask through a pool of its own, which is closed afterwards."""
    with urllib3.PoolManager() as pools:
        response = pools.request(method, url, **options)
        yield response
        response.close()


def preload(service: HttpService) -> Any:
    with asked("GET", service.url("/hello")) as response:
        return response.data, response.geturl(), facts_of_raw(response)


def preload_chunked(service: HttpService) -> Any:
    with asked("GET", service.url("/lines")) as response:
        return response.data, facts_of_raw(response)


def preload_packed(service: HttpService) -> Any:
    with asked("GET", service.url("/gzip")) as response:
        return response.data, facts_of_raw(response)


def leave_packed(service: HttpService) -> Any:
    with asked("GET", service.url("/gzip"), decode_content=False) as response:
        return response.data


def redirect(service: HttpService) -> Any:
    with asked("GET", service.url("/redirect/2")) as response:
        return response.data, response.geturl(), response.retries.history


def post_fields(service: HttpService) -> Any:
    fields = {"name": "value", "file": ("a.txt", b"z" * 1000)}
    with asked("POST", service.url("/echo"), fields=fields) as response:
        return response.data


def post_chunks(service: HttpService) -> Any:
    body = iter([b"one", b"", b"two"])
    with asked("POST", service.url("/echo"), body=body, chunked=True) as response:
        return response.data


def post_buffer(service: HttpService) -> Any:
    headers = {"Content-Length": "4"}
    with asked("PUT", service.url("/echo"), body=bytearray(b"buff"), headers=headers) as response:
        return response.data


def stream_chunks(service: HttpService) -> Any:
    with asked("GET", service.url("/lines"), preload_content=False) as response:
        return list(response.stream(4)), facts_of_raw(response)


def read_in_pieces(service: HttpService) -> Any:
    with asked("GET", service.url("/big/1"), preload_content=False) as response:
        first = response.read(10), response.read(100_000), response.tell()
        buffer = bytearray(7)
        response.readinto(buffer)
        rest = response.read()
        return first, buffer, rest, response.tell(), facts_of_raw(response)


def read_lines(service: HttpService) -> Any:
    with asked("GET", service.url("/closing"), preload_content=False) as response:
        return list(response)


def wrap_as_text(service: HttpService) -> Any:
    with asked("GET", service.url("/closing"), preload_content=False) as response:
        response.auto_close = False
        return io.TextIOWrapper(response).read()


def read_what_is_there(service: HttpService) -> Any:
    with asked("GET", service.url("/big/1"), preload_content=False) as response:
        if not hasattr(response, "read1"):
            return None
        pieces = []
        while piece := response.read1():
            pieces.append(piece)
        return pieces, facts_of_raw(response)


def retry_a_status(service: HttpService) -> Any:
    retries = Retry(3, status_forcelist=[503], backoff_factor=0.001)
    with asked("GET", service.url("/busy/urllib3"), retries=retries) as response:
        return response.data, response.retries.history


def retry_a_broken_body(service: HttpService) -> Any:
    with asked("GET", service.url("/broken"), retries=Retry(2)) as response:
        return response


def retry_a_slow_body(service: HttpService) -> Any:
    with asked("GET", service.url("/stalling"), retries=Retry(1), timeout=0.05) as response:
        return response


def fail_without_retries(service: HttpService) -> Any:
    with asked("GET", "http://127.0.0.1:1/", retries=False) as response:
        return response


def hurry_the_head(service: HttpService) -> Any:
    with asked("GET", service.url("/silent"), retries=False, timeout=0.05) as response:
        return response


def release_before_reading(service: HttpService) -> Any:
    with asked("GET", service.url("/hello"), preload_content=False) as response:
        response.drain_conn()
        response.release_conn()
        return response.connection is None, facts_of_raw(response)


def limit_the_pool(service: HttpService) -> Any:
    with urllib3.HTTPConnectionPool("127.0.0.1", maxsize=1, block=True) as pool:
        pool.port = int(service.origin.rpartition(":")[2])
        answers = [pool.request("GET", "/count/pool").data for _ in range(2)]
        return answers, pool.num_connections, pool.num_requests


URLLIB3: list[Scenario] = [
    preload,
    preload_chunked,
    preload_packed,
    leave_packed,
    redirect,
    post_fields,
    post_chunks,
    post_buffer,
    stream_chunks,
    read_in_pieces,
    read_lines,
    wrap_as_text,
    read_what_is_there,
    retry_a_status,
    retry_a_broken_body,
    retry_a_slow_body,
    fail_without_retries,
    hurry_the_head,
    release_before_reading,
    limit_the_pool,
    *(
        lambda service, end=end: requests.get(service.url(f"/torn/{end}")).content
        for end in ("inside", "size", "bytes", "between", "garbled")
    ),
]


@pytest.mark.parametrize("scenario", URLLIB3, ids=lambda scenario: scenario.__name__)
def test_urllib3_sees_the_same_again_and_the_server_nothing(
    scenario: Scenario, service: HttpService, witness: FakeWitness
) -> None:
    record_and_replay(service, lambda: scenario(service))

    assert witness.acts == []


@pytest.mark.parametrize("scenario", [refuse_the_connection, use_an_unknown_host, hurry_the_head])
def test_exceptions_refer_to_the_same_things_again(
    scenario: Scenario, service: HttpService
) -> None:
    """Real types all the way down: reason, cause, pool, connection, URL."""

    def chain() -> Any:
        try:
            scenario(service)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return list(_facts_of_chain(error))

    record_and_replay(service, chain)


def _facts_of_chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        held = vars(error).items()
        yield type(error), str(error), [(name, type(value)) for name, value in held]
        reason = getattr(error, "reason", None)
        is_error = isinstance(reason, BaseException)
        error = reason if is_error else error.__cause__ or _first_error(error.args)


def _first_error(args: tuple[Any, ...]) -> BaseException | None:
    return next((arg for arg in args if isinstance(arg, BaseException)), None)
