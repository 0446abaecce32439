"""Damage at any place: the complete prefix, or a refusal; never a wrong frame, never a lost one."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from durable_kernel.errors import JournalCorruptError, JournalVersionError, UntrustedRunError
from durable_kernel.journal import PAYLOAD_BYTES_MAX, PROMISED, Frame, Journal, scan
from durable_kernel.journal.damage import promised_headers
from durable_kernel.journal.format import (
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    decode_segment_header,
    encode_frames,
    header_crc_of,
    tag_key,
    whole_frames,
)
from durable_kernel.journal.segments import segment_path
from tests.journal.written import (
    KEY,
    RUN_ID,
    contents,
    create,
    lay_out,
    read,
    reopen,
    segment_bytes,
    write_mixed,
)

NEW = (99, b"the first frame after recovery")


def recover(folder: Path) -> list[Frame] | str:
    """Reopen, append, and return what is read then, without the new frame; or what refused."""
    try:
        with reopen(folder) as journal:
            journal.append([NEW])
    except (JournalCorruptError, UntrustedRunError, JournalVersionError) as error:
        return type(error).__name__
    frames = read(folder)
    assert (frames[-1].type, frames[-1].payload) == NEW
    return frames[:-1]


def test_truncation_at_any_byte_keeps_every_complete_frame(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    cuts = [({1: whole[1][:at]}, 1, at) for at in range(len(whole[1]))]
    cuts += [({**whole, 2: whole[2][:at]}, 2, at) for at in range(len(whole[2]))]

    for segments, number, at in cuts:
        complete = [
            frame for frame in frames if (frame.segment, frame.offset + frame.size) <= (number, at)
        ]
        lay_out(folder, segments)
        assert read(folder) == complete, (number, at)

        assert recover(folder) == complete, (number, at)


def test_truncation_of_a_segment_with_a_successor_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    whole = segment_bytes(folder)

    for at in range(len(whole[1])):
        lay_out(folder, {**whole, 1: whole[1][:at]})

        assert recover(folder) == "JournalCorruptError", at
        assert segment_bytes(folder) == {**whole, 1: whole[1][:at]}, "nothing was cut"


def test_a_bit_flipped_in_any_byte_is_refused_or_cut_where_nothing_was_promised(
    tmp_path: Path,
) -> None:
    """H33: torn only where no valid header of a promised frame stands behind the damage.

    So the header of the very last promised frame is the one promised thing without a witness.
    """
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    witness = max((frame for frame in frames if frame.promised), key=lambda frame: frame.lsn)
    header = range(witness.offset, witness.offset + FRAME_HEADER_BYTES)
    unpromised_from = (witness.segment, witness.offset + witness.size)

    for number, content in whole.items():
        for at in range(len(content)):
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            lay_out(folder, {**whole, number: bytes(flipped)})

            found = recover(folder)

            if (number, at) < unpromised_from and (number != witness.segment or at not in header):
                assert isinstance(found, str), (number, at)
            else:
                assert found == [
                    frame
                    for frame in frames
                    if (frame.segment, frame.offset + frame.size) <= (number, at)
                ], (number, at)


def test_a_flip_is_found_without_the_key_too(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    whole = segment_bytes(folder)

    for at in range(len(whole[1])):
        flipped = bytearray(whole[1])
        flipped[at] ^= 0x10
        lay_out(folder, {**whole, 1: bytes(flipped)})

        with pytest.raises((JournalCorruptError, JournalVersionError)):
            list(scan(folder))


def test_a_torn_tail_is_copied_before_it_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(1, b"whole")])
    path = segment_path(folder, 1)
    end = path.stat().st_size
    with path.open("ab") as segment:
        segment.write(b"half a frame")

    with reopen(folder) as journal:
        repaired = journal.repaired

    assert repaired is not None
    assert (repaired.file, repaired.offset, repaired.size_bytes) == (path, end, 12)
    assert repaired.copy is not None
    assert repaired.copy.read_bytes() == b"half a frame"
    assert "12 bytes" in str(repaired)
    assert path.stat().st_size == end


@pytest.mark.parametrize("zeros", [1, 41, 4096, 200_000])
def test_a_tail_of_zeros_is_torn(tmp_path: Path, zeros: int) -> None:
    """A length of 0 is invalid, so zeros are no frames."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    with segment_path(folder, 2).open("ab") as segment:
        segment.write(bytes(zeros))

    assert recover(folder) == frames


