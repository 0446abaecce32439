"""Connections: what holds a way to the world and can't be carried into another process.

A client of HTTP is what its cell configured, and its cookies; the connections below are nobody's
state and are made again when they are needed. So two clients in one configuration are as good as
one. The same holds for a lock that nobody has. `facts_of` reads that configuration.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["facts_of"]

Facts = tuple[Any, ...]


def facts_of(thing: Any) -> Facts | None:
    """Return plain values that tell two of its kind apart; None for what is no such thing."""
    read = _reader(type(thing))
    return None if read is None else read(thing)


@lru_cache(maxsize=4096)
def _reader(kind: type) -> Callable[[Any], Facts | None] | None:
    return _READERS.get(f"{kind.__module__}.{kind.__qualname__}")


def _of_httpx(client: Any) -> Facts:
    return (
        bool(client.is_closed),
        str(client.base_url),
        list(client.headers.multi_items()),
        str(client.params),
        repr(client.timeout),
        sorted(_cookies(client.cookies.jar)),
        [_named(each) for each in (client.auth, *_hooks(client.event_hooks))],
    )


def _hooks(hooks: Any) -> list[Any]:
    return [each for kind in sorted(hooks) for each in hooks[kind]]


def _of_aiohttp(session: Any) -> Facts:
    cookies = [(each.key, each.value, each["domain"]) for each in session.cookie_jar]
    return (
        bool(session.closed),
        str(session._base_url or ""),
        sorted((str(name), str(value)) for name, value in session.headers.items()),
        sorted(cookies),
    )


def _of_urllib3(manager: Any) -> Facts:
    return (sorted((str(name), str(value)) for name, value in manager.headers.items()),)


def _cookies(jar: Any) -> list[tuple[str, str, str, str]]:
    return [(each.name, str(each.value), each.domain, each.path) for each in jar]


def _named(thing: Any) -> str:
    """Name what is only to be the same kind of thing in another process."""
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return str(name)


def _of_lock(lock: Any) -> Facts | None:
    """Tell that nobody has it; one that is taken is no such thing, as nobody would release it."""
    return ("free",) if repr(lock).startswith("<unlocked") else None


_LOCK_NAMES = (
    f"{_thread.LockType.__module__}.{_thread.LockType.__qualname__}",
    f"{_thread.RLock.__module__}.{_thread.RLock.__qualname__}",
    "durable_kernel.effects.thread_locks._Lock",
    "durable_kernel.effects.thread_locks._RLock",
)
_READERS: dict[str, Callable[[Any], Facts | None]] = {
    "httpx.Client": _of_httpx,
    "httpx.AsyncClient": _of_httpx,
    "httpx2.Client": _of_httpx,
    "httpx2.AsyncClient": _of_httpx,
    "aiohttp.client.ClientSession": _of_aiohttp,
    "urllib3.poolmanager.PoolManager": _of_urllib3,
    **dict.fromkeys(_LOCK_NAMES, _of_lock),
}
