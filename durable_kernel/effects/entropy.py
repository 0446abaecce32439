"""Entropy: what the operating system hands out at random, and ids made from it.

One funnel: secrets, SystemRandom, uuid4, `Random()` without a seed and numpy's SeedSequence all end
in `os.urandom` or `random._urandom`. Draws are hard observations, one by one per (lane, kind): one
more or fewer must never shift the user's next uuid (H31). Kinds are "os.urandom/SIZE",
"os.getrandom/SIZE", "uuid.NAME" and "tempfile.name"; the values are bytes, str or int.

Not seen: `_random.Random()` made directly, reads of /dev/urandom, and what C libraries draw for
themselves.
"""

from __future__ import annotations

import functools
import operator
import os
import random
import sys
import tempfile
import uuid
from collections.abc import Callable
from typing import Any

from durable_kernel.effects.callers import is_drawn_by_cell
from durable_kernel.effects.stand_ins import replace
from durable_kernel.ports import CURRENT_LANE, Witness, machinery

__all__ = ["install"]

# Wide enough for the whole state of a generator that a cell seeds from nothing.
_SEED_SIZE_BYTES = 32
_SAFETY = (uuid.SafeUUID.safe, uuid.SafeUUID.unsafe, uuid.SafeUUID.unknown)


def _draw(kind: str, produce: Callable[[], Any]) -> Any:
    """Draw for the cell that called the hook that called this; for anyone else just produce."""
    lane = CURRENT_LANE.get()
    if lane is None or not is_drawn_by_cell(sys._getframe(2)):
        return produce()

    def produce_unseen() -> Any:
        with machinery():
            return produce()

    return lane.port.draw(lane, kind, produce_unseen)


# --- os -------------------------------------------------------------------------------------------

_real_urandom = os.urandom


def _hook_os() -> None:
    def urandom(size: int, /) -> bytes:
        count = operator.index(size)
        if count <= 0:
            return _real_urandom(count)
        drawn: bytes = _draw(f"os.urandom/{count}", lambda: _real_urandom(count))
        return drawn

    replace(os, "urandom", urandom)
    random._urandom = os.urandom  # type: ignore[attr-defined]  # its own reference
    real_getrandom = getattr(os, "getrandom", None)
    if real_getrandom is None:
        return

    def getrandom(size: int, flags: int = 0) -> bytes:
        drawn: bytes = _draw(f"os.getrandom/{size}", lambda: real_getrandom(size, flags))
        return drawn

    replace(os, "getrandom", getrandom)


# --- random and tempfile --------------------------------------------------------------------------


def _hook_random() -> None:
    """Seed a generator that got no seed from the funnel; C would ask the system itself."""
    real_seed = random.Random.seed

    @functools.wraps(real_seed)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            size = _SEED_SIZE_BYTES
            a = int.from_bytes(_draw(f"os.urandom/{size}", lambda: _real_urandom(size)), "big")
        real_seed(self, a, version)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed = random._inst.seed  # was bound to the old one


def _hook_tempfile() -> None:
    """Draw each name by itself: the generator behind them is one per process, whoever used it."""
    tempfile.gettempdir()  # tries the folder with a file of a random name: now, not in a cell
    names: Any = tempfile._RandomNameSequence  # type: ignore[attr-defined]
    real_next = names.__next__

    @functools.wraps(real_next)
    def __next__(self: Any) -> str:
        name: str = _draw("tempfile.name", lambda: real_next(self))
        return name

    names.__next__ = __next__


# --- uuid -----------------------------------------------------------------------------------------


def _hook_uuid(name: str) -> None:
    """Replace a uuid that is made of clock and host, in whatever way the system makes it."""
    real = getattr(uuid, name)

    @functools.wraps(real)
    def hooked(*args: Any, **kwargs: Any) -> uuid.UUID:
        packed = _draw(f"uuid.{name}", lambda: _pack(real(*args, **kwargs)))
        return uuid.UUID(bytes=packed[:16], is_safe=_SAFETY[packed[16]])

    setattr(uuid, name, hooked)


def _pack(value: uuid.UUID) -> bytes:
    return value.bytes + bytes([_SAFETY.index(value.is_safe)])


def _hook_getnode() -> None:
    real = uuid.getnode

    @functools.wraps(real)
    def getnode() -> int:
        node: int = _draw("uuid.getnode", real)
        return node

    uuid.getnode = getnode


# --- install --------------------------------------------------------------------------------------

_INSTALLED: set[str] = set()


def install(witness: Witness) -> None:
    """Replace all sources of entropy. A second call changes nothing."""
    if _INSTALLED:
        return
    _INSTALLED.add("entropy")
    _hook_os()
    _hook_random()
    _hook_tempfile()
    for name in ("uuid1", "uuid6", "uuid7"):
        if hasattr(uuid, name):
            _hook_uuid(name)
    _hook_getnode()
