"""The user's key, and what is derived from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from durable_kernel.errors import UsageError
from durable_kernel.store import Store
from durable_kernel.store.keys import KEY_BYTES
from tests.store.support import store_at


def test_the_key_is_created_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"

    first = store_at(home).user_key()

    assert len(first) == KEY_BYTES
    assert store_at(home).user_key() == first
    assert (home / "key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in home.iterdir()] == ["key"]


def test_each_use_and_each_run_has_a_key_of_its_own(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    keys = {
        store.user_key(),
        store.run_key("a"),
        store.run_key("b"),
        store.seal_key("a"),
        store.seal_key("b"),
        store.redaction_key("a"),
        store.redaction_key("b"),
    }

    assert len(keys) == 7
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert store_at(tmp_path).run_key("a") == store.run_key("a")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o666])
def test_a_key_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    store_at(tmp_path).user_key()
    (tmp_path / "key").chmod(mode)

    with pytest.raises(UsageError, match=rf"open to others \(mode {mode:04o}\).*chmod 600"):
        store_at(tmp_path).user_key()


def test_a_key_file_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    (tmp_path / "key").chmod(0o600)

    with pytest.raises(UsageError, match="holds 5 bytes; a key has 32"):
        store_at(tmp_path).user_key()


def test_a_folder_in_the_place_of_the_key_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)

    with pytest.raises(UsageError, match="key"):
        store_at(tmp_path).user_key()


def test_durable_key_file_names_the_key_raw_or_in_hex(tmp_path: Path) -> None:
    key = bytes(range(KEY_BYTES))
    raw, in_hex = tmp_path / "raw", tmp_path / "hex"
    raw.write_bytes(key)
    in_hex.write_text(key.hex() + "\n")
    for path in (raw, in_hex):
        path.chmod(0o600)

    found = [
        Store(tmp_path / "home", environ={"DURABLE_KEY_FILE": str(path)}).user_key()
        for path in (raw, in_hex)
    ]

    assert found == [key, key]
    assert not (tmp_path / "home").exists()


def test_of_two_processes_that_create_the_key_both_get_the_same(tmp_path: Path) -> None:
    """The loser of the race finds the winner's key and does not replace it."""
    home = tmp_path / "home"
    winners: list[bytes] = []

    def entropy(size_bytes: int) -> bytes:
        if not winners:  # the other process comes between the look and the creation
            winners.append(store_at(home).user_key())
        return os.urandom(size_bytes)

    loser = Store(home, environ={}, entropy=entropy).user_key()

    assert [loser] == winners


def test_a_store_shows_no_key_in_its_repr(tmp_path: Path) -> None:
    store = store_at(tmp_path)

    key = store.user_key()

    assert repr(store) == f"<Store {tmp_path}>"
    assert key.hex() not in repr(vars(store))
    assert repr(key) not in repr(vars(store))
