"""`durable trust`: what would run is shown before it is signed (rule 8, H1, H12)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from durable_kernel.store import Store
from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook


@pytest.fixture
def foreign(doubtful: Notebook) -> Notebook:
    """A run in this store whose key is gone: another one took its place."""
    (doubtful.home / "key").rename(doubtful.home / "key.backup")
    (doubtful.home / "key").write_bytes(b"\x01" * 32)
    (doubtful.home / "key").chmod(0o600)
    return doubtful


def flat(text: str) -> str:
    return " ".join(text.split())


def test_trust_shows_what_would_be_executed_and_signs_it(
    durable: Durable, foreign: Notebook
) -> None:
    said = durable("trust", RUN_ID, "--yes")

    assert said.code == 0
    assert "y = service.ask('pay [now]')" in said.out
    assert "in doubt: ask pay [now]" in said.out
    assert "written by " in said.out
    assert "Python 3" in said.out
    with foreign.session() as session:
        assert session.run.state == "replaying"


def test_trust_names_both_keys_and_how_many_frames_are_ones_own(
    durable: Durable, foreign: Notebook
) -> None:
    document = durable("trust", RUN_ID, "--json").document

    assert document["own_frames"] == 0
    assert document["frames"] > 0
    assert document["key"]["run"] != document["key"]["own"]
    assert document["key"]["path"] == str(foreign.home / "key")
    assert document["key"]["is_lost"] is True
    assert document["place"]["is_same"] is True
    assert len(document["origin"]) == 2


def test_trust_that_is_not_confirmed_changes_nothing(
    durable: Durable, foreign: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_args, **_more: False)

    said = durable("trust", RUN_ID)

    assert (said.code, "nothing was changed" in said.err) == (2, True)
    assert durable("resolve", RUN_ID, "--retry").code == 5


def test_trust_without_anybody_to_ask_changes_nothing(
    durable: Durable, foreign: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        said = durable("trust", RUN_ID)

    assert (said.code, "nobody answered" in said.err) == (2, True)
    assert not (foreign.folder / "TRUST").exists()


def test_trust_json_without_yes_shows_and_signs_nothing(
    durable: Durable, foreign: Notebook
) -> None:
    document = durable("trust", RUN_ID, "--json").document

    assert document["run_id"] == RUN_ID
    assert document["cells"][1] == "y = service.ask('pay [now]')"
    assert document["in_doubt"] == ["ask pay [now]"]
    assert not (foreign.folder / "TRUST").exists()


def test_of_ones_own_run_there_is_nothing_to_accept(durable: Durable, doubtful: Notebook) -> None:
    said = durable("trust", RUN_ID)

    assert (said.code, "there is nothing to accept" in said.out) == (0, True)
    assert not (doubtful.folder / "TRUST").exists()


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(
    durable: Durable, notebook: Notebook
) -> None:
    """A run may hide what it executes: behind escapes, or other directions of writing."""
    notebook.lived("x = 1  # \x1b[2K\x1b[1A harmless \u202e gnirts")
    (notebook.home / "key").write_bytes(b"\x01" * 32)

    said = durable("trust", RUN_ID, "--yes")

    assert "\x1b" not in said.out
    assert r"# \x1b[2K\x1b[1A harmless \u202e gnirts" in said.out


# --- a lost key -----------------------------------------------------------------------------------


def test_a_lost_key_is_told_with_the_way_back(durable: Durable, foreign: Notebook) -> None:
    said = durable("resolve", RUN_ID, "--retry")

    told = flat(said.err)
    assert said.code == 5
    assert "your key file was lost or replaced" in told
    assert f"Put the old one back from a backup, as {foreign.home / 'key'}" in told.replace(
        " /", " /"
    )
    assert "what was sealed with the old one stays sealed" in told


def test_a_restored_key_makes_all_as_before(durable: Durable, foreign: Notebook) -> None:
    (foreign.home / "key.backup").replace(foreign.home / "key")

    assert durable("resolve", RUN_ID, "--retry").code == 0
    assert foreign.replayed().namespace["y"] == "pay [now]: done"


def test_a_run_can_be_looked_at_without_a_key_and_none_is_made(
    durable: Durable, doubtful: Notebook
) -> None:
    (doubtful.home / "key").unlink()

    assert durable("ls").code == 0
    assert durable("show", RUN_ID).code == 0
    assert durable("log", RUN_ID).code == 0
    assert durable("trust", RUN_ID, "--json").document["key"]["own"] is None
    assert not (doubtful.home / "key").exists()


def test_a_key_that_is_made_beside_runs_of_another_is_told(
    durable: Durable, doubtful: Notebook
) -> None:
    (doubtful.home / "key").unlink()
    store = Store(doubtful.home)

    store.create(run_id="new")

    assert "so a new key was made" in store.lost_key()
    assert Store(doubtful.home).lost_key() == ""


# --- META and TRUST that are damaged --------------------------------------------------------------


def test_a_run_with_a_damaged_meta_is_had_back_by_trust(
    durable: Durable, doubtful: Notebook
) -> None:
    (doubtful.folder / "META").write_bytes(b"rubbish")
    refused = durable("show", RUN_ID)

    said = durable("trust", RUN_ID, "--yes")

    assert "nothing of it is lost" in flat(refused.err)
    assert "torn end" not in flat(refused.err)
    assert said.code == 0
    assert (doubtful.folder / "META.damaged").read_bytes() == b"rubbish"
    doubtful.decide("1.0", "retry")
    assert doubtful.replayed().namespace["y"] == "pay [now]: done"


def test_a_damaged_note_of_trust_is_written_anew(durable: Durable, foreign: Notebook) -> None:
    durable("trust", RUN_ID, "--yes")
    (foreign.folder / "TRUST").write_bytes(b"rubbish")
    refused = durable("resolve", RUN_ID, "--retry")

    said = durable("trust", RUN_ID, "--yes")

    assert refused.code == 5
    assert "Only the note is concerned that you trusted this run" in flat(refused.err)
    assert said.code == 0
    assert durable("resolve", RUN_ID, "--retry").code == 0


# --- moved and copied -----------------------------------------------------------------------------


@pytest.fixture
def moved(doubtful: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """The whole store at another place: moved, or copied."""
    shutil.copytree(doubtful.home, tmp_path / "elsewhere")
    monkeypatch.setenv("DURABLE_HOME", str(tmp_path / "elsewhere"))
    elsewhere = Notebook(tmp_path / "elsewhere")
    elsewhere.service = doubtful.service
    return elsewhere


def test_a_moved_run_goes_on_once_that_is_said(durable: Durable, moved: Notebook) -> None:
    """H12."""
    assert durable("resolve", RUN_ID, "--retry").code == 2

    said = durable("trust", RUN_ID, "--moved", "--yes")

    assert (said.code, "lives here now" in said.out) == (0, True)
    assert not (moved.folder / "TRUST").exists()  # the frames were the user's own
    assert durable("resolve", RUN_ID, "--retry").code == 0
    assert moved.replayed().namespace["y"] == "pay [now]: done"


def test_a_copy_is_put_away_and_kept(durable: Durable, moved: Notebook) -> None:
    """H12."""
    said = durable("trust", RUN_ID, "--copied")

    assert (said.code, "is archived" in said.out) == (0, True)
    assert Store(moved.home).place(RUN_ID).meta.archived_ns is not None
    assert list(moved.folder.glob("seg-*.dkj"))


def test_a_run_in_another_place_is_told_so_by_trust(durable: Durable, moved: Notebook) -> None:
    said = durable("trust", RUN_ID)

    assert "say --moved if it was moved here, --copied if it is a copy" in flat(said.out)


def test_moved_and_copied_exclude_each_other(durable: Durable, moved: Notebook) -> None:
    assert durable("trust", RUN_ID, "--moved", "--copied").code == 2
