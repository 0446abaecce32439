"""Authenticity: with the key, only what it signed is read, and a prefix that the user trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from durable_kernel.errors import JournalCorruptError, JournalVersionError, UntrustedRunError
from durable_kernel.journal import Anchor, Journal, measure_anchor, scan
from durable_kernel.journal.format import (
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    NO_TAG,
    SEGMENT_HEADER,
    SEGMENT_HEADER_BYTES,
    decode_segment_header,
    encode_frames,
    encode_segment_header,
    header_crc_of,
    tag_key,
)
from durable_kernel.journal.segments import segment_path
from tests.journal.written import (
    KEY,
    RUN_ID,
    SEGMENT_BYTES_MAX,
    contents,
    create,
    lay_out,
    read,
    segment_bytes,
    write_mixed,
)

OTHER_KEY = b"the key of another user, also 32"


def open_with(folder: Path, key: bytes, anchor: Anchor | None = None) -> Journal:
    return Journal.open(
        folder, run_id=RUN_ID, key=key, anchor=anchor, segment_bytes_max=SEGMENT_BYTES_MAX
    )


def alter_payload(folder: Path, number: int, offset: int) -> None:
    """Change a payload byte and make both checksums right again, as anybody could."""
    content = bytearray(segment_path(folder, number).read_bytes())
    header = decode_segment_header(bytes(content[:SEGMENT_HEADER_BYTES]))
    assert header is not None
    content[offset + FRAME_HEADER_BYTES] ^= 1
    fields = list(FRAME_HEADER.unpack_from(content, offset))
    body = offset + FRAME_HEADER_BYTES
    fields[2] = crc32(content[body : body + fields[0]])
    FRAME_HEADER.pack_into(content, offset, *fields)
    fields[1] = header_crc_of(bytes(content), offset, header.crc)
    FRAME_HEADER.pack_into(content, offset, *fields)
    segment_path(folder, number).write_bytes(content)


def test_a_foreign_key_reads_nothing(tmp_path: Path) -> None:
    """H1, rule 8."""
    write_mixed(tmp_path / "run")

    with pytest.raises(UntrustedRunError, match="run-7"):
        next(scan(tmp_path / "run", run_id=RUN_ID, key=OTHER_KEY))
    with pytest.raises(UntrustedRunError):
        open_with(tmp_path / "run", OTHER_KEY)


def test_without_a_key_anybody_may_check_the_bytes(tmp_path: Path) -> None:
    frames = write_mixed(tmp_path / "run")

    assert list(scan(tmp_path / "run")) == frames


def test_an_empty_foreign_journal_is_foreign_too(tmp_path: Path) -> None:
    create(tmp_path / "run").close()

    with pytest.raises(UntrustedRunError):
        open_with(tmp_path / "run", OTHER_KEY)


def test_the_key_belongs_to_one_run(tmp_path: Path) -> None:
    """A journal renamed to another run's id is not that run's."""
    write_mixed(tmp_path / "run")

    with pytest.raises(UntrustedRunError):
        list(scan(tmp_path / "run", run_id="run-8", key=KEY))
    assert tag_key(KEY, "run-8") != tag_key(KEY, RUN_ID)


def test_an_altered_payload_with_right_checksums_is_untrusted(tmp_path: Path) -> None:
    """The last frame as well: it is not taken for a torn tail."""
    frames = write_mixed(tmp_path / "run")
    whole = segment_bytes(tmp_path / "run")

    for frame in frames:
        lay_out(tmp_path / "run", whole)
        alter_payload(tmp_path / "run", frame.segment, frame.offset)

        assert len(list(scan(tmp_path / "run"))) == len(frames)
        with pytest.raises(UntrustedRunError) as caught:
            open_with(tmp_path / "run", KEY)
        assert caught.value.offset == frame.offset


def test_a_frame_appended_by_somebody_without_the_key_is_untrusted(tmp_path: Path) -> None:
    """H1: one forged frame at the end of an authentic run would execute when it is opened."""
    frames = write_mixed(tmp_path / "run")
    last = segment_path(tmp_path / "run", 2)
    header = decode_segment_header(last.read_bytes()[:SEGMENT_HEADER_BYTES])
    assert header is not None
    forged, _ = encode_frames(
        [(1, b"import os; os.system('...')")],
        first_lsn=frames[-1].lsn + 1,
        epoch=9,
        previous_tag=NO_TAG,
        key=tag_key(OTHER_KEY, RUN_ID),
        seed=header.crc,
        promised=True,
    )
    with last.open("ab") as segment:
        segment.write(forged)

    with pytest.raises(UntrustedRunError):
        open_with(tmp_path / "run", KEY)


def test_an_altered_segment_header_is_untrusted(tmp_path: Path) -> None:
    write_mixed(tmp_path / "run")
    content = bytearray(segment_bytes(tmp_path / "run")[2])
    fields = list(SEGMENT_HEADER.unpack_from(content))
    fields[6] = 3  # the epoch, which the next opener would build on
    SEGMENT_HEADER.pack_into(content, 0, *fields)
    fields[-1] = crc32(content[: SEGMENT_HEADER_BYTES - 4])
    SEGMENT_HEADER.pack_into(content, 0, *fields)
    segment_path(tmp_path / "run", 2).write_bytes(content)

    with pytest.raises((UntrustedRunError, JournalCorruptError)):
        open_with(tmp_path / "run", KEY)


def test_a_trusted_foreign_run_goes_on_under_the_own_key(tmp_path: Path) -> None:
    """H1: trust accepts exactly these bytes; what follows is signed with the own key."""
    folder = tmp_path / "run"
    foreign = write_mixed(folder)

    anchor = measure_anchor(folder)
    for serial in range(12):
        with open_with(folder, OTHER_KEY, anchor) as journal:
            journal.append([(20, b"%d" % serial * 100)], sync=True)

    assert anchor.lsn == foreign[-1].lsn
    frames = list(scan(folder, run_id=RUN_ID, key=OTHER_KEY, anchor=anchor))
    assert frames[: len(foreign)] == foreign
    assert [frame.type for frame in frames[len(foreign) :]] == [20] * 12
    assert frames[-1].segment > 2


def test_any_altered_byte_of_a_trusted_prefix_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    prefix = segment_bytes(folder)
    anchor = measure_anchor(folder)
    with open_with(folder, OTHER_KEY, anchor) as journal:
        journal.append([(20, b"mine")])
    whole = segment_bytes(folder)

    for number, content in prefix.items():
        for at in range(len(content)):
            flipped = bytearray(whole[number])
            flipped[at] ^= 4
            lay_out(folder, {**whole, number: bytes(flipped)})

            with pytest.raises((UntrustedRunError, JournalCorruptError, JournalVersionError)):
                list(scan(folder, run_id=RUN_ID, key=OTHER_KEY, anchor=anchor))


def test_an_altered_trusted_payload_with_right_checksums_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    anchor = measure_anchor(folder)
    alter_payload(folder, frames[3].segment, frames[3].offset)

    with pytest.raises(UntrustedRunError):
        open_with(folder, OTHER_KEY, anchor)


def test_a_trusted_prefix_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    """At a frame's border and within a frame: what was trusted is no torn tail."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    anchor = measure_anchor(folder)
    whole = segment_bytes(folder)

    lay_out(folder, {**whole, 2: whole[2][: frames[-1].offset]})
    with pytest.raises(UntrustedRunError):
        open_with(folder, OTHER_KEY, anchor)

    lay_out(folder, {**whole, 2: whole[2][:-1]})
    with pytest.raises(JournalCorruptError, match="trusted"):
        open_with(folder, OTHER_KEY, anchor)


