"""A port that keeps nothing, as a journal on disk would: to see what a hook itself holds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

from durable_kernel.ports import AnswerParser, Call, Lane, Outcome, entered
from durable_kernel.testing.fake_port import FakePort

PART_BYTES_MAX = 1 << 20
PEAK_BYTES_MAX = 4_000_000


class ForgetfulStep:
    """A live step that only remembers how large the largest part was."""

    outcome: Outcome | None = None
    head: Any = None
    repeats: Mapping[str, Any] | None = None
    is_unasked = False
    idempotency_key = ""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.largest_bytes = 0

    async def turn(self) -> None:
        pass

    def set_head(self, head: Any) -> None:
        pass

    def add_part(self, data: bytes) -> None:
        self.largest_bytes = max(self.largest_bytes, len(data))

    def settle(self, outcome: Outcome) -> None:
        pass


class ForgetfulPort(FakePort):
    def begin(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Any:
        self.last = ForgetfulStep()
        return self.last

    async def begin_async(self, lane: Lane, call: Call, answer: AnswerParser | None = None) -> Any:
        return self.begin(lane, call, answer)


def assert_little_memory(download: Callable[[], int]) -> None:
    """Run a download of 50 MB in a cell: neither its parts nor all that is held may be large."""
    port = ForgetfulPort()

    tracemalloc.start()
    with entered(port.make_lane()):
        size_bytes = download()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size_bytes > 49_000_000
    assert port.last.largest_bytes <= PART_BYTES_MAX
    assert peak_bytes < PEAK_BYTES_MAX
