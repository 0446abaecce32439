"""Surroundings: what belongs to the process and not to a run.

The hooks, the world, the generators, the clocks.

`prepare()` is the first thing a kernel process does, before IPython: references to a clock taken
later are hooked ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from durable_kernel import effects
from durable_kernel.effects import (
    clocks as clock_hooks,
    detector,
    generators as generator_hooks,
    modules,
)
from durable_kernel.ports import Sources
from durable_kernel.runtime.world import Generators, World

__all__ = ["Clocks", "Surroundings", "prepare"]


class Clocks(Protocol):
    """The process's monotonic-type clocks (`durable_kernel.effects.clocks`)."""

    def set_offsets(self, last: Mapping[str, float]) -> None: ...

    def reading(self) -> Mapping[str, float]: ...

    def wall_behind_s(self, last: Mapping[str, float]) -> float: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Handles of everything that was hooked in this process."""

    world: World
    generators: Generators
    clocks: Clocks
    seed: Callable[[bytes], None]
    exclude: Callable[[Iterable[Path]], None]
    """Folders that the kernel itself writes: what happens there is no cell's crossing."""
    keep_sources: Callable[[Sources | None], None]
    """Who keeps the source of project code that is loaded."""


def prepare(*, wall_ns: Callable[[], int] | None = None) -> Surroundings:
    """Install the hooks. No run is known yet, so everything passes through until one is opened.

    A second call gives new surroundings on the same hooks. `wall_ns` is the clock of records and
    time bounds; None: the machine's.
    """
    world = World(generator_hooks, wall_ns=wall_ns) if wall_ns else World(generator_hooks)
    effects.install(world)
    return Surroundings(
        world,
        generator_hooks,
        clock_hooks,
        generator_hooks.seed_genesis,
        detector.exclude,
        modules.keep_in,
    )
