"""Messages to a run: whoever can write the store can leave one, so none is taken for whole."""

from __future__ import annotations

import pytest

from durable_kernel.runtime.inbox import AskedResolution, parse_resolution, queue_resolution
from tests.runtime.notebooks import Notebook, Service

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


def test_a_decision_that_waits_behind_another_one_is_void(
    notebook: Notebook, service: Service
) -> None:
    """Rule 5: a second retry, queued before the first was taken, would make the act once more."""
    notebook.die_during("pay")
    notebook.died("x = service.ask('pay'); y = service.ask('thank')")
    for name in ("first", "second"):
        queue_resolution(notebook.inbox(), name, AskedResolution("0.0", "retry", None))

    with notebook.session() as session:
        session.recover()

    assert service.requests == ["pay", "pay", "thank"]  # the one in doubt, and one retry
    assert notebook.inbox().pending() == []
