"""Plays gestures: each is done to a kernel, as a person would do it, and to the model.

Then the two are compared: names, numbers, outputs, what was told, the cells of the run, and what
reached the world.
"""

from __future__ import annotations

import ast
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from durable_kernel.history import Outline
from durable_kernel.runtime.finding import records_of
from durable_kernel.store import Store
from tests.crash.witness import Order, Witness
from tests.gestures.cells import Cell, make_cell, setup
from tests.gestures.front import Front, Shown
from tests.gestures.model import DifferenceError, ForbiddenError, Model
from tests.gestures.nursery import Nursery

__all__ = ["CELLS_MAX", "Player", "facts"]

NAMES = "{n: v for n, v in globals().items() if n == 'trace' or n[0] == 'v' and n[1:].isdigit()}"
CELLS_MAX = 9


class Player:
    """One notebook, its window, its kernels, and the model of all that."""

    def __init__(self, seed: str, folder: Path, nursery: Nursery | None, witness: Witness) -> None:
        self.draw = random.Random(seed)
        self.witness = witness
        self.model = Model()
        self.folder = folder
        self.made = 0
        self.follow: Callable[[str], None] = lambda _line: None
        (folder / "work").mkdir(parents=True)
        self.path = folder / "work" / "notebook.ipynb"
        self.cells: list[Cell] = [setup(witness.origin)]
        for _ in range(self.draw.randrange(3, 6)):
            self.cells.append(self.new_cell())
        self.last = -1
        witness.forget()
        witness.begin_attempt(0, Order())
        self.save()
        self.front = Front(folder, nursery, self.path)
        self.nursery = nursery
        self.store = Store(folder / "home")
        self.front.start()

    def close(self) -> None:
        self.front.close()

    def new_cell(self, kind: str | None = None) -> Cell:
        self.made += 1
        return make_cell(self.draw, f"c{self.made}", kind)

    def save(self) -> None:
        """Write the notebook as front ends do."""
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "id": each.id,
                "source": each.source,
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            for each in self.cells
        ]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        self.path.write_text(json.dumps(content))

    # --- one gesture ------------------------------------------------------------------------------

    def play(self, name: str, gesture: Callable[[Player], bool], number: int) -> bool:
        """Do one gesture. False: it makes no sense now, and nothing was done.

        Raises DifferenceError or FrontEndError.
        """
        self.draw.seed(f"{self.draw.random()}/{name}/{number}")
        try:
            self.follow(name)
            done = gesture(self)
        except ForbiddenError:
            return False
        if done:
            self.compare()
        return done

    def compare(self) -> None:
        """Compare what does not depend on the gesture."""
        self.compare_names(self.front)
        arrived = Counter(
            (each.kind, each.rid)
            for each in self.witness.arrivals()
            if each.acted or each.kind == "get"
        )
        if arrived != self.model.requests:
            more, less = arrived - self.model.requests, self.model.requests - arrived
            raise DifferenceError(f"requests: {dict(more)} too many, {dict(less)} missing")
        self.compare_run()

    def compare_names(self, front: Front) -> None:
        promised = {n: v for n, v in self.model.run.names.items() if not n.startswith("f")}
        found = ast.literal_eval(front.look(NAMES))
        if promised != found:
            raise DifferenceError(f"names: {found} there, {promised} promised")

    def compare_run(self) -> None:
        promised = [(d.position, d.cell.source, d.count, d.status) for d in self.model.run.done]
        place = self.store.lookup(kernel_id=self.front.kernel_id, notebook=None)
        if place is None:
            raise DifferenceError("no run belongs to this kernel")
        outline = Outline.of(
            self.store.frames(place), records_of(self.store, place.run_id, with_objects=False)
        )
        found = [
            (
                each.position,
                each.cell.code,
                each.committed.execution_count,
                each.committed.status,
            )
            for each in outline.positions
            if each.committed is not None and not each.is_input
        ]
        if promised != found:
            raise DifferenceError(f"cells of the run: {found} there, {promised} promised")

    # --- what gestures are made of ----------------------------------------------------------------

    def run_cells(self, cells: list[Cell]) -> None:
        """Send cells in a row, and let the model see what came."""
        self.model.dry().ran(cells, [None] * len(cells))  # raises ForbiddenError
        self.front.typed = [str(self.draw.randrange(10**6)) for _ in cells]
        asked = self.front.send_together([(each.source, each.id) for each in cells])
        shown = [self.front.wait(each) for each in asked]
        for cell, each in zip(cells, shown, strict=True):
            said = (each.status, each.count, each.text, each.error, each.told)
            self.follow(f"  {cell.id} {cell.kind} {cell.label}: {said}")
        self.model.ran(cells, shown)

    def command(self, line: str) -> Shown:
        """Ask the kernel about the run, once that is there."""
        self.front.look("0")
        return self.front.wait(self.front.send(f"%durable {line}", None))

    def some(self) -> int:
        return self.draw.randrange(len(self.cells))

    @property
    def is_set_up(self) -> bool:
        return "trace" in self.model.run.names


def facts(shown: Shown) -> dict[str, Any]:
    """What a person needs to look at a finding."""
    return {"reply": shown.reply, "text": shown.text, "told": shown.told, "error": shown.error}
