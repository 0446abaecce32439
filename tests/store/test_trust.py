"""Whose run is it, and is this still its place: what is not the user's own is not opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from durable_kernel.errors import (
    JournalCorruptError,
    JournalVersionError,
    RunMovedError,
    UntrustedRunError,
    UsageError,
)
from durable_kernel.history import Cell, Outline, RecordCodec
from durable_kernel.journal import Journal
from durable_kernel.store import RunPlace, Store
from durable_kernel.store.files import encode_signed
from durable_kernel.store.keys import TRUST
from tests.store.support import cell, committed, opened, post, settled, store_at, write


def begun(store: Store, run_id: str = "run") -> RunPlace:
    """A run with one committed cell and an act in doubt in the next."""
    place = store.create(run_id=run_id)
    first = [opened(), cell(0, "post()"), post(), settled(), committed(0)]
    write(store, place, [*first, cell(1, "pay()"), post(label="POST /pay")])
    return place


def given(mine: Store, theirs: Store, run_id: str = "run") -> RunPlace:
    """A run of another user, copied into one's own store."""
    shutil.copytree(theirs.runs / run_id, mine.runs / run_id)
    return mine.get(run_id)


def opens(store: Store, run_id: str = "run") -> int:
    """Open a run's journal as a kernel would; return how many frames were verified."""
    place = store.get(run_id)
    frames: list[int] = []
    with Journal.open(
        place.folder,
        run_id=run_id,
        key=store.run_key(run_id),
        anchor=store.anchor(run_id),
        on_frame=lambda frame: frames.append(frame.lsn),
    ):
        return len(frames)


def test_with_another_users_key_nothing_opens(tmp_path: Path) -> None:
    """H1, rule 8."""
    begun(store_at(tmp_path))
    (tmp_path / "key").unlink()
    stranger = store_at(tmp_path)

    with pytest.raises(UntrustedRunError):
        opens(stranger)
    with pytest.raises(UntrustedRunError):
        list(stranger.frames(stranger.get("run")))
    with pytest.raises(UntrustedRunError):
        stranger.check_place(stranger.get("run"))
    with pytest.raises(UntrustedRunError):
        stranger.bind(stranger.get("run"), kernel_id="k")


def test_a_foreign_run_can_be_looked_at(tmp_path: Path) -> None:
    begun(store_at(tmp_path))
    (tmp_path / "key").unlink()
    stranger = store_at(tmp_path)

    place = stranger.get("run")
    outline = Outline.of(stranger.frames(place, is_verified=False), RecordCodec())

    assert not place.is_signed
    assert outline.positions[0].cell.source == "post()"
    assert not (tmp_path / "key").exists()


def test_trust_tells_what_would_run_and_then_opens_it(tmp_path: Path) -> None:
    """H1: `trust` signs the prefix and goes on in a new epoch under the own key."""
    begun(store_at(tmp_path / "theirs"))
    mine = store_at(tmp_path / "mine")
    mine.create()
    place = given(mine, store_at(tmp_path / "theirs"))

    facts = mine.examine(place)
    assert not (place.folder / "TRUST").exists()
    trusted = mine.trust(place, facts)

    assert facts == trusted
    assert trusted.cells == ("post()", "pay()")
    assert trusted.acts == ("POST /report", "POST /pay")
    assert trusted.in_doubt == ("POST /pay",)
    assert opens(mine) == trusted.frames
    assert (place.folder / "TRUST").stat().st_mode & 0o777 == 0o600


def test_a_trusted_run_goes_on_under_the_own_key(tmp_path: Path) -> None:
    theirs, mine = store_at(tmp_path / "theirs"), store_at(tmp_path / "mine")
    begun(theirs)
    mine.create()
    place = given(mine, theirs)
    frames = mine.trust(place).frames

    write(mine, place, [opened(), cell(2)])

    assert opens(mine) == frames + 2
    with pytest.raises(UntrustedRunError):
        opens(theirs_again(theirs, mine))


def theirs_again(theirs: Store, mine: Store) -> Store:
    """Put the run, as it went on, back into the other user's store, without the note of trust."""
    shutil.rmtree(theirs.runs / "run")
    shutil.copytree(mine.runs / "run", theirs.runs / "run")
    (theirs.runs / "run" / "TRUST").unlink()
    return theirs


def test_trust_holds_for_exactly_the_bytes_that_were_accepted(tmp_path: Path) -> None:
    theirs, mine = store_at(tmp_path / "theirs"), store_at(tmp_path / "mine")
    begun(theirs)
    mine.create()
    place = given(mine, theirs)
    mine.trust(place)
    write(theirs, theirs.get("run"), [opened(), cell(2, "rm('-rf')")])

    longer = (theirs.runs / "run" / "seg-00000001.dkj").read_bytes()
    (place.folder / "seg-00000001.dkj").write_bytes(longer)

    with pytest.raises(UntrustedRunError):
        opens(mine)