def test_a_zeroed_page_before_frames_nobody_promised_is_torn(tmp_path: Path) -> None:
    """H33: after the last sync, frames may reach the disk out of order."""
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(1, b"promised")], sync=True)
        for _ in range(3):
            journal.append([(2, b"not promised")])
    frames = read(folder)
    content = bytearray(segment_bytes(folder)[1])
    lost = frames[1]
    content[lost.offset : lost.offset + lost.size] = bytes(lost.size)
    lay_out(folder, {1: bytes(content)})

    assert recover(folder) == frames[:1]


def test_a_zeroed_page_before_a_promised_frame_is_refused(tmp_path: Path) -> None:
    """H33: a valid header of a promised frame behind the damage is the witness."""
    folder = tmp_path / "run"
    with create(folder) as journal:
        for _ in range(3):
            journal.append([(2, b"not promised")])
        journal.append([(1, b"promised, so all before it is")], sync=True)
    frames = read(folder)
    content = bytearray(segment_bytes(folder)[1])
    content[frames[0].offset : frames[2].offset + 5] = bytes(
        frames[2].offset + 5 - frames[0].offset
    )
    lay_out(folder, {1: bytes(content)})

    assert recover(folder) == "JournalCorruptError"
    with pytest.raises(JournalCorruptError, match="lsn 4"):
        reopen(folder)


def test_the_witness_counts_though_its_payload_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(2, b"not promised")])
        journal.append([(1, b"promised")], sync=True)
    first, second = read(folder)
    content = bytearray(segment_bytes(folder)[1])
    content[first.offset + FRAME_HEADER_BYTES] ^= 1
    payload_at = second.offset + FRAME_HEADER_BYTES
    content[payload_at:] = bytes(len(content) - payload_at)
    lay_out(folder, {1: bytes(content)})

    assert recover(folder) == "JournalCorruptError"


def test_frames_inside_a_payload_are_no_witness(tmp_path: Path) -> None:
    """A notebook may read journals: frames of another run inside a payload prove nothing."""
    with Journal.create(tmp_path / "other", run_id="other", key=KEY) as journal:
        for _ in range(20):
            journal.append([(1, b"promised")], sync=True)
    embedded = segment_bytes(tmp_path / "other")[1]
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(2, b"whole")])
        journal.append([(3, embedded)])
    frames = read(folder)
    content = bytearray(segment_bytes(folder)[1])
    content[frames[1].offset + FRAME_HEADER_BYTES] ^= 1
    lay_out(folder, {1: bytes(content)})

    assert recover(folder) == frames[:1]


def test_a_frame_of_an_older_epoch_after_a_newer_one_is_refused(tmp_path: Path) -> None:
    """Two writers, each believing to be the one: fencing by epoch."""
    folder = tmp_path / "run"
    create(folder).close()
    with reopen(folder) as journal:
        journal.append([(1, b"epoch 2")])
        tip = journal._tail
    stale, _ = encode_frames(
        [(2, b"epoch 1")],
        first_lsn=tip.lsn + 1,
        epoch=1,
        previous_tag=tip.tag,
        key=tag_key(KEY, RUN_ID),
        seed=tip.segment.seed,
        promised=False,
    )
    with segment_path(folder, 1).open("ab") as segment:
        segment.write(stale)

    with pytest.raises(JournalCorruptError, match="epoch 1 after epoch 2"):
        reopen(folder)


def test_a_gap_between_lsns_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(1, b"one")])
        journal.append([(2, b"two")])
        journal.append([(3, b"three")])
    one, two, _ = read(folder)
    content = segment_bytes(folder)[1]
    lay_out(folder, {1: content[: two.offset] + content[two.offset + two.size :]})

    with pytest.raises(JournalCorruptError, match="lsn 3 after lsn 1"):
        reopen(folder)
    assert one.lsn == 1


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    segment_path(folder, 1).unlink()

    with pytest.raises(JournalCorruptError, match="missing"):
        reopen(folder)


