"""Messages to a run: whoever can write the store can leave one, so none is taken for whole."""

from __future__ import annotations

import pytest

from durable_kernel.runtime.inbox import parse_resolution

MESSAGES = {
    "empty": b"",
    "no text": b"\xff",
    "no JSON": b"{",
    "more brackets than Python reads": b"[" * 200_000,
    "no object": b"[]",
    "of another kind": b'{"kind": "stop"}',
    "an answer that is not base64": b'{"kind": "resolve", "choice": "answer", "answer": "\\u00e9"}',
    "an answer that is cut": b'{"kind": "resolve", "choice": "answer", "answer": "AAA"}',
}


@pytest.mark.parametrize("payload", MESSAGES.values(), ids=MESSAGES.keys())
def test_what_is_no_decision_never_reaches_the_waiting_call(payload: bytes) -> None:
    assert parse_resolution(payload) is None
