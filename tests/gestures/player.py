"""Plays gestures: each is done to a kernel, as a person would do it, and to the model.

Then the two are compared: names, numbers, outputs, what was told, the cells of the run, and what
reached the world.
"""

from __future__ import annotations

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
from tests.gestures.cells import Cell, make_cell, mend_or_edit, setup
from tests.gestures.front import Front, Shown
from tests.gestures.model import DifferenceError, ForbiddenError, Model
from tests.gestures.nursery import Nursery

__all__ = ["GESTURES", "Player"]

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

    def play(self, gesture: str, number: int) -> bool:
        """Do one gesture. False: it makes no sense now, and nothing was done.

        Raises DifferenceError or FrontEndError.
        """
        self.draw.seed(f"{self.draw.random()}/{gesture}/{number}")
        try:
            self.follow(gesture)
            done = GESTURES[gesture](self)
        except ForbiddenError:
            return False
        if done:
            self.compare()
        return done

    def compare(self) -> None:
        """Compare what does not depend on the gesture."""
        promised = {n: v for n, v in self.model.run.names.items() if not n.startswith("f")}
        found = eval(self.front.look(NAMES), {})
        if promised != found:
            raise DifferenceError(f"names: {found} there, {promised} promised")
        arrived = Counter(
            (each.kind, each.rid)
            for each in self.witness.arrivals()
            if each.acted or each.kind == "get"
        )
        if arrived != self.model.requests:
            more, less = arrived - self.model.requests, self.model.requests - arrived
            raise DifferenceError(f"requests: {dict(more)} too many, {dict(less)} missing")
        self.compare_run()

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
        asked = [self.front.send(each.source, each.id) for each in cells]
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


# --- gestures: cells ------------------------------------------------------------------------------


def run_next(player: Player) -> bool:
    player.last = (player.last + 1) % len(player.cells)
    player.run_cells([player.cells[player.last]])
    return True


def run_again(player: Player) -> bool:
    player.last = player.some()
    player.run_cells([player.cells[player.last]])
    return True


def edit_and_run(player: Player) -> bool:
    index = max(1, player.some())
    if index >= len(player.cells):
        return False
    player.cells[index] = mend_or_edit(player.draw, player.cells[index])
    player.save()
    player.run_cells([player.cells[index]])
    player.last = index
    return True


def edit(player: Player) -> bool:
    index = max(1, player.some())
    if index >= len(player.cells):
        return False
    player.cells[index] = mend_or_edit(player.draw, player.cells[index])
    player.save()
    return True


def insert(player: Player) -> bool:
    if len(player.cells) >= CELLS_MAX:
        return False
    player.cells.insert(max(1, player.some()), player.new_cell())
    player.save()
    return True


def delete(player: Player) -> bool:
    if len(player.cells) < 4:
        return False
    del player.cells[max(1, player.some())]
    player.last = -1
    player.save()
    return True


def move(player: Player) -> bool:
    if len(player.cells) < 3:
        return False
    cell = player.cells.pop(max(1, player.some()))
    player.cells.insert(player.draw.randrange(1, len(player.cells) + 1), cell)
    player.save()
    return True


def run_all(player: Player) -> bool:
    player.run_cells(list(player.cells))
    player.last = len(player.cells) - 1
    return True


def run_above(player: Player) -> bool:
    """Run the first cells of the notebook, as "Run All Above" does."""
    player.run_cells(player.cells[: max(1, player.some())])
    return True


# --- gestures: starts and stops -------------------------------------------------------------------


def restart(player: Player) -> bool:
    player.front.shut_down(restart=True)
    player.model.restarted()
    player.front.start()
    return True


def restart_and_run_all(player: Player) -> bool:
    trial = player.model.dry()
    trial.restarted()
    trial.ran(list(player.cells), [None] * len(player.cells))
    restart(player)
    return run_all(player)


def shut_down(player: Player) -> bool:
    player.front.shut_down(restart=False)
    player.model.died()
    player.front.start()
    return True


def kill_idle(player: Player) -> bool:
    player.front.kill()
    player.model.died()
    player.front.start()
    return True


def kill_in_cell(player: Player) -> bool:
    """Kill at a request of a cell, before its answer was written down; the next one finishes it."""
    cell = player.new_cell(player.draw.choice(("get", "loop", "acts", "post", "live")))
    if not player.is_set_up or len(player.cells) >= CELLS_MAX:
        return False
    trial = player.model.dry()
    trial.ran([cell], [None])
    calls = list(trial.live_calls)
    if not calls:
        return False
    player.cells.append(cell)
    player.save()
    nth = player.draw.randrange(len(calls))
    stage = "half" if calls[nth][0] == "get" else player.draw.choice(("acted", "half"))
    player.witness.begin_attempt(0, Order(player.front.pid, stage, "", nth + 1))
    asked = player.front.send(cell.source, cell.id)
    player.front.wait_for_death()
    player.witness.drain()
    player.witness.begin_attempt(0, Order())
    player.front.spawn()
    kind, label = calls[nth]
    if kind == "get":
        player.model.requests[kind, label] += 1
    else:
        player.front.wait_until_ready()
        _say_that_it_arrived(player, label, asked)
    shown = player.front.wait(asked, is_reply_due=False)
    shown.reply = shown.reply or {"status": "ok", "execution_count": None}
    player.model.finished(cell, shown)
    player.front.wait_until_ready()
    return True


