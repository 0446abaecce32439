"""Shelves: what other notebooks share is read once, and written once."""

from __future__ import annotations

from typing import Any, Never

import pytest

from durable_kernel.effects.shelves import RecordedShelf
from durable_kernel.ports import Act
from durable_kernel.testing.fake_port import FakePort


class Shelf(dict[str, Any]):
    """A shelf in memory; `keys` takes a pattern, as that of IPython does."""

    def keys(self, pattern: str | None = None) -> Any:
        return sorted(key for key in self if pattern is None or key.startswith(pattern[:-1]))


def closed() -> Never:
    pytest.fail("the shelf was opened")


def recorded(shelf: Shelf) -> RecordedShelf:
    return RecordedShelf(lambda: shelf, {"kept"})


def test_a_value_is_read_once() -> None:
    shelf, live = Shelf({"kept/x": [1]}), FakePort()
    with live.cell():
        first = recorded(shelf)["kept/x"], recorded(shelf).keys("kept/*")

    again = RecordedShelf(closed, {"kept"})
    with FakePort(live.journal()).cell():
        second = again["kept/x"], again.keys("kept/*")

    assert first == second == ([1], ["kept/x"])


def test_a_name_that_is_missing_is_missing_again() -> None:
    live = FakePort()
    with live.cell():
        assert recorded(Shelf()).get("kept/x", "none") == "none"
        assert "kept/x" not in recorded(Shelf())

    with FakePort(live.journal()).cell(), pytest.raises(KeyError):
        RecordedShelf(closed, {"kept"})["kept/x"]


def test_a_value_is_put_there_and_taken_away_once() -> None:
    shelf, live = Shelf(), FakePort()
    with live.cell():
        recorded(shelf)["kept/x"] = 1
        stored = dict(shelf)
        del recorded(shelf)["kept/x"]

    with FakePort(live.journal()).cell():
        again = RecordedShelf(closed, {"kept"})
        again["kept/x"] = 1
        del again["kept/x"]

    assert (stored, shelf) == ({"kept/x": 1}, {})


def test_what_puts_a_value_there_is_an_act_that_may_be_done_again() -> None:
    live = FakePort()

    with live.cell():
        recorded(Shelf())["kept/x"] = 1

    call = live.steps[0].entry.call
    assert (call.act, call.identity) == (Act.FILE, {"verb": "write", "key": "kept/x"})
    assert call.repeat.seconds_max > 0


def test_other_keys_and_other_times_pass() -> None:
    shelf, live = Shelf({"own/x": 1}), FakePort()
    with live.cell():
        inside = recorded(shelf)["own/x"]
    outside = recorded(Shelf({"kept/x": 2}))["kept/x"]

    assert (inside, outside) == (1, 2)
    assert not live.steps


def test_a_shelf_that_cannot_be_opened_says_why() -> None:
    def fail() -> Never:
        raise AttributeError("no such library")

    shelf = RecordedShelf(fail, {"kept"})

    with pytest.raises(AttributeError, match="no such library"):
        shelf["kept/x"]
