"""Every HTTP client that is recorded, behind one function each: what it sends, what a user sees.

    client = CLIENTS["aiohttp"]
    client("GET", url)                          -> Seen: class, status, headers, body, cookies …
    client("POST", url, body=b"…", headers={…}, timeout_s=1, ca_file=…, proxy=…)
    client("GET", url, is_strict=True)          raises what `raise_for_status` raises

Each call has a client of its own, so nothing of one is left to the next one.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import requests
import urllib3

__all__ = ["CLIENTS", "Client", "Request", "Seen"]


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    ca_file: Path | None = None
    proxy: str | None = None
    is_strict: bool = False

    @property
    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None


@dataclass(frozen=True)
class Seen:
    """Everything that a user can see of an answer, as plain values."""

    kind: type
    status: int
    reason: Any
    version: Any
    headers: list[tuple[Any, Any]]
    body: bytes
    cookies: list[tuple[str, Any]]


Client = Callable[..., Seen]


def _of_requests(asked: Request) -> Seen:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            asked.method,
            asked.url,
            data=asked.body,
            headers=dict(asked.headers),
            timeout=asked.timeout_s,
            verify=str(asked.ca_file) if asked.ca_file else True,
            proxies={"http": asked.proxy, "https": asked.proxy} if asked.proxy else None,
        )
        if asked.is_strict:
            answer.raise_for_status()
        headers = list(answer.headers.items())
        cookies = sorted((each.name, each.value) for each in session.cookies)
        return Seen(
            type(answer),
            answer.status_code,
            answer.reason,
            answer.raw.version,
            headers,
            answer.content,
            cookies,
        )


def _options_of(asked: Request) -> dict[str, Any]:
    return {
        "timeout": asked.timeout_s,
        "verify": asked.tls or True,
        "proxy": asked.proxy,
        "trust_env": False,
        "follow_redirects": True,
    }


def _seen_of_httpx(answer: Any, cookies: Any) -> Seen:
    return Seen(
        type(answer),
        answer.status_code,
        answer.reason_phrase,
        answer.http_version,
        answer.headers.raw,
        answer.content,
        sorted((each.name, each.value) for each in cookies.jar),
    )


def _of_httpx(lib: Any) -> Callable[[Request], Seen]:
    def send(asked: Request) -> Seen:
        with lib.Client(**_options_of(asked)) as client:
            headers = dict(asked.headers)
            answer = client.request(asked.method, asked.url, content=asked.body, headers=headers)
            if asked.is_strict:
                answer.raise_for_status()
            return _seen_of_httpx(answer, client.cookies)

    return send


def _of_async_httpx(lib: Any) -> Callable[[Request], Seen]:
    async def send(asked: Request) -> Seen:
        async with lib.AsyncClient(**_options_of(asked)) as client:
            headers = dict(asked.headers)
            answer = await client.request(
                asked.method, asked.url, content=asked.body, headers=headers
            )
            if asked.is_strict:
                answer.raise_for_status()
            return _seen_of_httpx(answer, client.cookies)

    return lambda asked: asyncio.run(send(asked))


def _of_urllib3(asked: Request) -> Seen:
    options: dict[str, Any] = {"ca_certs": str(asked.ca_file)} if asked.ca_file else {}
    pools: Any = (
        urllib3.ProxyManager(asked.proxy, **options)
        if asked.proxy
        else urllib3.PoolManager(**options)
    )
    with pools:
        answer = pools.request(
            asked.method,
            asked.url,
            body=asked.body,
            headers=dict(asked.headers),
            timeout=asked.timeout_s,
            retries=False,
        )
        if asked.is_strict and answer.status >= 400:
            raise urllib3.exceptions.ResponseError(f"{answer.status} {answer.reason}")
        cookies = [("set-cookie", each) for each in answer.headers.getlist("set-cookie")]
        return Seen(
            type(answer),
            answer.status,
            answer.reason,
            answer.version,
            list(answer.headers.items()),
            answer.data,
            cookies,
        )


def _of_http_client(asked: Request) -> Seen:
    parts = urlsplit(asked.url)
    place = urlsplit(asked.proxy) if asked.proxy else parts
    assert place.hostname is not None
    conn: http.client.HTTPConnection
    if parts.scheme == "https":
        conn = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=asked.timeout_s, context=asked.tls
        )
    else:
        conn = http.client.HTTPConnection(place.hostname, place.port, timeout=asked.timeout_s)
    if asked.proxy:
        assert parts.hostname is not None
        conn.set_tunnel(parts.hostname, parts.port)
    try:
        conn.request(asked.method, parts.path or "/", asked.body, dict(asked.headers))
        answer = conn.getresponse()
        if asked.is_strict and answer.status >= 400:
            raise http.client.HTTPException(f"{answer.status} {answer.reason}")
        return _seen_of_stdlib(answer)
    finally:
        conn.close()


def _of_urllib_request(asked: Request) -> Seen:
    proxies = {"http": asked.proxy, "https": asked.proxy} if asked.proxy else {}
    jar = CookieJar()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(context=asked.tls),
        urllib.request.HTTPCookieProcessor(jar),
    )
    request = urllib.request.Request(
        asked.url, asked.body, dict(asked.headers), method=asked.method
    )
    try:
        with opener.open(request, timeout=asked.timeout_s) as answer:
            seen = _seen_of_stdlib(answer)
    except urllib.error.HTTPError as error:
        with error:
            if asked.is_strict:
                raise
            seen = _seen_of_stdlib(error)
    cookies = sorted((each.name, each.value) for each in jar)
    return Seen(seen.kind, seen.status, seen.reason, seen.version, seen.headers, seen.body, cookies)


def _seen_of_stdlib(answer: Any) -> Seen:
    headers = answer.headers.items()
    cookies = [("set-cookie", each) for each in answer.headers.get_all("set-cookie", [])]
    version = getattr(answer, "version", None)
    return Seen(
        type(answer), answer.status, answer.reason, version, headers, answer.read(), cookies
    )


async def _send_by_aiohttp(asked: Request) -> Seen:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=asked.timeout_s)
    jar = aiohttp.CookieJar(unsafe=True)  # accepts those of addresses, too
    async with (
        aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as session,
        session.request(
            asked.method,
            asked.url,
            data=asked.body,
            headers=dict(asked.headers),
            ssl=asked.tls or True,
            proxy=asked.proxy,
        ) as answer,
    ):
        if asked.is_strict:
            answer.raise_for_status()
        body = await answer.read()
        return Seen(
            type(answer),
            answer.status,
            answer.reason,
            answer.version,
            list(answer.raw_headers),
            body,
            sorted((each.key, each.value) for each in jar),
        )


def _named(send: Callable[[Request], Seen]) -> Client:
    return lambda method, url, **options: send(Request(method, url, **options))


CLIENTS: dict[str, Client] = {
    "requests": _named(_of_requests),
    "httpx": _named(_of_httpx(httpx)),
    "httpx async": _named(_of_async_httpx(httpx)),
    "httpx2": _named(_of_httpx(httpx2)),
    "httpx2 async": _named(_of_async_httpx(httpx2)),
    "urllib3": _named(_of_urllib3),
    "http.client": _named(_of_http_client),
    "urllib.request": _named(_of_urllib_request),
    "aiohttp": _named(lambda asked: asyncio.run(_send_by_aiohttp(asked))),
}
