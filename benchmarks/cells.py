"""Row 1: a `pass` cell from request to reply, in real kernels that take turns cell by cell.

A durable cell ends in one sync of its commit (rule 4), so it is compared with the stock kernel plus
one sync of 200 bytes, measured in the same round on the journal's disk. In level fast nothing is
waited for.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Budget, Effort, Figure, Rounds
from benchmarks.kernels import Kernel
from benchmarks.machine import SyncProbe

__all__ = ["measure"]

_WARM_UP = 15


def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Run cells on a stock kernel and on durable ones of two levels, in changing order."""
    found = Rounds("ms")
    with ExitStack() as stack:
        probe = stack.enter_context(SyncProbe(folder))
        kernels = {
            "stock": stack.enter_context(Kernel(folder / "stock", "stock")),
            "durable": stack.enter_context(Kernel(folder / "durable", "durable")),
            "fast": stack.enter_context(
                Kernel(folder / "fast", "durable", DURABLE_DURABILITY="fast")
            ),
        }
        for kernel in kernels.values():
            for _ in range(effort.pick(_WARM_UP, _WARM_UP, 1)):
                kernel.execute("pass")
        for index in range(effort.pick(600, 150, 3)):
            names = list(kernels)
            turn = index % len(names)
            sample = {"sync": probe.seconds() * 1e3}
            for name in names[turn:] + names[:turn]:
                sample[name] = kernels[name].execute("pass") * 1e3
            found.add(**sample)
    return [
        found.figure(
            "1",
            "`pass` cell, level default / (stock + one sync)",
            lambda m: m["durable"] / (m["stock"] + m["sync"]),
            budget=Budget(1.10),
            sides=("stock", "sync", "durable"),
        ),
        found.figure(
            "1",
            "`pass` cell, level fast / stock",
            lambda m: m["fast"] / m["stock"],
            budget=Budget(1.10),
            sides=("stock", "fast"),
        ),
    ]
