"""Pacing: what is shown again leaves as slowly as a server needs it, and looks the same in the end.

The queue is driven by a clock of the test. What a server lets pass is judged by its own rule: at
most 1,000 messages and 1 MB of streams a second, over the 3 s before each message.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from durable_kernel.kernel.pacing import Pacer
from durable_kernel.testing.front_end import FrontEnd

_BYTES_S = 600_000
_WINDOW_S = 3.0

Told = tuple[str, str, Mapping[str, Any]]
"""Request, kind and content of a message."""


class Wire:
    """The thread that sends, and its clock: nothing happens before `run`."""

    def __init__(self, bytes_s: float = _BYTES_S) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[float, str, dict[str, Any]]] = []
        self._due: list[tuple[float, Callable[[], None]]] = []
        self.pacer = Pacer(self._send, self._call_later, lambda: self.now_s, bytes_s)

    def _send(self, message: dict[str, Any], _buffers: Any, _options: Mapping[str, Any]) -> None:
        request = message["parent_header"]["msg_id"]
        told = {"msg_type": message["msg_type"], "content": message["content"]}
        self.sent.append((self.now_s, request, told))

    def _call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        self._due.append((self.now_s + delay_s, function))

    def tell(self, request: str, kind: str, **content: Any) -> None:
        message = {"msg_type": kind, "parent_header": {"msg_id": request}, "metadata": {}}
        if not self.pacer.take({**message, "content": content}, None):
            self._send({**message, "content": content}, None, {})

    def run(self) -> None:
        while self._due:
            self._due.sort(key=lambda each: each[0])
            at_s, function = self._due.pop(0)
            self.now_s = max(self.now_s, at_s)
            function()

    def exceeds(self) -> bool:
        """Tell whether a server would have dropped something."""
        recent: deque[tuple[float, int]] = deque()
        recent_bytes = 0
        for at_s, _, told in self.sent:
            size = len(json.dumps(told["content"])) + 700 if told["msg_type"] == "stream" else 0
            recent.append((at_s, size))
            recent_bytes += size
            while recent[0][0] <= at_s - _WINDOW_S:
                recent_bytes -= recent.popleft()[1]
            if len(recent) > 1000 * _WINDOW_S or recent_bytes > 1e6 * _WINDOW_S:
                return True
        return False


def test_twenty_megabytes_of_text_stay_below_a_server_s_limits() -> None:
    wire = Wire()
    wire.pacer.begin()
    for number in range(2_000):
        wire.tell("r", "stream", name="stdout", text=f"{number:05}" * 2_000)

    wire.run()

    text = "".join(told["content"]["text"] for _, _, told in wire.sent)
    assert text == "".join(f"{number:05}" * 2_000 for number in range(2_000))
    assert not wire.exceeds()
    assert wire.now_s - 100 < 20e6 / _BYTES_S * 1.1
    assert wire.pacer.is_empty


def test_fifty_thousand_displays_stay_below_a_server_s_limits() -> None:
    wire = Wire()
    wire.pacer.begin()
    for number in range(50_000):
        wire.tell("r", "display_data", data={"text/plain": str(number)}, metadata={})

    wire.run()

    assert len(wire.sent) == 50_000
    assert not wire.exceeds()


@pytest.mark.parametrize(
    "told",
    [
        ("stream", {"name": "stdout", "text": "x\n"}),
        ("update_display_data", {"data": {}, "metadata": {}, "transient": {"display_id": "d"}}),
        ("comm_msg", {"comm_id": "w", "data": {"method": "update", "state": {"value": 1}}}),
    ],
    ids=lambda told: str(told[0]),
)
def test_what_is_the_same_again_and_again_is_sent_a_few_times(
    told: tuple[str, dict[str, Any]],
) -> None:
    wire = Wire()
    wire.pacer.begin()
    for _ in range(50_000):
        wire.tell("r", told[0], **told[1])

    wire.run()

    assert len(wire.sent) <= 50


def test_a_loop_that_clears_and_prints_leaves_its_last_turn() -> None:
    wire = Wire()
    wire.pacer.begin()
    for number in range(10_000):
        wire.tell("r", "clear_output", wait=True)
        wire.tell("r", "stream", name="stdout", text=f"{number}\n")

    wire.run()

    assert [told["msg_type"] for _, _, told in wire.sent] == ["clear_output", "stream"]
    assert wire.sent[-1][2]["content"]["text"] == "9999\n"


def test_who_writes_more_than_can_wait_has_to_wait_until_some_has_left() -> None:
    wire = Wire()
    wire.pacer.begin()
    for _ in range(20):
        wire.tell("r", "stream", name="stdout", text="x" * 1_000_000)
    was_full = wire.pacer.is_full

    wire.run()

    assert was_full
    assert not wire.pacer.is_full


def test_what_comes_new_goes_behind_what_waits_and_at_once_when_nothing_does() -> None:
    wire = Wire()
    wire.pacer.begin()
    wire.tell("r", "stream", name="stdout", text="again" * 300_000)
    wire.pacer.end()
    wire.tell("r", "error", ename="E", evalue="", traceback=[])
    before = len(wire.sent)
    wire.run()
    wire.tell("r", "stream", name="stdout", text="new")

    kinds = [told["msg_type"] for _, _, told in wire.sent]

    assert before == 0
    assert kinds[-2:] == ["error", "stream"]
    assert wire.sent[-1][2]["content"]["text"] == "new"


def test_without_a_limit_nothing_waits() -> None:
    wire = Wire(bytes_s=0)
    wire.pacer.begin()

    wire.tell("r", "stream", name="stdout", text="x" * 10_000_000)

    assert len(wire.sent) == 1


_TEXTS = st.sampled_from(["a", "b\n", "\r0%", "c" * 40_000])
_REQUESTS = st.sampled_from(["r", "s"])
_IDS = st.sampled_from(["one", "two"])


def _told(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Told]:
    return st.tuples(_REQUESTS, st.just(kind), st.fixed_dictionaries(dict(fields)))


def _display(kind: str) -> st.SearchStrategy[Told]:
    data = st.fixed_dictionaries({"text/plain": st.sampled_from("xyz")})
    transient = st.fixed_dictionaries({"display_id": _IDS})
    return _told(kind, data=data, metadata=st.just({}), transient=transient)


_STATES = st.one_of(
    st.fixed_dictionaries({"value": st.integers(0, 9)}),
    st.fixed_dictionaries({"max": st.integers(0, 9)}),
    st.fixed_dictionaries({"msg_id": st.sampled_from(["", "r", "s"])}),
)
_MESSAGES = st.one_of(
    _told("stream", name=st.sampled_from(["stdout", "stderr"]), text=_TEXTS),
    _told("clear_output", wait=st.booleans()),
    _display("display_data"),
    _display("update_display_data"),
    _told("error", ename=st.just("E"), evalue=st.just(""), traceback=st.just([])),
    _told("comm_open", comm_id=_IDS, target_name=st.just("w"), data=st.just({})),
    _told(
        "comm_msg",
        comm_id=_IDS,
        data=st.fixed_dictionaries({"method": st.just("update"), "state": _STATES}),
    ),
)


def _shown(told: Sequence[Told]) -> Any:
    front_end = FrontEnd()
    for request in ("r", "s"):
        front_end.execute(request, request)
    for request, kind, content in told:
        front_end.receive(request, kind, content)
    return front_end.everything()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_MESSAGES, st.booleans()), max_size=30))
def test_what_a_front_end_shows_in_the_end_is_the_same(
    script: Sequence[tuple[Told, bool]],
) -> None:
    """Whenever the thread that sends had its turn in between."""
    wire = Wire()
    wire.pacer.begin()
    for (request, kind, content), runs in script:
        wire.tell(request, kind, **content)
        if runs:
            wire.run()

    wire.run()

    sent = [(request, told["msg_type"], told["content"]) for _, request, told in wire.sent]
    assert _shown(sent) == _shown([told for told, _ in script])
