"""Where the store is, and what a run may be called."""

from __future__ import annotations

from pathlib import Path

import pytest
from jupyter_core.paths import jupyter_data_dir

from durable_kernel.errors import UsageError
from durable_kernel.store import Store
from durable_kernel.store.places import Location, hash_machine_id, new_run_id
from tests.store.support import START_NS, store_at

UNSAFE = ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "-f", "a b", "a\n", "ä", "x" * 65, "a\0"]


def test_durable_home_says_where_the_store_is() -> None:
    store = Store(environ={"DURABLE_HOME": "/somewhere/else"})

    assert store.home == Path("/somewhere/else")
    assert store.runs == Path("/somewhere/else/runs")


def test_without_durable_home_the_store_is_in_the_data_folder_of_jupyter() -> None:
    assert Store(environ={}).home == Path(jupyter_data_dir()) / "durable"


def test_looking_creates_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = store_at(home)

    assert store.all() == []
    assert store.lookup(kernel_id="k", notebook=tmp_path / "nb.ipynb") is None
    assert not store.exists("x")
    assert store.anchor("x") is None
    assert not home.exists()


def test_a_new_id_sorts_by_time_and_can_be_typed() -> None:
    assert new_run_id(START_NS, lambda size: b"\x7f\x3a\x9c"[:size]) == "20261122-1400-7f3a9c"


def test_a_generated_id_that_is_taken_is_drawn_again(tmp_path: Path) -> None:
    drawn = iter([b"aaa", b"1234", b"aaa", b"bbb", b"5678"])
    store = Store(
        tmp_path,
        environ={"DURABLE_KEY_FILE": str(tmp_path / "elsewhere")},
        wall_ns=lambda: START_NS,
        entropy=lambda size: bytes(32) if size == 32 else next(drawn),
        machine_id=lambda: "m1",
    )

    ids = [store.create().run_id for _ in range(2)]

    assert ids == ["20261122-1400-616161", "20261122-1400-626262"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_is_no_plain_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    store = store_at(tmp_path)

    with pytest.raises(UsageError, match="cannot be the id of a run"):
        store.create(run_id=name)
    with pytest.raises(UsageError, match="cannot be the id of a run"):
        store.anchor(name)

    assert not store.exists(name)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=r"cannot be written.*set DURABLE_HOME"):
        store_at(tmp_path / "file" / "home").create()


def test_a_machine_is_known_by_the_hash_of_its_id() -> None:
    hashed = hash_machine_id("3d1219c7c4c5404aaa1f6d2a48adfda4")

    assert len(hashed) == 32
    assert "3d1219" not in hashed


HERE = Location("m", "boot 1", 1, 100, "/runs/a")


@pytest.mark.parametrize(
    ("found", "is_same"),
    [
        (HERE, True),
        (Location("m", "boot 1", 2, 100, "/runs/a"), False),
        (Location("m", "boot 2", 2, 100, "/runs/a"), True),  # devices are numbered anew at boot
        (Location("m", "boot 1", 1, 101, "/runs/a"), False),
        (Location("m", "boot 2", 1, 101, "/runs/a"), False),
        (Location("m", "boot 1", 1, 100, "/runs/b"), False),
        (Location("n", "boot 1", 1, 100, "/runs/a"), False),
    ],
)
def test_a_place_is_the_same_by_machine_path_inode_and_device(
    found: Location, is_same: bool
) -> None:
    """H12: a device number counts only within one boot."""
    assert HERE.is_same_place(found) is is_same