def test_an_anchor_for_other_bytes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    anchor = measure_anchor(folder)

    for wrong in (replace(anchor, digest=bytes(32)), replace(anchor, tag=bytes(16))):
        with pytest.raises(UntrustedRunError):
            open_with(folder, OTHER_KEY, wrong)


def test_frames_behind_the_anchor_need_the_own_key(tmp_path: Path) -> None:
    """The sender kept writing after the trust: those bytes were not looked at."""
    folder = tmp_path / "run"
    write_mixed(folder)
    anchor = measure_anchor(folder)
    with open_with(folder, KEY) as journal:
        journal.append([(21, b"later")])

    with pytest.raises(UntrustedRunError):
        open_with(folder, OTHER_KEY, anchor)


def test_a_foreign_run_without_frames_can_be_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    create(folder).close()
    anchor = measure_anchor(folder)

    with open_with(folder, OTHER_KEY, anchor) as journal:
        journal.append([(1, b"mine")])

    assert anchor.lsn == 0
    assert contents(scan(folder, run_id=RUN_ID, key=OTHER_KEY, anchor=anchor)) == [(1, b"mine")]


def test_an_empty_last_segment_of_a_trusted_run_is_dropped(tmp_path: Path) -> None:
    """The sender died right after rotating. The segment says nothing, under a key we lack."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    empty = encode_segment_header(
        RUN_ID,
        number=3,
        first_lsn=frames[-1].lsn + 1,
        epoch=3,
        previous_tag=measure_anchor(folder).tag,
        key=tag_key(KEY, RUN_ID),
    )
    segment_path(folder, 3).write_bytes(empty)
    anchor = measure_anchor(folder)

    with open_with(folder, OTHER_KEY, anchor) as journal:
        journal.append([(20, b"mine")])

    assert contents(scan(folder, run_id=RUN_ID, key=OTHER_KEY, anchor=anchor)) == [
        *contents(frames),
        (20, b"mine"),
    ]


def test_truncation_at_a_frame_border_is_not_detectable(tmp_path: Path) -> None:
    """A limit, stated in the threat model: every prefix of an authentic journal is authentic."""
    folder = tmp_path / "run"
    frames = write_mixed(folder)
    whole = segment_bytes(folder)
    lay_out(folder, {**whole, 2: whole[2][: frames[-1].offset]})

    assert read(folder) == frames[:-1]
