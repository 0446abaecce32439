"""Row 3: bytes on disk, per clock read and per step, frame headers included."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.session import Session, journal_bytes

__all__ = ["measure"]

_CELLS = {
    "clock": "import time\nfor _ in range(n):\n    time.time()",
    "step": "from durable_kernel import step\nfor i in range(n):\n    step(fetch, i)",
    "sparse": "import time\nfor _ in range(n):\n    time.time()\n    print(end='.')",
    "printed": "for _ in range(n):\n    print(end='.')",
}


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Run cells of n reads, of n steps, and of n reads with an output behind each."""
    driver = Session(folder).open("sizes")
    driver.namespace["fetch"] = _fetch
    found = Rounds("B")
    counts = {
        "clock": effort.pick(50_000, 50_000, 500),
        "step": effort.pick(500, 100, 5),
        "sparse": effort.pick(500, 100, 5),
        "printed": effort.pick(500, 100, 5),
    }
    for _ in range(effort.pick(5, 3, 2)):
        sizes = {}
        for name, source in _CELLS.items():
            driver.namespace["n"] = counts[name]
            before = journal_bytes(driver)
            driver.execute(source)
            sizes[name] = (journal_bytes(driver) - before) / counts[name]
        found.add(**sizes)
    driver.run.close()
    return [
        found.figure(
            "3",
            "bytes per clock read",
            lambda m: m["clock"],
            unit="B",
            budget=Budget(12),
            sides=("clock",),
        ),
        found.figure(
            "3",
            "bytes per step that returns a small number",
            lambda m: m["step"],
            unit="B",
            budget=Budget(150),
            sides=("step",),
        ),
        found.figure(
            "3",
            "bytes per clock read with an output behind each: a frame of its own",
            lambda m: m["sparse"] - m["printed"],
            unit="B",
            sides=("sparse", "printed"),
        ),
    ]


def _fetch(i: int) -> int:
    return i * 2