@pytest.mark.parametrize("size_bytes", [0, 1, SEGMENT_HEADER_BYTES - 1])
@pytest.mark.parametrize("number", [1, 3])
def test_a_torn_segment_header_is_a_torn_tail(tmp_path: Path, size_bytes: int, number: int) -> None:
    """H33. The segment held no frame, so it is made again."""
    folder = tmp_path / "run"
    frames = write_mixed(folder) if number > 1 else []
    folder.mkdir(exist_ok=True)
    segment_path(folder, number).write_bytes(b"DKJRNL\r\n".ljust(size_bytes, b"\0")[:size_bytes])

    assert recover(folder) == frames


def test_a_damaged_segment_header_before_zeros_is_torn_and_before_frames_corrupt(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)

    lay_out(folder, {**whole, 3: b"\1" * SEGMENT_HEADER_BYTES + bytes(5000)})
    assert recover(folder) == frames

    lay_out(folder, {**whole, 3: b"\1" * SEGMENT_HEADER_BYTES + bytes(5000) + b"x"})
    assert recover(folder) == "JournalCorruptError"


@pytest.mark.parametrize("length", [0, PAYLOAD_BYTES_MAX + 1, 1 << 31])
def test_a_length_out_of_bounds_is_damage_though_its_checksums_are_right(
    tmp_path: Path, length: int
) -> None:
    folder = tmp_path / "run"
    with create(folder) as journal:
        journal.append([(1, b"one")])
        journal.append([(2, b"two")], sync=True)
    first = read(folder)[0]
    content = bytearray(segment_bytes(folder)[1])
    seed = seed_of(content)
    fields = list(FRAME_HEADER.unpack_from(content, first.offset))
    fields[0] = length
    fields[2] = 0  # the crc of no bytes
    FRAME_HEADER.pack_into(content, first.offset, *fields)
    fields[1] = header_crc_of(bytes(content), first.offset, seed)
    FRAME_HEADER.pack_into(content, first.offset, *fields)
    lay_out(folder, {1: bytes(content)})

    assert list(whole_frames(bytes(content[first.offset :]), seed)) == []
    assert recover(folder) == "JournalCorruptError"


def seed_of(segment: bytearray) -> int:
    header = decode_segment_header(bytes(segment[:SEGMENT_HEADER_BYTES]))
    assert header is not None
    return header.crc


def test_a_witness_is_found_though_the_bytes_before_it_look_like_half_of_one() -> None:
    """The search for headers goes by the lsn's bytes and the type; candidates may overlap."""
    lsn = 0x8000
    header = bytearray(FRAME_HEADER.size)
    tag = b"decoy tag" + b"\0" + b"\x80" + bytes(5)  # ends as the bytes before a type do
    fields = [7, 0, 0, tag, lsn, PROMISED, 1]
    FRAME_HEADER.pack_into(header, 0, *fields)
    fields[1] = header_crc_of(bytes(header), 0, 5)
    FRAME_HEADER.pack_into(header, 0, *fields)
    tail = b"damage".ljust(20) + bytes(header)

    assert list(promised_headers(tail, 5, lsn)) == [(20, lsn)]


def test_another_version_of_the_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    content = bytearray(segment_bytes(folder)[1])
    fields = list(SEGMENT_HEADER.unpack_from(content))
    fields[1] = 2
    SEGMENT_HEADER.pack_into(content, 0, *fields)
    fields[-1] = crc32(content[: SEGMENT_HEADER_BYTES - 4])
    SEGMENT_HEADER.pack_into(content, 0, *fields)
    lay_out(folder, {1: bytes(content)})

    with pytest.raises(JournalVersionError, match="format 2, but this build reads format 1"):
        reopen(folder)


def test_recovering_twice_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    with segment_path(folder, 2).open("ab") as segment:
        segment.write(b"torn")
    reopen(folder).close()
    recovered = segment_bytes(folder)

    with reopen(folder) as journal:
        assert journal.repaired is None

    assert segment_bytes(folder) == recovered
    assert contents(read(folder)) == contents(frames)
