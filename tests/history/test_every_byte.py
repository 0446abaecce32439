"""A journal that holds every kind of record, cut and flipped at every byte.

Two segments, a blob, two epochs. What is read back is a prefix of what was written, or it is
refused; never another record, and a prefix can always be folded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.errors import JournalError, UntrustedRunError
from durable_kernel.history import (
    Announced,
    Branched,
    Called,
    Cell,
    Committed,
    Crossed,
    Cut,
    Extent,
    Finished,
    Forked,
    Head,
    Kept,
    Loaded,
    Noted,
    Observed,
    Opened,
    Outline,
    Output,
    Part,
    PositionHistory,
    Record,
    RecordCodec,
    Resolved,
    Resumed,
    Reused,
    Settled,
    Shutdown,
    Turned,
    Unsettled,
    Withdrawn,
    blob_list,
)
from durable_kernel.journal import Frame, Journal, scan
from durable_kernel.ports import Ending

RUN = "every-byte"
KEY = bytes(range(32))
CODEC = RecordCodec()


def first_epoch(blob: list[object]) -> list[Record]:
    return [
        Opened(wall_ns=1, pid=2, boot_id="b", host="h", genesis=bytes(32)),
        Cell(position=0, source="x = get()", wall_ns=2, request={"cell_id": "a"}),
        Observed(lane="", kind="time.time", values=[1.0, 2.0]),
        Observed(lane="", kind="os.urandom/4", values=[b"abcd"], hard=True),
        Announced(ordinal=0, lane="", kind="http", label="GET /", wall_ns=3),
        Head(ordinal=0, lane="", value={"status": 200}),
        Part(ordinal=0, lane="", sizes=[2, 1], content=b"abc"),
        Part(ordinal=0, lane="", sizes=[70_000], blob=blob),
        Settled(ordinal=0, lane="", value=None),
        Called(
            ordinal=1,
            lane="",
            kind="http",
            label="GET /b",
            wall_ns=3,
            identity={"url": "/b"},
            details={},
            head={"status": 200},
            sizes=[1],
            content=b"d",
        ),
        Output(kind="stream", content={"name": "stdout", "text": "x"}),
        Crossed(what="opens a.csv", where="cell 0", is_act=False),
        Turned(lane="/t1", kind="sleep", pace=1),
        Noted(sentence="a sentence"),
        Committed(position=0, status="ok", wall_ns=4, execution_count=1),
        Cell(position=1, source="post()", wall_ns=5),
        Announced(ordinal=0, lane="", kind="http", label="POST /", wall_ns=6, act=1, repeat_s=0.0),
        Shutdown(wall_ns=7, restart=False, position=1),
    ]


def second_epoch() -> list[Record]:
    return [
        Opened(wall_ns=8, pid=3, boot_id="b", host="h"),
        Resumed(position=1, wall_ns=9),
        Unsettled(lane="", ordinal=0, found="was answered 404 Not Found"),
        Settled(ordinal=0, lane="", ending=int(Ending.INTERRUPTED)),
        Withdrawn(lane="", ordinal=0),
        Resolved(position=1, lane="", ordinal=0, choice="answer", wall_ns=10, value=7),
        Committed(position=1, status="error", wall_ns=11),
        Branched(position=1, wall_ns=12, reason="edited", reuses=True),
        Cell(position=1, source="post2()", wall_ns=13, donor=16),
        Reused(lane="", ordinal=0),
        Cut(by="KeyboardInterrupt"),
        Kept(names=["x"], gone=["y"], refused=[["z", "a generator"]]),
        Loaded(name="helper", path="/project/helper.py", digest="d", source=b"x = 1"),
        Committed(position=1, status="ok", wall_ns=14),
        Forked(position=2, wall_ns=16, parent="other", genesis=b"g", lineage=[[0, "other"]]),
        Finished(wall_ns=15),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal") / RUN
    with Journal.create(folder, run_id=RUN, key=KEY, segment_bytes_max=1_000) as journal:
        blob = blob_list(journal.blobs.put(b"z" * 70_000, compress=True))
        for record in first_epoch(blob):
            journal.append([CODEC.pack(record)], sync=record.CODE in (5, 12))
    with Journal.open(folder, run_id=RUN, key=KEY, segment_bytes_max=100_000) as journal:
        for record in second_epoch():
            journal.append([CODEC.pack(record)], sync=record.CODE in (5, 12))
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    copied = tmp_path / RUN
    shutil.copytree(written, copied)
    return copied


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("seg-*.dkj"))


def read(folder: Path) -> list[Frame]:
    return list(scan(folder, run_id=RUN, key=KEY))


def fold(frames: list[Frame]) -> Outline:
    """Fold a prefix as recovery does, down to each position."""
    outline = Outline.of(frames, CODEC)
    for position in outline.positions:
        donors: list[PositionHistory] = []
        for each in [*position.donors()][::-1]:
            donors.insert(0, PositionHistory.of(within(each.extents, frames), CODEC, donors))
        PositionHistory.of(within(position.extents, frames), CODEC, donors)
    return outline


def within(extents: list[Extent], frames: list[Frame]) -> list[Frame]:
    return [each for each in frames if holds(extents, each)]


def holds(extents: list[Extent], frame: Frame) -> bool:
    return any(
        each.segment == frame.segment and each.start <= frame.offset < each.end for each in extents
    )


def cuts(folder: Path) -> Iterator[tuple[Path, list[Path], int]]:
    files = segments(folder)
    for index, path in enumerate(files):
        for size in range(path.stat().st_size):
            yield path, files[index + 1 :], size


def test_the_journal_holds_every_kind_of_record(written: Path) -> None:
    codes = {each.type for each in read(written)}

    assert codes == {each.CODE for each in Record.__subclasses__()}
    assert len(segments(written)) >= 2
    assert {each.epoch for each in read(written)} == {1, 2}


def test_every_kind_of_record_is_read_as_it_was_written(written: Path) -> None:
    found = [CODEC.unpack(each) for each in read(written)]

    blob = next(each.blob for each in found if isinstance(each, Part) and each.blob)
    assert found == [*first_epoch(blob), *second_epoch()]


def test_a_cut_at_any_byte_leaves_a_prefix_that_can_be_folded(folder: Path) -> None:
    whole = read(folder)
    contents = {path: path.read_bytes() for path in segments(folder)}
    for path, later, size in list(cuts(folder)):
        for each in later:
            each.unlink(missing_ok=True)
        path.write_bytes(contents[path][:size])

        found = read(folder)

        assert found == whole[: len(found)]
        fold(found)
        for each, content in contents.items():
            each.write_bytes(content)


def test_a_cut_before_the_last_segment_is_refused(folder: Path) -> None:
    first = segments(folder)[0]
    content = first.read_bytes()
    for size in range(0, len(content), 7):
        first.write_bytes(content[:size])

        with pytest.raises(JournalError):
            read(folder)


def test_a_flipped_bit_at_any_byte_is_refused_or_cuts_unpromised_frames_only(folder: Path) -> None:
    whole = read(folder)
    promised = [index for index, each in enumerate(whole) if each.promised]
    for path in segments(folder):
        content = bytearray(path.read_bytes())
        for offset in range(len(content)):
            content[offset] ^= 0x10
            path.write_bytes(content)
            try:
                found = read(folder)
            except (JournalError, UntrustedRunError):
                pass
            else:
                assert found == whole[: len(found)]
                assert len(found) >= promised[-1], f"{path.name}, byte {offset}"
                fold(found)
            content[offset] ^= 0x10
            path.write_bytes(content)


def test_the_newest_run_of_a_fork_of_epochs_is_what_is_folded(written: Path) -> None:
    outline = fold(read(written))

    assert outline.status == "finished"
    assert [each.cell.source for each in outline.positions] == ["x = get()", "post2()"]
