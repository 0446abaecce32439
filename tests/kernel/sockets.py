"""Ports that nobody else gets, and what waits in the sockets of a process that stands still."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

__all__ = ["has_client", "reserved_port", "unread_bytes"]

_PATH = Path("/proc/net/tcp")
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_BELOW = 12_000
_TRIES = 100
_LOOPBACK = "0100007F"
_OPEN = frozenset({"01", "08"})
"""Established, and closed by the other side alone."""


def reserved_port() -> socket.socket:
    """Return a bound socket: while it is open, nobody gets its port who asks for just any.

    Who names the port may listen there, with SO_REUSEADDR, as zmq and Tornado do. A port that is
    chosen by binding and letting go belongs to whoever comes first, and tests beside each other
    do come in between: before a kernel is up, and while it is restarted. So it is none of those
    that the system gives to who asks for any: somebody may have been given it a moment ago, and
    have let go of it to listen there.
    """
    first = int(_GIVEN.read_text("ascii").split()[0])
    for _ in range(_TRIES):
        reserved = socket.socket()
        try:
            reserved.bind(("127.0.0.1", first - 1 - secrets.randbelow(_BELOW)))
        except OSError:
            reserved.close()
            continue
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return reserved
    raise AssertionError(f"no port is free among the {_BELOW} below {first}")


def unread_bytes(port: int) -> int:
    """Return how much came to connections of whoever listens on a port, and was not read yet."""
    return sum(int(row[4].partition(":")[2], 16) for row in _rows() if row[1] == _address(port))


def has_client(port: int) -> bool:
    """Tell whether some client has not noticed yet that nobody is there any more at a port.

    What it sends until then reaches nobody, and later on it waits for who comes.
    """
    return any(row[2] == _address(port) and row[3] in _OPEN for row in _rows())


def _address(port: int) -> str:
    return f"{_LOOPBACK}:{port:04X}"


def _rows() -> list[list[str]]:
    """The connections of the machine: number, local and remote address, state, queues."""
    return [line.split() for line in _PATH.read_text("ascii").splitlines()[1:]]
