"""Row 7: from the start of a process to its first kernel_info_reply, stock and durable in turn."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.kernels import Kernel

__all__ = ["measure"]


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Start and stop kernels, each with a run and profile of its own; the first pair is dropped."""
    found, cpu = Rounds("ms"), Rounds("ms")
    for index in range(effort.pick(21, 11, 2)):
        sample, taken = {}, {}
        kinds = ("stock", "durable") if index % 2 else ("durable", "stock")
        for kind in kinds:
            kernel = Kernel(folder / f"{kind}-{index}", kind)
            try:
                sample[kind] = kernel.start() * 1e3
                taken[kind] = kernel.cpu_seconds() * 1e3
            finally:
                kernel.stop()
        if index:
            found.add(**sample)
            cpu.add(**taken)
    return [
        found.figure(
            "7",
            "start to kernel_info_reply: durable - stock",
            lambda m: m["durable"] - m["stock"],
            unit="ms",
            budget=Budget(150),
        ),
        cpu.figure(
            "7",
            "CPU time until then: durable - stock",
            lambda m: m["durable"] - m["stock"],
            unit="ms",
        ),
    ]
