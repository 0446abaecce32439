"""Rules of writing: what was appended is read again, in order, across segments and epochs."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from durable_kernel.errors import RunLockedError, RunNotFoundError
from durable_kernel.journal import PAYLOAD_BYTES_MAX, Frame, Journal, Level, read_extent, scan
from durable_kernel.journal.segments import segment_numbers, segment_path
from durable_kernel.testing.faulty_disk import FaultyDisk
from tests.journal.written import KEY, RUN_ID, contents, create, die, read, reopen, write_mixed


def test_what_was_appended_is_read_again_in_order(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        first = journal.append([(1, b"one"), (2, b"two")])
        second = journal.append([(3, b"three")])

    assert (first, second) == (2, 3)
    assert contents(read(tmp_path / "run")) == [(1, b"one"), (2, b"two"), (3, b"three")]
    assert [frame.lsn for frame in read(tmp_path / "run")] == [1, 2, 3]


def test_a_frame_tells_its_place(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")

    for frame in frames:
        assert read_extent(tmp_path / "run", frame.segment, frame.offset, frame.size) == [frame]
        onward = scan(tmp_path / "run", start=(frame.segment, frame.offset))
        assert next(onward) == frame


def test_reading_from_the_middle_gives_the_rest_of_the_journal(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")
    middle = frames[5]

    rest = list(scan(tmp_path / "run", start=(middle.segment, middle.offset)))

    assert rest == frames[5:]


def test_segments_follow_each_other_at_the_size_limit(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        for serial in range(40):
            journal.append([(1, b"%04d" % serial * 25)])

    assert len(segment_numbers(tmp_path / "run")) == 5
    assert [payload[:4] for _, payload in contents(read(tmp_path / "run"))] == [
        b"%04d" % serial for serial in range(40)
    ]


def test_each_opener_takes_the_next_epoch(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    for _ in range(3):
        with reopen(tmp_path / "run") as journal:
            journal.append([(1, b"here")])

    epochs = [frame.epoch for frame in read(tmp_path / "run")]

    assert epochs == [2, 3, 4]


def test_the_last_frame_of_a_synced_write_is_promised(tmp_path: Path) -> None:
    """H33: it is the witness for all before it. The levels differ in what they sync."""
    promised: dict[str, list[bool]] = {}
    synced: dict[str, int] = {}
    for level in Level:
        disk = FaultyDisk()
        journal = create(tmp_path / level, disk, level=level)
        before = disk.operations.count("sync")
        journal.append([(1, b"a"), (2, b"b")])
        journal.append([(3, b"c"), (4, b"d")], sync=True)
        synced[level] = disk.operations.count("sync") - before
        journal.close()
        promised[level] = [frame.promised for frame in read(tmp_path / level)]

    assert promised["default"] == [False, False, False, True]
    assert promised["strict"] == [False, True, False, True]
    assert promised["fast"] == [False, False, False, False]
    assert synced == {"default": 1, "strict": 2, "fast": 0}


def test_fast_syncs_behind_the_writers_back(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = create(tmp_path / "run", disk, level=Level.FAST)
    journal.append([(1, b"a")])
    before = disk.operations.count("sync")

    journal.sync_in_background()
    journal.sync_in_background()

    assert disk.operations.count("sync") == before + 1
    journal.close()


def test_an_explicit_sync_syncs_in_every_level(tmp_path: Path) -> None:
    for level in Level:
        disk = FaultyDisk()
        journal = create(tmp_path / level, disk, level=level)
        journal.append([(1, b"a")])

        journal.sync()

        assert disk.operations[-1] == "sync"
        journal.close()


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        journal.blobs.put(b"x", compress=False)

    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "run", *(tmp_path / "run").rglob("*")]
    }
    folders = {mode for name, mode in modes.items() if (tmp_path / name).is_dir()}
    blobs = {mode for name, mode in modes.items() if len(Path(name).name) == 64}
    files = set(modes.values()) - folders - blobs
    assert (folders, files, blobs) == ({0o700}, {0o600}, {0o444})


@pytest.mark.parametrize("frame", [(1, b""), (128, b"x"), (-1, b"x")])
def test_a_frame_that_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, frame: tuple[int, bytes]
) -> None:
    with create(tmp_path / "run") as journal:
        with pytest.raises(ValueError, match="a frame has a type"):
            journal.append([(1, b"good"), frame])
        journal.append([(2, b"next")])

    assert contents(read(tmp_path / "run")) == [(2, b"next")]


def test_a_payload_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        with pytest.raises(ValueError, match="payload"):
            journal.append([(1, bytes(PAYLOAD_BYTES_MAX + 1))])

        assert journal.next_lsn == 1


def test_a_run_id_must_fit_its_field(tmp_path: Path) -> None:
    for run_id in ("", "x" * 65, "a\0b"):
        with pytest.raises(ValueError, match="a run id"):
            Journal.create(tmp_path / "run", run_id=run_id, key=KEY)


def test_nothing_is_written_by_an_empty_append(tmp_path: Path) -> None:
    with create(tmp_path / "run") as journal:
        size_bytes = journal.size_bytes

        assert journal.append([]) == 0
        assert journal.append([], sync=True) == 0
        assert journal.size_bytes == size_bytes


def test_create_refuses_a_folder_that_holds_a_journal(tmp_path: Path) -> None:
    create(tmp_path / "run").close()

    with pytest.raises(FileExistsError):
        create(tmp_path / "run")
    reopen(tmp_path / "run").close()  # the refusal left no lock behind


def test_open_begins_a_journal_whose_create_died_before_the_first_segment(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()

    with reopen(tmp_path / "run") as journal:
        journal.append([(1, b"a")])

    assert contents(read(tmp_path / "run")) == [(1, b"a")]


def test_open_says_when_there_is_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="run-7"):
        reopen(tmp_path / "absent")


def test_size_counts_segments_and_blobs(tmp_path: Path) -> None:
    write_mixed(tmp_path / "run")

    with reopen(tmp_path / "run") as journal:
        journal.append([(1, b"a")])
        journal.blobs.put(b"b" * 1000, compress=False)

        counted = [*(tmp_path / "run").glob("seg-*"), *(tmp_path / "run/blobs").glob("??/*")]
        assert journal.size_bytes == sum(path.stat().st_size for path in counted)


def test_a_closed_journal_refuses_and_says_so(tmp_path: Path) -> None:
    journal = create(tmp_path / "run")
    journal.close()
    journal.close()

    with pytest.raises(ValueError, match="closed"):
        journal.append([(1, b"a")])
    assert repr(journal) == "<Journal run-7 epoch 1, next lsn 1, closed>"


def test_one_pass_serves_recovery_and_history(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")
    seen: list[Frame] = []

    with Journal.open(tmp_path / "run", run_id=RUN_ID, key=KEY, on_frame=seen.append) as journal:
        assert journal.next_lsn == len(frames) + 1

    assert seen == frames


def test_a_forked_child_never_writes(tmp_path: Path) -> None:
    """The child's copies are closed in it; the parent goes on as if nothing had been."""
    journal = create(tmp_path / "run")
    journal.append([(1, b"before")])

    pid = os.fork()
    if pid == 0:
        refused = 0
        for attempt in (
            lambda: journal.append([(6, b"child")]),
            lambda: journal.append_emergency([(6, b"child")]),
            journal.sync,
            journal.restore_ballast,
        ):
            try:
                attempt()
            except RunLockedError:
                refused += 1
        journal.close()
        os._exit(refused)
    _, status = os.waitpid(pid, 0)
    journal.append([(2, b"after")])
    journal.close()

    assert os.waitstatus_to_exitcode(status) == 4
    assert contents(read(tmp_path / "run")) == [(1, b"before"), (2, b"after")]


