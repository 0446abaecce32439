"""Names of cells, pickled and bound in another process: what they were, and what they shared."""

from __future__ import annotations

import io
from typing import Any

import pytest

from durable_kernel.checkpoint.changed import Before, changed_names
from durable_kernel.checkpoint.names import KeptNamesError, Refused, load_names, store_names

BYTES_MAX = 1 << 26


def _nothing(_thing: Any) -> None:
    """Know no client and no lock."""


class Two:
    """A notebook whose cell was cut, and the one of the process that comes after."""

    def __init__(self, before: str, cell: str, *, bytes_max: int = BYTES_MAX) -> None:
        self.cut: dict[str, Any] = {"__name__": "__main__"}
        self.next: dict[str, Any] = {"__name__": "__main__"}
        exec(before, self.cut)
        exec(before, self.next)
        seen = Before.of(self.cut)
        exec(cell, self.cut)
        self.changed = changed_names(self.cut, seen, cell)
        pieces: list[bytes] = []
        self.refused = store_names(
            self.cut, self.changed, seen, pieces.append, facts_of=_nothing, bytes_max=bytes_max
        )
        self.stored = b"".join(pieces)

    def load(self) -> dict[str, Any]:
        """Bind what was stored in the next process. Returns its names."""
        load_names(io.BytesIO(self.stored), self.next, facts_of=_nothing)
        return self.next


def test_one_object_under_two_names_is_one_object_again() -> None:
    """H16: also where one of the names belongs to an earlier cell, and one is inside of another."""
    two = Two(
        "rows = [{'a': 1}, {'a': 2}]; holder = {'rows': rows}", "item = rows[1]; item['a'] = 5"
    )

    names = two.load()

    assert names["item"] is names["rows"][1]
    assert names["holder"]["rows"] is names["rows"]
    assert names["rows"] == [{"a": 1}, {"a": 5}]


def test_what_no_word_of_the_cell_reaches_is_left_alone() -> None:
    two = Two("big = [0] * 9; lone = (n for n in 'ab'); import json", "x = 1")

    assert two.changed.names == ("x",)
    assert two.refused == []


@pytest.mark.parametrize(
    "cell",
    [
        "add(1)",
        "Box().put()",
        "table['add'](1)",
        "exec('total.' + 'append(1)')",
        "globals()['tot' + 'al'].append(1)",
        "alias.append(1)",
    ],
)
def test_names_are_found_that_the_cell_reaches_in_a_roundabout_way(cell: str) -> None:
    before = (
        "total = []; alias = total\n"
        "def add(n): total.append(n)\n"
        "class Box:\n    def put(self): add(2)\n"
        "table = {'add': add}"
    )

    names = Two(before, cell).load()

    assert len(names["total"]) == 1
    assert names["alias"] is names["total"]


def test_functions_of_cells_have_the_names_of_the_process_that_loads() -> None:
    """Closures over one variable still share it, and a function may know itself."""
    before = (
        "def made():\n    n = 0\n    def up():\n        nonlocal n; n += 1\n"
        "    def now(): return n\n    return up, now\n"
        "def outer():\n    def rec(n): return 0 if n == 0 else 1 + rec(n - 1)\n    return rec\n"
        "scale = 2\n"
    )
    cell = "up, now = made(); up(); rec = outer()\ndef scaled(n, k=[1]): return n * scale + k[0]"
    names = Two(before, cell).load()
    names["scale"] = 10

    names["up"]()

    assert (names["now"](), names["rec"](4), names["scaled"](3)) == (2, 4, 31)
    assert names["rec"].__closure__[0].cell_contents is names["rec"]


def test_a_class_of_an_earlier_cell_is_that_class_with_what_the_cell_wrote_into_it() -> None:
    before = "class Sum:\n    total = 0\n    def more(self): Sum.total += 1\nold = Sum()"
    cell = "Sum.total = 3; mine = Sum()\nclass Own(Sum):\n    def less(self): return super().more()"
    two = Two(before, cell)
    sum_before = two.next["Sum"]

    names = two.load()
    names["Own"]().less()

    assert names["Sum"] is sum_before
    assert type(names["mine"]) is type(names["old"]) is names["Own"].__mro__[1] is sum_before
    assert sum_before.total == 4


