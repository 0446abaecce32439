"""Journals to tear, flip and reopen: what the tests of this room share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from durable_kernel.errors import JournalFullError, JournalPoisonedError
from durable_kernel.journal import Frame, Journal, Level, scan
from durable_kernel.journal.disk import Disk
from durable_kernel.journal.segments import segment_numbers, segment_path
from durable_kernel.testing.faulty_disk import FaultyDisk, SimulatedCrash

KEY = b"the key of one user, 32 bytes...."
RUN_ID = "run-7"
SEGMENT_BYTES_MAX = 1200

type_and_payload = tuple[int, bytes]


def create(folder: Path, disk: Disk | None = None, *, level: Level = Level.DEFAULT) -> Journal:
    return Journal.create(
        folder,
        run_id=RUN_ID,
        key=KEY,
        level=level,
        disk=disk or FaultyDisk(),
        segment_bytes_max=SEGMENT_BYTES_MAX,
    )


def reopen(folder: Path, disk: Disk | None = None, *, level: Level = Level.DEFAULT) -> Journal:
    return Journal.open(
        folder,
        run_id=RUN_ID,
        key=KEY,
        level=level,
        disk=disk or FaultyDisk(),
        segment_bytes_max=SEGMENT_BYTES_MAX,
    )


def die(journal: Journal) -> None:
    """Leave the journal as a killed process does: nothing synced, nothing said, the lock free."""
    journal._closing.set()
    if journal._syncer is not None:
        journal._syncer.join()
    journal._tail._forget()
    journal._run_lock.release()
    disk = journal._disk
    assert isinstance(disk, FaultyDisk)
    disk.close_all()


def contents(frames: Iterable[Frame]) -> list[type_and_payload]:
    return [(frame.type, frame.payload) for frame in frames]


def read(folder: Path) -> list[Frame]:
    return list(scan(folder, run_id=RUN_ID, key=KEY))


def write_mixed(folder: Path) -> list[Frame]:
    """Write two segments, three epochs, a blob, and frames of many types and sizes; some promised.

    The last promised frame is followed by frames that nobody promised.
    """
    with create(folder) as journal:
        journal.append([(0, b"begin"), (1, b"\0" * 40), (2, bytes(range(256)))])
        journal.append([(3, b"announce 1")], sync=True)
        journal.append([(4, b"outcome 1" * 12)])
        ref = journal.blobs.put(b"a large answer " * 400, compress=True)
        journal.append([(5, ref.digest.encode())])
    with reopen(folder) as journal:
        journal.append([(6, b"x"), (7, b"y" * 300)])
        journal.append([(8, b"commit")], sync=True)
        journal.append([(9, b"\xff" * 130)])
        journal.append([(127, b"first of the second segment"), (10, b"\x80" * 60)])
    with reopen(folder) as journal:
        journal.append([(11, b"announce 2")], sync=True)
        journal.append([(12, b"nobody promised"), (13, b"\0\0\0")])
        journal.append([(14, b"neither that" * 9)])
    frames = read(folder)
    assert segment_numbers(folder) == [1, 2]
    assert {frame.epoch for frame in frames} == {1, 2, 3}
    assert {frame.segment for frame in frames} == {1, 2}
    return frames


def segment_bytes(folder: Path) -> dict[int, bytes]:
    return {number: segment_path(folder, number).read_bytes() for number in segment_numbers(folder)}


def lay_out(folder: Path, segments: dict[int, bytes]) -> None:
    """Make the folder hold exactly these segments and no torn copies."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("seg-*"):
        path.unlink()
    for number, content in segments.items():
        segment_path(folder, number).write_bytes(content)


def batches() -> Iterator[tuple[list[type_and_payload], bool]]:
    """Enough frames for three segments, some of them synced."""
    for serial in range(14):
        yield [(serial, b"%d" % serial * 60), (serial, b"second")], serial % 4 == 0


class Life:
    """One process: creates or opens the journal and appends until it dies or its disk fails."""

    def __init__(self, folder: Path, disk: FaultyDisk, level: Level) -> None:
        self.acknowledged: list[type_and_payload] = []
        self.safe = 0  # so many of them must survive a power cut
        self.in_flight: list[type_and_payload] = []
        self.is_in_flight_promised = False
        self._folder, self._disk, self._level = folder, disk, level
        self._journal: Journal | None = None

    def live(self) -> None:
        try:
            self._journal = create(self._folder, self._disk, level=self._level)
            for frames, sync in batches():
                self._append(frames, sync=sync)
            self._journal.close()
            self.safe = len(self.acknowledged)
        except (JournalPoisonedError, JournalFullError, OSError, SimulatedCrash):
            if self._journal is not None:
                die(self._journal)
        self._disk.close_all()

    def _append(self, frames: list[type_and_payload], *, sync: bool) -> None:
        assert self._journal is not None
        self.in_flight, self.is_in_flight_promised = frames, sync
        try:
            self._journal.append(frames, sync=sync)
        except JournalFullError:
            self._journal.append(frames, sync=sync)  # the cell is run again; there is room by now
        if sync:
            self.safe = len(self.acknowledged) + len(frames)
        self.acknowledged += frames
        self.in_flight = []
