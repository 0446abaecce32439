"""Where a thread waits for the world and nobody journals it: sockets, selectors, processes.

A server in a thread of a cell spends its time here. Its lane counts as resting meanwhile, so it
keeps no other lane waiting; what it does once the world has woken it is in no order, as what it
read is in no journal. Nothing is recorded, and a cell without a second lane pays for one look.

What blocks in a C library, or by a name that was imported before, has no mark: the runtime finds
out a little later that the thread sleeps.
"""

from __future__ import annotations

import functools
import select
import selectors
import socket
import ssl
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from durable_kernel.effects.stand_ins import replace
from durable_kernel.effects.thread_waits import lane_in_crowd
from durable_kernel.ports import blocked

__all__ = ["install"]

_SOCKET = ("accept", "connect", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg")
_SSL = ("read", "do_handshake")
_PROCESS = ("communicate", "wait")
_TRIO = {"_io_epoll": "EpollIOManager", "_io_kqueue": "KqueueIOManager"}
_SELECTORS = ("EpollSelector", "KqueueSelector", "SelectSelector", "_PollLikeSelector")


def _waits_long(_self: object, *_: object, **__: object) -> bool:
    return True


def _is_socket_blocking(sock: Any, *_: object, **__: object) -> bool:
    return bool(sock.gettimeout() != 0)


def _has_time(_self: object, timeout: float | None = None) -> bool:
    return timeout is None or timeout > 0


def _mark(kind: Any, name: str, may_block: Callable[..., bool]) -> None:
    """Let a lane that calls the method rest meanwhile, if the call can block."""
    real = getattr(kind, name, None)
    if real is None:
        return

    @functools.wraps(real)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        lane = lane_in_crowd()
        if lane is None or lane.loop is not None or not may_block(self, *args, **options):
            return real(self, *args, **options)
        with blocked(lane):
            return real(self, *args, **options)

    setattr(kind, name, method)


def _mark_select() -> None:
    real = select.select

    def hook(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> Any:
        lane = lane_in_crowd()
        if lane is None or lane.loop is not None or timeout == 0:
            return real(rlist, wlist, xlist, timeout)
        with blocked(lane):
            return real(rlist, wlist, xlist, timeout)

    replace(select, "select", hook)


def _mark_trio(module: ModuleType) -> None:
    """Mark where Trio's loop waits: it asks the kernel itself, with an object written in C."""
    kind = getattr(module, _TRIO[module.__name__.rpartition(".")[2]], None)
    if kind is not None:
        _mark(kind, "get_events", _has_time)


def install() -> None:
    """Mark the methods. Called once, by `threads`."""
    for name in _SOCKET:
        _mark(socket.socket, name, _is_socket_blocking)
    for name in _SSL:
        _mark(ssl.SSLSocket, name, _is_socket_blocking)
    for name in _PROCESS:
        _mark(subprocess.Popen, name, _waits_long)
    for kind in _SELECTORS:
        if hasattr(selectors, kind):
            _mark(getattr(selectors, kind), "select", _has_time)
    _mark_select()
    for name in _TRIO:
        wrapt.register_post_import_hook(_mark_trio, f"trio._core.{name}")
