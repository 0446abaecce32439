"""Heads of answers that `http.client` parsed, as `http_wire` draws them, and back on the wire.

Shared by the hooks of http.client and urllib3. On replay the library parses the recorded head once
more, from a stand-in for the socket; so what it makes of a head is its own affair.
"""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from durable_kernel.effects.http_wire import make_head, open_headers

__all__ = ["StandInSocket", "head_bytes", "head_of"]


def head_of(response: http.client.HTTPResponse) -> dict[str, Any]:
    """Take the head of a live response. Values are as they came, continued lines included."""
    message: Any = response.msg
    return make_head(
        response.status,
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in message._headers],
        b"HTTP/1.0" if response.version == 10 else b"HTTP/1.1",  # noqa: PLR2004 - as http.client counts
        response.reason.encode("latin-1"),
    )


def head_bytes(head: Mapping[str, Any]) -> bytes:
    """Write a recorded head as it stood on the wire."""
    reason = head["reason"]
    if reason is None:  # an answer that a user gave
        with contextlib.suppress(ValueError):
            reason = HTTPStatus(head["status"]).phrase.encode()
    lines = [b"%s %d %s" % (head["http_version"], head["status"], reason or b"")]
    lines += [b"%s: %s" % pair for pair in open_headers(head)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class StandInSocket:
    """Stands where a connection keeps its socket while the journal answers. Sends nothing.

    `answer` is what the library reads as an answer's head; it may raise.
    """

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer if answer is not None else io.BytesIO()

    def makefile(self, *_args: Any, **_options: Any) -> Any:
        return self._answer

    def sendall(self, *_args: Any) -> None:
        """Forget it: it was sent when it was recorded."""

    def _ignore(self, *_args: Any) -> None:
        """Do nothing: there is no connection."""

    close = setsockopt = settimeout = shutdown = _ignore
