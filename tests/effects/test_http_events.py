"""Server-sent events: streamed, replayed, cut. A stream that differs the second time is no answer.

A GET is safe, so a cut stream is asked for again and compared with what was recorded (H23). Events
of the world are others by then: the reader gets a read error of its library, which is also a
RequestInterrupted, behind the events it has seen. Where the server sends the same ones, it goes on.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import httpx_sse
import pytest
import requests

from durable_kernel.errors import RequestInterrupted
from durable_kernel.testing.fake_port import FakeJournal, FakePort, FakeWitness
from tests.effects.http_service import EVENTS, HttpService

Seen = list[Any]
Reader = Callable[[str, Seen], None]


@pytest.fixture(autouse=True)
def witness(hooked: FakeWitness) -> FakeWitness:
    return hooked


def lines_of_requests(url: str, seen: Seen) -> None:
    with requests.get(url, stream=True, timeout=60) as response:
        for line in response.iter_lines():
            seen.append(line)


def lines_of_httpx(name: str) -> Reader:
    def read(url: str, seen: Seen) -> None:
        with importlib.import_module(name).stream("GET", url) as response:
            for line in response.iter_lines():
                seen.append(line)

    return read


def lines_of_async_httpx(url: str, seen: Seen) -> None:
    async def go() -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
            async for line in response.aiter_lines():
                seen.append(line)

    asyncio.run(go())


def events_of_httpx_sse(url: str, seen: Seen) -> None:
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            seen.append((type(event), event.event, event.data, event.id))


def lines_of_aiohttp(url: str, seen: Seen) -> None:
    async def go() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            async for line in response.content:
                seen.append(line)

    asyncio.run(go())


READERS: dict[str, tuple[Reader, type[Exception]]] = {
    "requests": (lines_of_requests, requests.exceptions.ChunkedEncodingError),
    "httpx": (lines_of_httpx("httpx"), httpx.ReadError),
    "httpx async": (lines_of_async_httpx, httpx.ReadError),
    "httpx2": (lines_of_httpx("httpx2"), httpx2.ReadError),
    "httpx-sse": (events_of_httpx_sse, httpx.ReadError),
    "aiohttp": (lines_of_aiohttp, aiohttp.ClientPayloadError),
}


def read(port: FakePort, reader: Reader, url: str) -> tuple[Seen, BaseException | None]:
    seen: Seen = []
    with port.cell():
        try:
            reader(url, seen)
        except Exception as error:  # noqa: BLE001 - whatever a client raises is compared
            return seen, error
    return seen, None


def cut(journal: FakeJournal, size_bytes: int) -> FakeJournal:
    """Let the process die when so much of the wire was recorded."""
    whole = b"".join(journal.calls[0].parts)
    found = journal.cut(0)
    found.calls[0].parts = [whole[:size_bytes]]
    return found


@pytest.mark.parametrize("name", READERS)
def test_events_are_replayed(name: str, service: HttpService) -> None:
    reader, _ = READERS[name]
    live = FakePort()
    first = read(live, reader, service.url("/events"))
    hits = service.hits()

    second = read(FakePort(live.journal()), reader, service.url("/events"))

    assert second == first
    assert len(first[0]) >= len(EVENTS)
    assert service.hits() == hits


@pytest.mark.parametrize("name", READERS)
def test_a_cut_stream_goes_on_where_the_server_sends_the_same_events(
    name: str, service: HttpService
) -> None:
    reader, _ = READERS[name]
    live = FakePort()
    first = read(live, reader, service.url("/events"))
    journal = cut(live.journal(), 2 * len(EVENTS[0]) + 12)

    second = read(FakePort(journal), reader, service.url("/events"))

    assert second == first


@pytest.mark.parametrize("name", READERS)
def test_a_cut_stream_of_other_events_is_a_lost_connection_and_an_interruption(
    name: str, service: HttpService
) -> None:
    """H23: what was seen stays, and nothing of the other stream is mixed into it."""
    reader, kind = READERS[name]
    live = FakePort()
    first, _ = read(live, reader, service.url("/ticks"))
    resumed = FakePort(cut(live.journal(), 35))

    seen, error = read(resumed, reader, service.url("/ticks"))
    replayed, again = read(FakePort(resumed.journal()), reader, service.url("/ticks"))

    assert seen == first[: len(seen)]
    assert isinstance(error, kind)
    assert isinstance(error, RequestInterrupted)
    assert "sent again it is a different one" in str(error)
    assert (replayed, type(again), str(again)) == (seen, type(error), str(error))
