"""Spare room: zeros behind the frames of a journal that syncs. They mean nothing to anybody."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from durable_kernel.errors import JournalCorruptError, JournalPoisonedError
from durable_kernel.journal import Level, read_extent
from durable_kernel.journal.disk import REAL_DISK
from durable_kernel.journal.reader import Reading
from durable_kernel.journal.segments import segment_numbers, segment_path
from durable_kernel.journal.tail import SPARE_BYTES
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk, SimulatedCrash
from tests.journal.written import KEY, RUN_ID, contents, create, die, read, reopen, write_mixed


def size_of(folder: Path, number: int = 1) -> int:
    return segment_path(folder, number).stat().st_size


def test_room_is_taken_when_something_is_synced_and_given_back_at_the_end(tmp_path: Path) -> None:
    journal = create(tmp_path / "run")
    journal.append([(1, b"observed")])
    before = size_of(tmp_path / "run")
    journal.append([(2, b"promised")], sync=True)
    meanwhile = size_of(tmp_path / "run")
    journal.append([(3, b"promised")], sync=True)

    journal.close()

    assert meanwhile == before + SPARE_BYTES
    assert size_of(tmp_path / "run") == journal.size_bytes
    assert contents(read(tmp_path / "run"))[1:] == [(2, b"promised"), (3, b"promised")]


def test_a_level_that_syncs_nothing_takes_no_room(tmp_path: Path) -> None:
    with create(tmp_path / "run", level=Level.FAST) as journal:
        journal.append([(1, b"fast")], sync=True)

        assert size_of(tmp_path / "run") == journal.size_bytes


def test_the_room_of_a_dead_process_is_used_by_the_next_one(tmp_path: Path) -> None:
    """Nothing is torn, nothing is cut, and nothing is copied aside."""
    journal = create(tmp_path / "run")
    journal.append([(1, b"before")], sync=True)
    die(journal)
    left = size_of(tmp_path / "run")
    disk = FaultyDisk()

    with reopen(tmp_path / "run", disk) as again:
        again.append([(2, b"after")], sync=True)

        assert again.repaired is None
        assert size_of(tmp_path / "run") == left
        assert "allocate" not in disk.operations
        assert contents(read(tmp_path / "run")) == [(1, b"before"), (2, b"after")]
    assert list((tmp_path / "run").glob("*.torn")) == []


def test_what_a_dead_process_left_half_written_in_its_room_is_torn(tmp_path: Path) -> None:
    disk = FaultyDisk(fault=Fault.CRASH_HALFWAY)
    journal = create(tmp_path / "run", disk)
    journal.append([(1, b"before")], sync=True)
    disk.fail_at = len(disk.operations) + 1
    with pytest.raises(SimulatedCrash):
        journal.append([(2, b"half of it " * 20)])
    die(journal)

    with reopen(tmp_path / "run") as again:
        again.append([(3, b"after")], sync=True)

        assert again.repaired is not None
    assert contents(read(tmp_path / "run")) == [(1, b"before"), (3, b"after")]


def test_a_reader_of_a_live_journal_sees_its_frames_and_no_more(tmp_path: Path) -> None:
    journal = create(tmp_path / "run")
    journal.append([(1, b"a")], sync=True)
    reading = Reading(tmp_path / "run", run_id=RUN_ID, key=KEY)

    found = list(reading.frames())

    assert contents(found) == [(1, b"a")]
    assert reading.torn is None
    assert reading.size_bytes == journal.size_bytes
    extent = read_extent(tmp_path / "run", found[0].segment, found[0].offset, found[0].size)
    assert contents(extent) == [(1, b"a")]
    journal.close()


def test_a_segment_that_is_left_has_no_room_to_spare(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        for serial in range(30):
            journal.append([(1, b"%d" % serial * 60)], sync=True)

        assert size_of(tmp_path / "run", 1) < SPARE_BYTES
    assert len(read(tmp_path / "run")) == 30


def test_zeros_before_a_successor_are_damage(tmp_path: Path) -> None:
    """There they can only be frames that are lost."""
    write_mixed(tmp_path / "run")
    with segment_path(tmp_path / "run", 1).open("ab") as segment:
        segment.write(bytes(100))

    with pytest.raises(JournalCorruptError, match="a later segment follows"):
        read(tmp_path / "run")


def test_zeros_before_a_promised_frame_are_damage(tmp_path: Path) -> None:
    journal = create(tmp_path / "run")
    journal.append([(1, b"lost")])
    place = journal._tail.end
    journal.append([(2, b"lost, too")])
    lost = journal._tail.end - place
    journal.append([(3, b"promised")], sync=True)
    die(journal)
    with segment_path(tmp_path / "run", 1).open("r+b") as segment:
        segment.seek(place)
        segment.write(bytes(lost))

    with pytest.raises(JournalCorruptError, match="a synced frame"):
        read(tmp_path / "run")


class NarrowDisk(FaultyDisk):
    """Says no whenever room is asked for beforehand."""

    reason = errno.ENOSPC

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        self.operations.append("allocate")
        raise OSError(self.reason, os.strerror(self.reason))


@pytest.mark.parametrize(
    ("reason", "asked"), [(errno.ENOSPC, 2), (errno.EDQUOT, 2), (errno.EOPNOTSUPP, 1)]
)
def test_without_room_to_spare_the_journal_just_grows(
    tmp_path: Path, reason: int, asked: int
) -> None:
    disk = NarrowDisk()
    disk.reason = reason
    with create(tmp_path / "run", disk) as journal:
        journal.append([(1, b"a")], sync=True)
        journal.append([(2, b"b")], sync=True)

        assert size_of(tmp_path / "run") == journal.size_bytes
    assert disk.operations.count("allocate") == asked
    assert contents(read(tmp_path / "run")) == [(1, b"a"), (2, b"b")]


class HalfDisk(FaultyDisk):
    """Is full before all the room is made, and keeps what it has made, as ext4 does."""

    def allocate(self, fd: int, place: int, size_bytes: int, /) -> None:
        os.ftruncate(fd, place + 500)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_room_that_a_full_disk_made_in_part_is_given_back(tmp_path: Path) -> None:
    """What stood behind the frames of a segment with a successor would be taken for damage."""
    journal = create(tmp_path / "run", HalfDisk())
    for serial in range(30):
        journal.append([(1, b"%d" % serial * 60)], sync=True)
        assert len(read(tmp_path / "run")) == serial + 1

    journal.close()

    sizes = [size_of(tmp_path / "run", number) for number in segment_numbers(tmp_path / "run")]
    assert len(sizes) > 1
    assert sum(sizes) == journal.size_bytes


def test_a_disk_that_fails_when_room_is_asked_for_is_failing(tmp_path: Path) -> None:
    disk = NarrowDisk()
    disk.reason = errno.EIO
    journal = create(tmp_path / "run", disk)

    with pytest.raises(JournalPoisonedError):
        journal.append([(1, b"a")], sync=True)
    die(journal)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="only on Linux: allocating room")
def test_the_real_disk_gives_room(tmp_path: Path) -> None:
    fd = REAL_DISK.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    REAL_DISK.allocate(fd, 10, 5000)

    assert os.fstat(fd).st_size == 5010
    os.close(fd)