def _say_that_it_arrived(player: Player, label: str, asked: str) -> None:
    """Answer the doubt about an act: the person looks at the other side, and it is there."""
    path = player.folder / "answer.json"
    answer = player.witness.answer_of(label)
    path.write_text(json.dumps({"status": 200, "json": answer}))
    shown = player.front.shown[asked]
    player.front.until(
        lambda: "its answer was recorded" in shown.told, lambda: f"the doubt: {facts(shown)}"
    )
    told = player.command(f"resolve --answer {path}")
    if told.status != "ok":
        raise DifferenceError(f"resolve: {told.error}")


def kill_in_replay(player: Player) -> bool:
    """Kill a process that is just starting, wherever it is; then go on."""
    player.front.kill()
    player.model.died()
    player.front.spawn()
    player.front.pump(player.draw.randrange(1, 400))
    player.front.kill()
    player.front.start()
    return True


def interrupt(player: Player) -> bool:
    """Stop a cell that waits."""
    if not player.is_set_up:
        return False
    cell = player.new_cell("nap")
    asked = _nap(player, cell)
    player.front.interrupt()
    player.model.ran([cell], [player.front.wait(asked)])
    return True


def restart_in_cell(player: Player) -> bool:
    """Restart while a cell waits: it is left to the user."""
    if not player.is_set_up:
        return False
    cell = player.new_cell("nap")
    _nap(player, cell)
    player.front.shut_down(restart=True)
    player.model.left_open(cell)
    player.front.start()
    return True


def _nap(player: Player, cell: Cell) -> str:
    asked = player.front.send(cell.source, cell.id)
    shown = player.front.shown[asked]
    player.front.until(lambda: "waiting" in shown.text, "the cell's first line")
    return asked


# --- gestures: the run ----------------------------------------------------------------------------


def rewind(player: Player) -> bool:
    done = player.model.run.done
    if not done:
        return False
    position = player.draw.choice(done).position
    repeats_acts = player.draw.random() < 0.3
    told = player.command(f"rewind {position}" + (" --repeat-acts" if repeats_acts else ""))
    if not player.model.rewind(position, repeats_acts=repeats_acts):
        _refused(told, "BranchRefusedError")
    else:
        _done(told)
    return True


def retry(player: Player) -> bool:
    told = player.command("retry")
    if player.model.retry():
        _done(told)
    else:
        _refused(told, "UsageError")
    return True


def fresh(player: Player) -> bool:
    told = player.command("fresh")
    player.model.died()
    player.model.fresh()
    _done(told)
    return True


def undo_fresh(player: Player) -> bool:
    told = player.command("fresh --undo")
    if player.model.undo_fresh():
        _done(told)
    else:
        _refused(told, "UsageError")
    return True


def _done(told: Shown) -> None:
    if told.status != "ok":
        raise DifferenceError(f"refused: {told.error}")


def _refused(told: Shown, name: str) -> None:
    if told.status != "error" or not told.error.startswith(name):
        raise DifferenceError(f"{told.status} {told.error!r}, promised was {name}")


# --- gestures: notebooks --------------------------------------------------------------------------


def new_server(player: Player) -> bool:
    """The server is gone and comes again: another kernel id, and the notebook is opened anew."""
    player.front.kill()
    player.model.died()
    player.front.new_kernel_id()
    player.front.start()
    return True


def rename(player: Player) -> bool:
    """Rename the notebook, and come back to it later under a new server."""
    if not player.model.run.done:
        return False
    player.front.kill()
    player.path = player.path.rename(player.path.with_name(f"renamed {player.made}.ipynb"))
    player.made += 1
    return _opened_elsewhere(player)


def move_folder(player: Player) -> bool:
    if not player.model.run.done:
        return False
    player.front.kill()
    folder = player.path.parent.rename(player.folder / f"moved {player.made}")
    player.path = folder / player.path.name
    player.made += 1
    return _opened_elsewhere(player)


def _opened_elsewhere(player: Player) -> bool:
    player.front.notebook = player.path
    player.model.died()
    player.front.new_kernel_id()
    player.front.start()
    return True


def copy_and_run(player: Player) -> bool:
    """Copy the notebook, and run a cell of the copy: it has a run of its own."""
    player.made += 1
    path = player.path.with_name(f"copy {player.made}.ipynb")
    path.write_bytes(player.path.read_bytes())
    return _elsewhere(player, path)


def second_kernel(player: Player) -> bool:
    """Open the same notebook in another program: its kernel has a run of its own."""
    return _elsewhere(player, player.path)


def _elsewhere(player: Player, path: Path) -> bool:
    other = Front(player.folder, player.nursery, path)
    try:
        other.start()
        first = other.wait(other.send(player.cells[0].source, player.cells[0].id))
        shown = other.wait(
            other.send("y = 1\nprint(sorted(n for n in globals() if n[0] == 'v'))", "z")
        )
        is_told = "own" in first.told or not player.model.run.done
        if shown.text != "[]\n" or shown.count != 2 or not is_told:
            raise DifferenceError(f"another kernel: {shown.text!r} {shown.count} {first.told!r}")
    finally:
        other.close()
    return True


GESTURES: dict[str, Callable[[Player], bool]] = {
    each.__name__.replace("_", " "): each
    for each in (
        run_next,
        run_again,
        edit_and_run,
        edit,
        insert,
        delete,
        move,
        run_all,
        run_above,
        restart,
        restart_and_run_all,
        shut_down,
        kill_idle,
        kill_in_cell,
        kill_in_replay,
        interrupt,
        restart_in_cell,
        rewind,
        retry,
        fresh,
        undo_fresh,
        new_server,
        rename,
        move_folder,
        copy_and_run,
        second_kernel,
    )
}


def facts(shown: Shown) -> dict[str, Any]:
    """What a person needs to look at a finding."""
    return {"reply": shown.reply, "text": shown.text, "told": shown.told, "error": shown.error}
