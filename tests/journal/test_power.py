"""Power cuts: what was synced survives them, wherever they hit, whatever else is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

from durable_kernel.errors import JournalCorruptError, RunNotFoundError
from durable_kernel.journal import Level
from durable_kernel.journal.segments import segment_path
from durable_kernel.testing.faulty_disk import Fault, FaultyDisk
from tests.journal.written import (
    Life,
    contents,
    create,
    die,
    read,
    reopen,
    segment_bytes,
    write_mixed,
)

# How a cut goes: which of the unsynced names survive, then for each file with unsynced bytes one of
# kept, cut at some place, a sector lost at some place.
KEEPS_NAMES, LOSES_NAMES = "keeps names", "loses names"
KEPT, CUT, HOLE = 0, 1, 2
WAYS = list(product((KEEPS_NAMES, LOSES_NAMES), (KEPT, CUT, HOLE), (0.0, 0.5, 0.99)))


def chooser(names: str, way: int, spot: float) -> Callable[[int], int]:
    """Answer the questions of `cut_power`: names first, then (way, place) per file."""
    asked = 0

    def choose(ways: int) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            return ways - 1 if names == KEEPS_NAMES else 0
        if ways == 3 and asked % 2 == 0:
            if way == KEPT:
                asked -= 1  # no place is asked for
            return way
        return int(spot * ways)

    return choose


def test_a_power_cut_at_any_operation_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    """Crash before the n-th disk operation for n = 1, 2 …, and lose unsynced bytes in every way.

    A cut inside the very sync of a promised frame may leave that frame without what stands before
    it. This is refused like any damage before a promised frame (H33): nobody can tell whether the
    sync had returned. It is the one case in which an undamaged disk leads to a refusal.
    """
    refused = 0
    for fail_at in range(1, 200):
        has_failed = True
        for serial, way in enumerate(WAYS):
            folder = tmp_path / f"{fail_at}-{serial}"
            disk = FaultyDisk(fail_at=fail_at, fault=Fault.CRASH_BEFORE)
            life = Life(folder, disk, Level.DEFAULT)
            life.live()
            disk.cut_power(chooser(*way))
            has_failed = disk.has_failed
            refused += not survives(folder, life, f"before {disk.operations[-1]} {fail_at}, {way}")
        if not has_failed:
            break
    else:
        raise AssertionError("the loop never ended")
    assert 0 < refused < 10


def survives(folder: Path, life: Life, where: str) -> bool:
    try:
        reopen(folder).close()
    except RunNotFoundError:
        assert life.safe == 0, where
        return True
    except JournalCorruptError:
        assert life.is_in_flight_promised, where
        assert life.in_flight, where
        return False
    found = contents(read(folder))
    everything = life.acknowledged + life.in_flight
    assert life.safe <= len(found), where
    assert found == everything[: len(found)], where
    return True


def test_an_empty_journal_survives_once_create_has_returned(tmp_path: Path) -> None:
    disk = FaultyDisk()
    die(create(tmp_path / "run", disk))
    before = segment_bytes(tmp_path / "run")

    disk.cut_power(chooser(LOSES_NAMES, CUT, 0.0))

    assert segment_bytes(tmp_path / "run") == before


def test_rotation_syncs_the_segment_that_it_leaves(tmp_path: Path) -> None:
    """Only the last segment may ever be torn."""
    disk = FaultyDisk()
    journal = create(tmp_path / "run", disk, level=Level.FAST)
    journal.append([(1, b"a" * 2000)])
    journal.append([(2, b"b" * 2000)])
    die(journal)

    disk.cut_power(chooser(LOSES_NAMES, CUT, 0.0))

    assert contents(read(tmp_path / "run")) == [(1, b"a" * 2000)]


def test_the_copy_of_a_torn_tail_survives_once_it_is_cut(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")
    with segment_path(tmp_path / "run", 2).open("ab") as segment:
        segment.write(b"torn")
    disk = FaultyDisk()
    journal = reopen(tmp_path / "run", disk)
    die(journal)

    disk.cut_power(chooser(LOSES_NAMES, CUT, 0.0))

    assert journal.repaired is not None
    assert journal.repaired.copy is not None
    assert journal.repaired.copy.read_bytes() == b"torn"
    assert read(tmp_path / "run") == frames


def test_a_cut_is_synced_before_anything_is_appended(tmp_path: Path) -> None:
    write_mixed(tmp_path / "run")
    with segment_path(tmp_path / "run", 2).open("ab") as segment:
        segment.write(b"torn")
    disk = FaultyDisk()

    reopen(tmp_path / "run", disk).close()

    after = disk.operations[disk.operations.index("truncate") :]
    assert after[:3] == ["truncate", "sync", "close"]


def test_a_blob_survives_once_put_has_returned_but_not_in_level_fast(tmp_path: Path) -> None:
    for level in Level:
        disk = FaultyDisk()
        journal = create(tmp_path / level, disk, level=level)
        ref = journal.blobs.put(b"an answer", compress=False)
        die(journal)

        disk.cut_power(chooser(LOSES_NAMES, CUT, 0.0))

        assert journal.blobs.path(ref).exists() == (level is not Level.FAST)