def test_a_second_writer_is_noticed_by_where_its_bytes_landed(tmp_path: Path) -> None:
    """A lock that a network file system lost: nobody goes on over the other's frames."""
    from durable_kernel.errors import JournalPoisonedError

    journal = create(tmp_path / "run")
    journal.append([(1, b"mine")])
    with segment_path(tmp_path / "run", 1).open("ab") as segment:
        segment.write(b"somebody else's")

    with pytest.raises(JournalPoisonedError, match="another process"):
        journal.append([(2, b"mine too")])
    die(journal)


def test_a_second_writer_that_went_on_at_the_same_place_is_noticed(tmp_path: Path) -> None:
    """In spare room it makes no file larger."""
    from durable_kernel.errors import JournalPoisonedError

    journal = create(tmp_path / "run")
    journal.append([(1, b"mine")], sync=True)
    journal._run_lock.release()
    with reopen(tmp_path / "run") as other:
        other.append([(2, b"the other's")], sync=True)

        with pytest.raises(JournalPoisonedError, match="another process"):
            journal.append([(3, b"mine too")])
    die(journal)
    assert contents(read(tmp_path / "run")) == [(1, b"mine"), (2, b"the other's")]


def test_a_run_woken_each_minute_for_years_has_epochs_enough(tmp_path: Path) -> None:
    """H36: 16 bits would overflow after 45 days."""
    with create(tmp_path / "run") as journal:
        journal._tail.epoch = 0xFFFF
        journal.append([(1, b"day 45")])

    with reopen(tmp_path / "run") as journal:
        journal.append([(1, b"and on")])

    assert [frame.epoch for frame in read(tmp_path / "run")] == [0xFFFF, 0x10000]


def test_threads_may_append_at_the_same_time(tmp_path: Path) -> None:
    lsns: list[int] = []

    def append_some(journal: Journal, writer: int) -> None:
        lsns.extend(
            journal.append([(writer, b"%d" % serial), (writer, b"its second")])
            for serial in range(50)
        )

    with create(tmp_path / "run") as journal:
        threads = [
            threading.Thread(target=append_some, args=(journal, writer)) for writer in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    frames = read(tmp_path / "run")
    assert sorted(lsns) == list(range(2, 402, 2))
    for first, second in zip(frames[::2], frames[1::2], strict=True):
        assert (first.type, second.payload) == (second.type, b"its second")
    for writer in range(4):
        own = [frame.payload for frame in frames[::2] if frame.type == writer]
        assert own == [b"%d" % serial for serial in range(50)]