def test_views_of_one_array_are_views_of_one_array() -> None:
    two = Two(
        "import numpy as np\nfull = np.arange(12.).reshape(3, 4); row = full[1]; col = full[:, 2]",
        "row[0] = 70; half = full[::2, 1:3]",
    )

    names = two.load()
    names["full"][:] += 1

    assert names["row"].tolist() == [71, 6, 7, 8]
    assert names["col"].tolist() == [3, 7, 11]
    assert names["half"].tolist() == [[2, 3], [10, 11]]


def test_a_frame_is_the_frame_it_was() -> None:
    two = Two(
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', None]}); same = [df]",
        "df['c'] = df['a'] * 2",
    )

    names = two.load()

    assert names["df"].equals(two.cut["df"])
    assert names["same"][0] is names["df"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("(n for n in 'ab')", "generator"),
        ("open(__import__('os').devnull)", "open file"),
        ("memoryview(bytearray(3))", "memoryview"),
        ("__import__('threading').Lock()", "lock"),
        ("__import__('socket').socket()", "socket"),
    ],
)
def test_what_a_pickler_would_lose_is_refused_by_name_and_the_rest_is_kept(
    value: str, reason: str
) -> None:
    two = Two("", f"bad = {value}; within = [bad]; good = [1]")

    names = two.load()

    assert [each.name for each in two.refused] == ["bad", "within"]
    assert all(reason in each.reason for each in two.refused)
    assert names["good"] == [1]
    if hasattr(two.cut["bad"], "close"):
        two.cut["bad"].close()


def test_names_larger_than_the_bound_are_refused_together() -> None:
    two = Two("", "big = b'x' * 5000; small = 1", bytes_max=4000)

    assert {each.name for each in two.refused} == {"big", "small"}
    assert "larger than is kept" in two.refused[0].reason


class Client:
    """Can't be carried, and is as good as another one of the same address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a client")


def _address(thing: Any) -> Any:
    return (thing.address,) if isinstance(thing, Client) else None


def test_a_client_is_the_one_that_the_cells_before_made() -> None:
    cut: dict[str, Any] = {"__name__": "__main__", "client": Client("a")}
    others: dict[str, Any] = {"__name__": "__main__", "client": Client("a")}
    seen = Before.of(cut)
    cut["got"] = [cut["client"]]
    pieces: list[bytes] = []
    store_names(
        cut,
        changed_names(cut, seen, "got = [client]"),
        seen,
        pieces.append,
        facts_of=_address,
        bytes_max=BYTES_MAX,
    )

    load_names(io.BytesIO(b"".join(pieces)), others, facts_of=_address)

    assert others["got"][0] is others["client"]


def test_a_client_that_is_another_one_by_now_is_told() -> None:
    cut: dict[str, Any] = {"__name__": "__main__", "client": Client("a")}
    seen = Before.of(cut)
    pieces: list[bytes] = []
    changed = changed_names(cut, seen, "client")
    store_names(cut, changed, seen, pieces.append, facts_of=_address, bytes_max=BYTES_MAX)
    others: dict[str, Any] = {"__name__": "__main__", "client": Client("b"), "x": 1}

    with pytest.raises(KeptNamesError, match="client is not as it was"):
        load_names(io.BytesIO(b"".join(pieces)), others, facts_of=_address)

    assert others["client"].address == "b"


def test_names_of_machinery_are_no_names_of_cells() -> None:
    cut: dict[str, Any] = {"__name__": "__main__", "In": [], "Out": {}, "_i": "", "_ih": [], "_": 1}

    changed = changed_names(cut, Before.of({}), "get_ipython")

    assert changed.names == ("_",)


def test_a_name_that_is_gone_is_told_apart_from_one_that_never_was() -> None:
    two = Two("a = 1; b = 2", "del a; c = 3")

    assert two.changed.gone == ("a",)
    assert Refused("a", "") not in two.refused