def test_a_journal_that_changed_since_it_was_shown_is_not_trusted(tmp_path: Path) -> None:
    theirs, mine = store_at(tmp_path / "theirs"), store_at(tmp_path / "mine")
    begun(theirs)
    mine.create()
    place = given(mine, theirs)
    shown = mine.examine(place)
    write(theirs, theirs.get("run"), [opened(), Cell(position=2, source="x", wall_ns=1)])
    longer = (theirs.runs / "run" / "seg-00000001.dkj").read_bytes()
    (place.folder / "seg-00000001.dkj").write_bytes(longer)

    with pytest.raises(UsageError, match="changed while you were looking"):
        mine.trust(place, shown)

    assert mine.anchor("run") is None


def test_every_altered_byte_of_trust_is_refused(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store)
    store.trust(place)
    path = place.folder / "TRUST"
    whole = path.read_bytes()

    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])

        with pytest.raises(JournalCorruptError):
            store.anchor("run")


def test_a_note_of_trust_by_another_hand_is_refused(tmp_path: Path) -> None:
    theirs, mine = store_at(tmp_path / "theirs"), store_at(tmp_path / "mine")
    theirs.trust(begun(theirs))
    mine.create()
    given(mine, theirs)

    with pytest.raises(UntrustedRunError):
        mine.anchor("run")


def test_a_note_of_trust_of_another_version_is_named_so(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = begun(store)
    key = store._keys.derive(TRUST, "run")
    (place.folder / "TRUST").write_bytes(encode_signed({"version": 3}, key))

    with pytest.raises(JournalVersionError, match="format 3"):
        store.anchor("run")


def test_a_run_without_a_journal_holds_nothing_to_trust(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()

    with pytest.raises(UsageError, match="nothing to trust"):
        store.trust(place)


def test_trusting_the_bytes_accepts_no_new_place(tmp_path: Path) -> None:
    """H12: two questions, since the other user may go on with the run as well."""
    theirs, mine = store_at(tmp_path / "theirs"), store_at(tmp_path / "mine", machine="m2")
    begun(theirs)
    mine.create()
    place = given(mine, theirs)
    mine.trust(place)

    with pytest.raises(RunMovedError):
        mine.check_place(place)
    mine.adopt(place)

    mine.check_place(place)


def test_a_run_in_its_place_passes(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    place = store.create()

    store.check_place(place)


def test_a_copied_run_is_not_resumed(tmp_path: Path) -> None:
    """H12: a copy of the folder, also one that took the place of the run."""
    store = store_at(tmp_path / "home")
    place = begun(store)
    shutil.copytree(place.folder, tmp_path / "backup")
    place.folder.rename(tmp_path / "kept")  # its inode stays taken
    shutil.copytree(tmp_path / "backup", place.folder)

    with pytest.raises(RunMovedError, match="trust run --moved"):
        store.check_place(store.get("run"))
    with pytest.raises(RunMovedError):
        store.bind(store.get("run"), kernel_id="k")

    assert opens(store) > 0  # the frames are the user's own all the same


def test_a_copied_store_is_not_resumed(tmp_path: Path) -> None:
    """H12: the whole store, with its key."""
    begun(store_at(tmp_path / "home"))
    shutil.copytree(tmp_path / "home", tmp_path / "copy", symlinks=True)
    copy = store_at(tmp_path / "copy")

    with pytest.raises(RunMovedError):
        copy.check_place(copy.get("run"))


def test_a_run_on_another_machine_is_not_resumed(tmp_path: Path) -> None:
    """H12: a disk that was moved, or a folder that two machines share."""
    begun(store_at(tmp_path, machine="one"))
    other = store_at(tmp_path, machine="two")

    with pytest.raises(RunMovedError, match=r"machine one .*machine two"):
        other.check_place(other.get("run"))


def test_a_moved_run_goes_on_once_the_user_says_so(tmp_path: Path) -> None:
    """H12."""
    store_at(tmp_path / "home").create(run_id="run", kernel_id="k")
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    store = store_at(tmp_path / "elsewhere")
    place = store.get("run")

    with pytest.raises(RunMovedError):
        store.check_place(place)
    adopted = store.adopt(place)

    store.check_place(place)
    assert adopted.meta.path == str(place.folder)
    assert store.lookup(kernel_id="k", notebook=None) == adopted


def test_a_machine_without_an_id_gets_one_that_stays_with_the_store(
    tmp_path: Path,
) -> None:
    """A container: its next start is the same machine, if it has the same store."""
    Store(tmp_path, environ={}, machine_id=lambda: None).create(run_id="run")

    again = Store(tmp_path, environ={}, machine_id=lambda: None)

    again.check_place(again.get("run"))
    assert (tmp_path / "machine").stat().st_mode & 0o777 == 0o600
