"""Outputs of 100 MB: shown, journaled as blobs, and shown again, in a few hundred MB of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel, Shown
from tests.kernel.sitting import is_told_by_us

pytestmark = pytest.mark.slow

SIZE = 100_000_000
PEAK_BYTES_MAX = 800_000_000
"""The stock kernel takes 430 MB for such a text: its message exists as text, as JSON and sent."""

LARGE = {
    "text": f"for n in range(1_000): print(('x' * 99 + '\\n') * {SIZE // 100_000}, end='')",
    "a display": "from IPython.display import display\n"
    f"display({{'text/plain': 'd' * {SIZE}}}, raw=True)",
    "a hundred thousand prints": "for n in range(100_000): print(n)",
}


def _peak_bytes(kernel: LiveKernel) -> int:
    assert kernel.process is not None
    status = Path(f"/proc/{kernel.process.pid}/status").read_text(encoding="ascii")
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _displays(shown: Shown) -> list[str]:
    """What the cell displayed, without what is told of a restoration that takes its time."""
    return [
        kind
        for kind, content in shown.outputs
        if kind != "stream" and not is_told_by_us(kind, content)
    ]


@pytest.mark.parametrize("what", LARGE)
def test_a_very_large_output_is_there_again_after_a_kill(start: Start, what: str) -> None:
    kernel = start()
    shown = kernel.run(LARGE[what])
    peak = _peak_bytes(kernel)
    kernel.kill()

    kernel.start()
    again = kernel.run(LARGE[what])

    journal = sum(each.stat().st_size for each in (kernel.folder / "home").rglob("*.dkj"))
    assert again.text() == shown.text()
    assert _displays(again) == _displays(shown)
    assert max(peak, _peak_bytes(kernel)) < PEAK_BYTES_MAX
    assert journal < SIZE // 10
    assert again.reply["execution_count"] == 1
