"""Modules: the source of project code, kept with the position that loaded it (H25).

Live, what a module or script says is recorded when it is loaded. On replay it is loaded as it was
recorded, whatever the file says by now, so old positions never run with new code. Where the file
says something else than what was loaded last, that is told, with the ways to go on:

    eager     the state is restored with the recorded code; the user decides
    match     the first position that loaded it counts as edited (`edited_at`)

Records are taken by name, in their order, whichever lane asks: imports are locked by Python, and
which thread comes first is no decision of the notebook. A record that its own position did not ask
for is kept for the next ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from durable_kernel.errors import BranchRefusedError
from durable_kernel.history import Loaded, Outline, PositionHistory, PositionOutline
from durable_kernel.ports import CURRENT_LANE
from durable_kernel.runtime.packages import Packages
from durable_kernel.runtime.port import RunPort
from durable_kernel.runtime.storing import Storing

__all__ = ["ProjectModules", "explaining_edits"]


@dataclass(slots=True)
class _Known:
    """What is known of one module: who loaded it first, and whether its file says it still."""

    position: int
    path: str
    is_changed: bool = False


class ProjectModules:
    """A `ports.Sources` for one run."""

    def __init__(self, port: RunPort, storing: Storing) -> None:
        self.packages = Packages()
        self._port = port
        self._storing = storing
        self._expected: dict[str, deque[Loaded]] = {}
        self._last: dict[str, Loaded] = {}
        self._known: dict[str, _Known] = {}
        self._first: dict[int, dict[str, tuple[str, str]]] | None = None
        self._is_told = True
        self._is_cell_running = False

    def begin(self, history: PositionHistory | None) -> None:
        """Begin a position; None: a new one, live."""
        self._is_cell_running = True
        if history is None:
            self._expected.clear()
        for each in history.loads if history is not None else ():
            self._expected.setdefault(each.name, deque()).append(each)

    def end(self) -> None:
        self._is_cell_running = False

    # --- ports.Sources ----------------------------------------------------------------------------

    def load(self, name: str, path: str, on_disk: bytes | None) -> bytes | None:
        """As the port says. On replay what is not recorded here is what was loaded last.

        What was never recorded is read from the disk.
        """
        if not self._is_cell_running and CURRENT_LANE.get() is None:
            return None
        position = self._port.position
        waiting = self._expected.get(name)
        if waiting:
            self._last[name] = waiting.popleft()
            source = self._storing.source_of(self._last[name])
            known = self._known.setdefault(name, _Known(position, path))
            known.is_changed, self._is_told = on_disk != source, False
            return source
        if not self._port.is_live and name in self._last:
            return self._storing.source_of(self._last[name])
        if on_disk is None or not self._port.is_live:
            return None
        self._port.write_soon(self._storing.loaded(name, path, on_disk))
        self._known.setdefault(name, _Known(position, path)).is_changed = False
        return on_disk

    def path_of(self, name: str) -> str | None:
        waiting = self._expected.get(name)
        return waiting[0].path if waiting else None

    # --- what was edited --------------------------------------------------------------------------

    def expects(self, name: str) -> bool:
        """Tell whether the running position is recorded to load this module (again)."""
        return bool(self._expected.get(name))

    def is_changed(self, name: str) -> bool:
        """Tell whether the file said something else when the module was loaded on replay."""
        return name in self._known and self._known[name].is_changed

    def changed(self) -> dict[str, int]:
        """Modules whose file differs from what was loaded last, and who loaded them first."""
        return {name: each.position for name, each in self._known.items() if each.is_changed}

    def news(self) -> list[str]:
        """Say, once, which modules differ from what replay used, and which packages."""
        told = self.packages.news()
        changed = self.changed()
        if self._is_told or not changed:
            return told
        self._is_told = True
        listed = ", ".join(f"{name} (cell {position})" for name, position in changed.items())
        sentence = (
            f"changed since a cell loaded it: {listed}. The state was restored with what the cell "
            "loaded then. importlib.reload() takes the new source from here on; `%durable restore "
            f"--edited` goes back to the state before cell {min(changed.values())}, to run the "
            "cells again with it."
        )
        return [sentence, *told]

    def has_edited(self, left: PositionOutline) -> bool:
        """Tell whether a module that an attempt loaded was edited since."""
        last = {name: (path, digest) for name, path, digest in left.loads}
        return any(_differing(last.items(), self._storing.digest))

    def edited_at(self, position: int, outline: Outline) -> list[str]:
        """Name the modules that count as an edit of this position: it loaded them first.

        Their files are read now, and compared with what was loaded last. One that is gone is no
        edit.
        """
        if self._first is None:
            self._first = _by_first_load(outline)
        return list(_differing(self._first.get(position, {}).items(), self._storing.digest))


@contextmanager
def explaining_edits(names: Sequence[str]) -> Iterator[None]:
    """Say in a refused branch which modules were edited: the cell itself may be as it was."""
    try:
        yield
    except BranchRefusedError as error:
        if not names:
            raise
        choices = (
            f"{', '.join(names)} was edited since that cell loaded it, and going on with the new "
            "code may do that again. Nothing was executed. Put the old code back, allow it with "
            "`--repeat-acts`, or start anew with `--fresh`."
        )
        raise BranchRefusedError(error.position, error.acts, choices) from None


def _by_first_load(outline: Outline) -> dict[int, dict[str, tuple[str, str]]]:
    """Map positions to the modules that they loaded first, with path and last known digest."""
    first: dict[str, int] = {}
    found: dict[int, dict[str, tuple[str, str]]] = {}
    for position in outline.positions:
        for name, path, digest in position.loads:
            at = first.setdefault(name, position.position)
            found.setdefault(at, {})[name] = (path, digest)
    return found


def _differing(
    recorded: Iterable[tuple[str, tuple[str, str]]], digest: Callable[[bytes], str]
) -> Iterable[str]:
    for name, (path, known) in recorded:
        try:
            found = digest(Path(path).read_bytes())
        except OSError:
            continue
        if found != known:
            yield name
