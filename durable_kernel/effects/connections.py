"""Connections: what holds a way to the world and can't be carried into another process.

A client of HTTP is what its cell configured, and its cookies; the connections below are nobody's
state and are made again when they are needed. So two clients in one configuration are as good as
one; `facts_of` reads that configuration. A lock that nobody has is made again under the name that
the order of lanes knows it by.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from durable_kernel.effects import thread_locks

__all__ = ["facts_of", "reduced_lock"]

Facts = tuple[Any, ...]


def facts_of(thing: Any) -> Facts | None:
    """Return plain values that tell two of its kind apart; None for what is no such thing."""
    kind: Any = type(thing)
    read = _reader(kind)
    return None if read is None else read(thing)


@lru_cache(maxsize=4096)
def _reader(kind: type) -> Callable[[Any], Facts | None] | None:
    return _READERS.get(f"{kind.__module__}.{kind.__qualname__}")


def reduced_lock(thing: Any) -> tuple[Any, ...] | None:
    """Say how a lock that nobody has is made again, as `__reduce__` would. None: it is none."""
    kind = type(thing)
    if kind not in _LOCKS or not repr(thing).startswith("<unlocked"):
        return None
    if kind in _COUNTED:
        return lock_again, (kind is thread_locks._RLock, thing._order.name, thing._order.taken)
    return (_thread.RLock if kind is _thread.RLock else _thread.allocate_lock), ()


def lock_again(is_reentrant: bool, name: str, taken: int) -> Any:
    """Make a lock of a cell that no lane has."""
    kind: Any = thread_locks._RLock if is_reentrant else thread_locks._Lock
    lock = kind.__new__(kind)
    order = thread_locks._Order.__new__(thread_locks._Order)
    if is_reentrant:
        order.give_back = _thread.RLock.release.__get__(lock)
    else:
        lock._lock = _thread.allocate_lock()
        order.give_back = lock._lock.release
    order.name, order.taken, order.waiting, order._attempts = name, taken, [], {}
    lock._order = order
    return lock


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


_COUNTED = (thread_locks._Lock, thread_locks._RLock)
_LOCKS = frozenset({_thread.LockType, _thread.RLock, *_COUNTED})
_READERS: dict[str, Callable[[Any], Facts | None]] = {
    "httpx.Client": _of_httpx,
    "httpx.AsyncClient": _of_httpx,
    "httpx2.Client": _of_httpx,
    "httpx2.AsyncClient": _of_httpx,
    "aiohttp.client.ClientSession": _of_aiohttp,
    "urllib3.poolmanager.PoolManager": _of_urllib3,
}
