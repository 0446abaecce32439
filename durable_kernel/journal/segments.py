"""Where the files of a run's journal are. Names only; nothing is opened here."""

from __future__ import annotations

import re
from pathlib import Path

from durable_kernel.errors import JournalCorruptError

BALLAST_NAME = "ballast"
BALLAST_BYTES = 64 << 10
BLOBS_NAME = "blobs"
INBOX_NAME = "inbox"
SEGMENT_NAME = re.compile(r"seg-(\d{8})\.dkj")
TEMPORARY_SUFFIX = ".tmp"
TORN_SUFFIX = ".torn"


def segment_path(folder: Path, number: int) -> Path:
    """Return where segment `number` (from 1) is."""
    return folder / f"seg-{number:08d}.dkj"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments, ascending; [] when the folder holds none.

    Raises JournalCorruptError when one is missing between 1 and the highest.
    """
    numbers = sorted(
        int(found[1])
        for path in folder.iterdir()
        if (found := SEGMENT_NAME.fullmatch(path.name)) is not None
    )
    for expected, number in enumerate(numbers, 1):
        if number != expected:
            missing = segment_path(folder, expected)
            raise JournalCorruptError(missing, 0, f"this segment is missing, {number} is there")
    return numbers
