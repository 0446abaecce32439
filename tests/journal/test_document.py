"""docs/journal-format.md says what the code does: tables, constants, file names and the example."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from durable_kernel.journal import blobs, format as layout, inbox, lock, segments, writer
from tests.journal.written import create, write_mixed

DOCUMENT = Path(__file__).parents[2] / "docs" / "journal-format.md"


def section(title: str) -> str:
    """Return the text under a heading, up to the next one."""
    (text,) = re.findall(
        rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(text)


def rows(title: str) -> list[list[str]]:
    """Return the cells of the section's first table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return cells[2:]


@pytest.mark.parametrize(
    ("title", "packed"),
    [
        ("Segment header", layout.SEGMENT_HEADER),
        ("Frame", layout.FRAME_HEADER),
        ("Message", inbox.MESSAGE_HEADER),
    ],
)
def test_the_tables_of_fields_are_the_formats_of_the_code(
    title: str, packed: struct.Struct
) -> None:
    fixed = [row for row in rows(title) if row[2]]

    assert "<" + "".join(row[2] for row in fixed) == packed.format
    place = 0
    for offset, size_bytes, code, *_ in fixed:
        assert (int(offset), int(size_bytes)) == (place, struct.calcsize("<" + code))
        place += int(size_bytes)
    assert place == packed.size


def test_the_table_of_constants_is_the_code() -> None:
    for name, value, _ in rows("Constants"):
        places = [module for module in (layout, segments, writer) if hasattr(module, name)]
        assert places, name
        assert {getattr(module, name) for module in places} == {int(value)}, name


def test_the_bounds_in_the_tables_are_the_constants() -> None:
    meanings = {row[3]: row[4] for row in rows("Frame") + rows("Segment header")}

    assert f"1 to {layout.PAYLOAD_BYTES_MAX};" in meanings["length"]
    assert f"0 to {layout.TYPE_MAX}, and {layout.PROMISED}" in meanings["type"]
    assert meanings["run id length"] == f"1 to {layout.RUN_ID_BYTES_MAX}"
    assert meanings["version"] == str(layout.VERSION)
    assert (
        f"bytes {layout.FRAME_CRC_END} to {layout.FRAME_HEADER_BYTES - 1}"
        in (meanings["header crc"])
    )


def test_the_magics_are_those_of_the_code() -> None:
    for title, magic in (("Segment header", layout.MAGIC), ("Message", inbox.MESSAGE_MAGIC)):
        meaning = rows(title)[0][4]

        assert meaning.startswith(f"{magic.hex(' ')}`")
        assert magic.decode().strip() in meaning


def test_the_context_of_the_key_is_that_of_the_code() -> None:
    assert f'context "{layout.KEY_CONTEXT}"' in section("Tags")
    assert f"bytes 0 to {layout.SEGMENT_SIGNED_BYTES - 1} of the segment header" in section("Tags")


def test_the_example_is_what_the_code_writes() -> None:
    key = layout.tag_key(b"k" * 32, "example")
    header = layout.encode_segment_header(
        "example", number=1, first_lsn=1, epoch=1, previous_tag=layout.NO_TAG, key=key
    )
    decoded = layout.decode_segment_header(header)
    assert decoded is not None
    frame, _ = layout.encode_frames(
        [(3, b"hello")],
        first_lsn=1,
        epoch=1,
        previous_tag=decoded.tag,
        key=key,
        seed=decoded.crc,
        promised=True,
    )

    dumped = re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)$", section("Example"), re.MULTILINE)

    assert bytes.fromhex("".join(dumped)) == header + frame


def test_every_file_of_a_run_stands_in_the_table_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_mixed(folder)
    (folder / "seg-00000003.dkj").write_bytes(b"torn")
    with create(tmp_path / "other"):
        pass
    with writer.Journal.open(folder, run_id="run-7", key=b"the key of one user, 32 bytes...."):
        inbox.Inbox(folder / segments.INBOX_NAME, b"k" * 32).put("name", b"payload")
    table = "\n".join(row[0] for row in rows("The folder of a run"))

    for path in folder.iterdir():
        name = re.sub(r"seg-\d+\.dkj\.\d+-\w+\.torn", "seg-….dkj.<offset>-<digest>.torn", path.name)
        name = re.sub(r"seg-\d+\.dkj$", "seg-00000001.dkj", name)
        assert name in table, path.name
    assert lock.LOCK_NAME in table
    assert f"{segments.BLOBS_NAME}/{blobs.UNFINISHED_NAME}/" in table
    assert segments.TEMPORARY_SUFFIX in table


def test_the_document_names_every_codec_and_level() -> None:
    assert f"`{blobs.RAW}`, or `{blobs.ZSTD}`" in section("Blobs").replace("\n", " ")
    named = {row[0] for row in re.findall(r"^\| `(\w+)`()", section("Writing"), re.MULTILINE)}
    assert named == {level.value for level in writer.Level}
