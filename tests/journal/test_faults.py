"""A failing disk: what was acknowledged stays, what was refused is not there, EIO is for ever."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from durable_kernel.errors import (
    JournalFullError,
    JournalPoisonedError,
    RunNotFoundError,
)
from durable_kernel.journal import Journal, Level
from durable_kernel.journal.segments import BALLAST_BYTES, segment_numbers, segment_path
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.journal.written import (
    RUN_ID,
    Life,
    contents,
    create,
    die,
    read,
    reopen,
    segment_bytes,
    write_mixed,
)


def check_survival(folder: Path, life: Life, where: str) -> None:
    try:
        journal = reopen(folder)
    except RunNotFoundError:
        assert life.acknowledged == [], where
        return
    found = contents(read(folder))
    acknowledged = len(life.acknowledged)
    assert found[:acknowledged] == life.acknowledged, where
    extra = found[acknowledged:]
    assert extra == life.in_flight[: len(extra)], where
    journal.append([(99, b"goes on")])
    journal.close()
    assert contents(read(folder)) == [*found, (99, b"goes on")], where


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_operation_fails_no_acknowledged_frame_is_lost(
    tmp_path: Path, fault: Fault, level: Level
) -> None:
    """Fail the n-th disk operation for n = 1, 2 … until a life meets no fault."""
    for fail_at in range(1, 200):
        folder = tmp_path / str(fail_at)
        disk = FaultyDisk(fail_at=fail_at, fault=fault)
        life = Life(folder, disk, level)
        life.live()

        check_survival(folder, life, f"{fault.name} at {fail_at}: {disk.operations[-1]}")

        if not disk.has_failed:
            assert len(life.acknowledged) == 28
            break
    else:
        pytest.fail("the loop never ended")


@pytest.mark.parametrize("fault", list(Fault))
def test_recovery_can_fail_at_any_operation_and_be_done_again(tmp_path: Path, fault: Fault) -> None:
    """Also twice in a row at the same place; nothing is lost, and the torn bytes are kept."""
    for fail_at in range(1, 100):
        folder = tmp_path / str(fail_at)
        frames = write_mixed(folder)
        with segment_path(folder, 2).open("ab") as segment:
            segment.write(b"torn" * 30)
        failures = [recover_on(FaultyDisk(fail_at=fail_at, fault=fault), folder) for _ in range(2)]

        with reopen(folder) as journal:
            journal.append([(99, b"goes on")])

        assert contents(read(folder)) == [*contents(frames), (99, b"goes on")]
        copies = [path.read_bytes() for path in folder.glob("*.torn")]
        assert copies == [b"torn" * 30]
        assert not list(folder.glob("*.tmp"))
        if not any(failures):
            break
    else:
        pytest.fail("the loop never ended")


def recover_on(disk: FaultyDisk, folder: Path) -> bool:
    """Open and die; return whether the disk failed meanwhile."""
    try:
        die(reopen(folder, disk))
    except (JournalPoisonedError, JournalFullError, SimulatedCrash):
        assert disk.has_failed
    disk.close_all()
    return disk.has_failed


def test_recovery_of_a_torn_segment_header_can_fail_anywhere_too(tmp_path: Path) -> None:
    """H33."""
    for fault in Fault:
        for fail_at in range(1, 100):
            folder = tmp_path / f"{fault.name}-{fail_at}"
            frames = write_mixed(folder)
            segment_path(folder, 3).write_bytes(b"DKJ")
            has_failed = recover_on(FaultyDisk(fail_at=fail_at, fault=fault), folder)

            with reopen(folder) as journal:
                journal.append([(99, b"goes on")])

            assert contents(read(folder)) == [*contents(frames), (99, b"goes on")]
            if not has_failed:
                break
        else:
            pytest.fail("the loop never ended")


@pytest.mark.parametrize("room_bytes", [0, 1, 40, 41, 100])
def test_a_full_disk_refuses_the_append_and_records_nothing(
    tmp_path: Path, room_bytes: int
) -> None:
    """H34: before an act. Short write or ENOSPC alike; with room again the journal goes on."""
    disk = FaultyDisk()
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"before")])
    whole = segment_bytes(tmp_path / "run")
    disk.room_bytes = room_bytes

    for _ in range(2):
        with pytest.raises(JournalFullError) as caught:
            journal.append([(2, b"announce" * 50)], sync=True)
        assert caught.value.wanted_bytes == 441

    assert segment_bytes(tmp_path / "run") == whole
    disk.room_bytes = None
    journal.append([(3, b"after")])
    journal.close()
    assert contents(read(tmp_path / "run")) == [(1, b"before"), (3, b"after")]


def test_the_ballast_makes_room_for_the_last_words(tmp_path: Path) -> None:
    """H34: after an act. The answer does not fit; that it is lost can still be written."""
    disk = FaultyDisk()
    journal = create(tmp_path / "run", disk)
    assert journal.has_ballast
    disk.room_bytes = 10
    with pytest.raises(JournalFullError):
        journal.append([(2, b"a large answer" * 100)])

    journal.append_emergency([(3, b"outcome lost")])

    assert not journal.has_ballast
    assert disk.room_bytes > BALLAST_BYTES - 1000
    disk.room_bytes = 10
    assert not journal.restore_ballast()
    with pytest.raises(JournalFullError):
        journal.append_emergency([(4, b"nothing is left to give up")])
    disk.room_bytes = 1 << 20
    assert journal.restore_ballast()
    assert journal.has_ballast
    journal.close()
    assert contents(read(tmp_path / "run")) == [(3, b"outcome lost")]


def test_the_ballast_is_kept_while_there_is_room(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        journal.append_emergency([(3, b"outcome lost")])

        assert journal.has_ballast


def test_the_last_words_need_no_new_segment(tmp_path: Path) -> None:
    """A rotation on a full disk has no room for the next header."""
    disk = FaultyDisk()
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"x" * 2000)])
    disk.room_bytes = 0
    with pytest.raises(JournalFullError):
        journal.append([(2, b"does not fit")])

    journal.append_emergency([(3, b"outcome lost")])

    assert segment_numbers(tmp_path / "run") == [1]
    disk.room_bytes = None
    journal.append([(4, b"in the next segment")])
    journal.close()
    assert segment_numbers(tmp_path / "run") == [1, 2]
    assert [kind for kind, _ in contents(read(tmp_path / "run"))] == [1, 3, 4]


def test_recovery_on_a_full_disk_gives_the_ballast_for_the_torn_copy(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")
    with segment_path(tmp_path / "run", 2).open("ab") as segment:
        segment.write(b"torn" * 100)

    with reopen(tmp_path / "run", FaultyDisk(room_bytes=0)) as journal:
        assert journal.repaired is not None

    assert read(tmp_path / "run") == frames


def test_recovery_without_room_for_the_copy_cuts_nothing(tmp_path: Path) -> None:
    write_mixed(tmp_path / "run")
    with segment_path(tmp_path / "run", 2).open("ab") as segment:
        segment.write(b"torn" * 100)
    (tmp_path / "run" / "ballast").unlink()
    whole = segment_bytes(tmp_path / "run")

    with pytest.raises(JournalFullError):
        reopen(tmp_path / "run", FaultyDisk(room_bytes=100))

    assert segment_bytes(tmp_path / "run") == whole


def failing_sync(journal_of: Callable[[FaultyDisk], Journal]) -> tuple[Journal, FaultyDisk]:
    disk = FaultyDisk(fault=Fault.IO_ERROR, only=frozenset({"sync"}))
    journal = journal_of(disk)
    disk.fail_at = len(disk.operations) + 1
    return journal, disk


def test_a_failed_sync_poisons_the_journal_for_ever(tmp_path: Path) -> None:
    """EIO from a sync is never tried again: the next one may report success with the data lost."""
    journal, disk = failing_sync(lambda disk: create(tmp_path / "run", disk))
    with pytest.raises(JournalPoisonedError, match=os.strerror(errno.EIO)):
        journal.append([(1, b"announce")], sync=True)
    operations = len(disk.operations)

    for attempt in (
        lambda: journal.append([(2, b"again")]),
        lambda: journal.append([(2, b"again")], sync=True),
        lambda: journal.append_emergency([(2, b"again")]),
        journal.sync,
    ):
        with pytest.raises(JournalPoisonedError):
            attempt()

    assert "poisoned" in repr(journal)
    journal.close()
    assert len(disk.operations) == operations, "nothing was synced again"


def test_a_failed_sync_behind_the_writers_back_poisons_the_next_append(tmp_path: Path) -> None:
    journal, _ = failing_sync(lambda disk: create(tmp_path / "run", disk, level=Level.FAST))
    journal.append([(1, b"a")])
    journal.sync_in_background()

    with pytest.raises(JournalPoisonedError):
        journal.append([(2, b"b")])
    journal.close()


def test_a_poisoned_journal_still_releases_its_lock(tmp_path: Path) -> None:
    journal, _ = failing_sync(lambda disk: create(tmp_path / "run", disk))
    with pytest.raises(JournalPoisonedError):
        journal.append([(1, b"announce")], sync=True)
    journal.close()

    with reopen(tmp_path / "run") as again:
        again.append([(2, b"on a sound disk")])


def test_a_close_whose_sync_fails_says_so_and_releases_the_lock(tmp_path: Path) -> None:
    journal, _ = failing_sync(lambda disk: create(tmp_path / "run", disk))
    journal.append([(1, b"a")])

    with pytest.raises(JournalPoisonedError):
        journal.close()

    reopen(tmp_path / "run").close()


class InterruptedDisk(FaultyDisk):
    """A signal handler raises when a write, or the making of a segment, is just done."""

    interrupts = frozenset[str]()

    def write_at(self, fd: int, content: bytes, place: int, /, **how: bool) -> int:
        written = super().write_at(fd, content, place, **how)
        self._interrupt("write")
        return written

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._interrupt("sync_folder")

    def _interrupt(self, operation: str) -> None:
        if operation in self.interrupts:
            self.interrupts = frozenset()
            raise KeyboardInterrupt


def test_an_append_cut_short_by_a_signal_is_not_recorded(tmp_path: Path) -> None:
    """H5: the port defers signals; one that comes through must not shift what follows."""
    disk = InterruptedDisk()
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"before")])
    disk.interrupts = frozenset({"write"})
    with pytest.raises(KeyboardInterrupt):
        journal.append([(2, b"interrupted")])

    journal.append([(3, b"after")])
    journal.close()

    assert contents(read(tmp_path / "run")) == [(1, b"before"), (3, b"after")]


def test_a_rotation_cut_short_by_a_signal_is_done_again(tmp_path: Path) -> None:
    """The old segment has a successor by then, so nothing may be appended to it any more."""
    disk = InterruptedDisk()
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"x" * 2000)])
    disk.interrupts = frozenset({"sync_folder"})
    with pytest.raises(KeyboardInterrupt):
        journal.append([(2, b"interrupted")])

    journal.append_emergency([(3, b"after")])
    journal.close()

    assert segment_numbers(tmp_path / "run") == [1, 2]
    assert [kind for kind, _ in contents(read(tmp_path / "run"))] == [1, 3]
    assert RUN_ID in repr(journal)


def test_the_last_words_after_a_half_done_rotation_go_to_the_new_segment(tmp_path: Path) -> None:
    """H34, H5: the old segment has a successor, so it is closed for ever, ballast or not."""
    disk = InterruptedDisk()
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"x" * 2000)])
    disk.interrupts = frozenset({"sync_folder"})
    with pytest.raises(KeyboardInterrupt):
        journal.append([(2, b"interrupted")])
    disk.room_bytes = 0

    journal.append_emergency([(3, b"outcome lost")])
    journal.close()

    assert [(frame.segment, frame.type) for frame in read(tmp_path / "run")] == [(1, 1), (2, 3)]
