"""Reading while the writer writes: whole frames only, no false alarm; and bounded memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durable_kernel.errors import JournalCorruptError, RunNotFoundError
from durable_kernel.journal import Frame, Journal, collector_paused, read_extent, scan
from durable_kernel.journal.reader import Reading
from durable_kernel.journal.segments import segment_numbers, segment_path
from tests.journal.written import KEY, RUN_ID, create, lay_out, read, segment_bytes, write_mixed


def test_a_reader_follows_a_journal_that_grows_and_rotates_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(1, b"first")])
        reader = scan(folder, run_id=RUN_ID, key=KEY)
        seen = [next(reader)]
        for serial in range(30):
            journal.append([(2, b"%d" % serial * 60)], sync=True)

        seen += list(reader)

    assert len(segment_numbers(folder)) > 2
    assert [frame.lsn for frame in seen] == list(range(1, 32))


def test_a_frame_half_written_when_it_was_read_is_looked_at_again(tmp_path: Path) -> None:
    """Between two looks it was completed, a promised frame followed, and the segment rotated."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    half = frames[2].offset + 50
    lay_out(folder, {1: whole[1][:half]})
    reader = scan(folder, run_id=RUN_ID, key=KEY)
    seen = [next(reader)]

    lay_out_in_place(folder, whole)

    seen += list(reader)
    assert seen == frames


def lay_out_in_place(folder: Path, segments: dict[int, bytes]) -> None:
    """Complete the files without replacing them: the reader has them open."""
    for number, content in segments.items():
        with segment_path(folder, number).open("ab") as segment:
            segment.write(content[segment.tell() :])


class OvertakenReading(Reading):
    """The writer goes on right after the reader has met the end of the file."""

    def __init__(self, folder: Path, go_on: Callable[[], None]) -> None:
        super().__init__(folder, run_id=RUN_ID, key=KEY)
        self._go_on = go_on
        self._was_overtaken = False

    def _read_at(self, fd: int, place: int, size_bytes: int) -> bytes:
        read_bytes = super()._read_at(fd, place, size_bytes)
        if not read_bytes and not self._was_overtaken:
            self._was_overtaken = True
            self._go_on()
        return read_bytes


@pytest.mark.parametrize("frames_there", [1, 3])
@pytest.mark.parametrize("bytes_more", [0, 1, 60])
def test_a_reader_overtaken_at_the_end_of_a_segment_reads_its_rest(
    tmp_path: Path, frames_there: int, bytes_more: int
) -> None:
    """Between the last read and the look for a successor the segment was completed and left."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    lay_out(folder, {1: whole[1][: frames[frames_there].offset + bytes_more]})

    reading = OvertakenReading(folder, lambda: lay_out_in_place(folder, whole))

    assert list(reading.frames()) == frames


def test_a_reader_stops_silently_at_a_torn_tail(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    torn = {**segment_bytes(folder)}
    torn[2] = torn[2][:-1]
    lay_out(folder, torn)

    assert read(folder) == frames[:-1]
    assert segment_bytes(folder) == torn


class LateReading(Reading):
    """The writer goes on right after the reader has found no successor."""

    def __init__(self, folder: Path, go_on: Callable[[], None]) -> None:
        super().__init__(folder, run_id=RUN_ID, key=KEY)
        self._go_on = go_on

    def _grow(self, fd: int, number: int, window: bytes) -> bytes | None:
        grown = super()._grow(fd, number, window)
        if grown is None:
            self._go_on()
        return grown


def test_a_segment_that_comes_after_the_last_look_is_left_to_the_next_reader(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    lay_out(folder, {1: whole[1][: frames[1].offset]})

    reading = LateReading(folder, lambda: lay_out_in_place(folder, whole))

    assert list(reading.frames()) == frames[:1]
    assert read(folder) == frames


GROW = """
import sys
from pathlib import Path
from durable_kernel.journal import Journal
from tests.journal.written import KEY, RUN_ID
with Journal.open(Path(sys.argv[1]), run_id=RUN_ID, key=KEY, segment_bytes_max=30_000) as journal:
    for serial in range(4000):
        journal.append([(1, b"%d" % serial * (serial % 60 + 1))], sync=serial % 500 == 0)
"""


def test_readers_of_a_busy_journal_see_a_prefix_every_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    create(folder).close()
    writer = subprocess.Popen(
        [sys.executable, "-c", GROW, str(folder)], cwd=Path(__file__).parents[2]
    )

    counts = [0]
    with writer:
        while writer.poll() is None:
            lsns = [frame.lsn for frame in scan(folder, run_id=RUN_ID, key=KEY)]
            assert lsns == list(range(1, len(lsns) + 1))
            counts.append(len(lsns))

    assert writer.returncode == 0
    assert counts == sorted(counts)
    assert len(read(folder)) == 4000


def test_the_collector_is_off_while_scanning_and_on_again_after(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)

    was = {gc.isenabled() for _ in scan(folder)}
    after = gc.isenabled()
    abandoned = scan(folder)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]

    assert was == {False}
    assert (after, gc.isenabled()) == (True, True)


def test_a_collector_that_was_off_stays_off() -> None:
    with collector_paused():
        with collector_paused():
            pass

        assert not gc.isenabled()
    assert gc.isenabled()


def test_scanning_streams(tmp_path: Path) -> None:
    """Memory is bounded by a chunk and the largest frame, not by the journal."""
    with Journal.create(tmp_path / "run", run_id=RUN_ID, key=KEY) as journal:
        for _ in range(40):
            journal.append([(1, bytes(1 << 20))])

    tracemalloc.start()
    total = sum(len(frame.payload) for frame in scan(tmp_path / "run", run_id=RUN_ID, key=KEY))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert total == 40 << 20
    assert peak_bytes < 20 << 20


def test_an_extent_is_read_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = [frame for frame in write_mixed(folder) if frame.segment == 1]
    size = sum(frame.size for frame in first[2:6])

    assert read_extent(folder, 1, first[2].offset, size) == first[2:6]


@pytest.mark.parametrize("wrong", [(1, 0, 100), (1, 128, 60), (1, 129, 50), (7, 128, 60)])
def test_an_extent_that_is_not_whole_frames_is_refused(
    tmp_path: Path, wrong: tuple[int, int, int]
) -> None:
    write_mixed(tmp_path / "run")

    with pytest.raises(JournalCorruptError):
        read_extent(tmp_path / "run", *wrong)


def test_scanning_a_run_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        list(scan(tmp_path / "absent"))


def test_a_folder_without_segments_has_no_frames(tmp_path: Path) -> None:
    reader: Iterator[Frame] = scan(tmp_path)

    assert list(reader) == []
