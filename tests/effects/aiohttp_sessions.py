"""Scenarios of aiohttp, as functions without arguments: each in a session and a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp


def in_session(scenario: Callable[[Any], Awaitable[Any]], **options: Any) -> Callable[[], Any]:
    async def go() -> Any:
        async with aiohttp.ClientSession(**options) as session:
            return await scenario(session)

    return lambda: asyncio.run(go())


def fetching(method: str, url: str, **options: Any) -> Callable[[], Any]:
    async def fetch(session: Any) -> bytes:
        async with session.request(method, url, **options) as response:
            return bytes(await response.read())

    return in_session(fetch)
