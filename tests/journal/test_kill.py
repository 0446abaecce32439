"""kill -9 of a real writer: every frame it said it had written is there, and none is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from durable_kernel.journal import Journal, is_locked, scan

KEY = b"k" * 32

WRITER = """
import os, sys
from pathlib import Path
from durable_kernel.journal import Journal
from tests.journal.test_kill import KEY, batch_at
journal = Journal.open(Path(sys.argv[1]), run_id="killed", key=KEY, segment_bytes_max=600_000)
while True:
    lsn = journal.append(batch_at(journal.next_lsn), sync=journal.next_lsn % 51 == 0)
    os.write(1, b"%d\\n" % lsn)
"""


def batch_at(lsn: int) -> list[tuple[int, bytes]]:
    """Return what is written from `lsn` on; now and then a frame that a kill can cut."""
    size_bytes = 300_000 if lsn % 13 == 0 else 10 + lsn % 100
    return [frame_at(lsn, size_bytes), frame_at(lsn + 1, 20)]


def frame_at(lsn: int, size_bytes: int) -> tuple[int, bytes]:
    return lsn % 100, (b"%d;" % lsn).ljust(size_bytes, b"%d" % (lsn % 10))


def kill_after(folder: Path, acknowledgements: int) -> int:
    """Let a writer run, kill it, and return the last lsn that it had acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline() for _ in range(acknowledgements)]
    writer.send_signal(signal.SIGKILL)
    said += writer.stdout.readlines()  # what it still said before it died
    writer.stdout.close()
    writer.wait()
    return int(said[-1])


def test_kill_9_loses_no_acknowledged_frame(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Journal.create(folder, run_id="killed", key=KEY).close()

    for kills, acknowledgements in enumerate((1, 7, 19, 38, 60, 91, 140, 333), 1):
        acknowledged = kill_after(folder, acknowledgements)

        assert is_locked(folder) is None
        frames = list(scan(folder, run_id="killed", key=KEY))
        assert frames[-1].lsn >= acknowledged
        assert [frame.lsn for frame in frames] == list(range(1, len(frames) + 1))
        assert all(frame.payload.startswith(b"%d;" % frame.lsn) for frame in frames)
        assert all(frame.type == frame.lsn % 100 for frame in frames)
        assert frames[-1].epoch <= kills + 1

    assert len(list(folder.glob("seg-*.dkj"))) > 1
