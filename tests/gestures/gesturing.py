"""Gestures: what people do to a notebook and its kernel, one function each.

Each does it to the front end and to the model. It returns False where it makes no sense now, and
then nothing was done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from durable_kernel.sharing import fork_run
from tests.crash.witness import Order
from tests.gestures.cells import Cell, mend_or_edit
from tests.gestures.front import Front, Shown
from tests.gestures.model import DifferenceError
from tests.gestures.player import CELLS_MAX, Player, facts

__all__ = ["GESTURES"]


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
    return _killed_in_cell(player, is_sent_again=False)


def kill_in_cell_and_run_it_again(player: Player) -> bool:
    """As above, and the cell is sent again while it is being finished."""
    return _killed_in_cell(player, is_sent_again=True)


def _killed_in_cell(player: Player, *, is_sent_again: bool) -> bool:
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
    player.follow(f"  {cell.kind} {cell.label}: killed at {calls[nth]}, {stage}")
    player.front.wait_for_death()
    player.witness.drain()
    player.witness.begin_attempt(0, Order())
    again = player.front.send(cell.source, cell.id) if is_sent_again else ""
    player.front.spawn()
    kind, label = calls[nth]
    if kind == "get":
        player.model.requests[kind, label] += 1
    else:
        player.front.wait_until_ready()
        _say_that_it_arrived(player, label, asked)
    shown = player.front.wait(asked, is_reply_due=False)
    shown.reply = shown.reply or {"status": "ok", "execution_count": None}
    player.model.finished(cell, shown, player.front.wait(again) if again else None)
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
    told = player.front.wait(player.front.send(f"%durable resolve --answer {path}", None))
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


def interrupt_replay(player: Player) -> bool:
    """Stop a process that restores; then let it go on, or restore a part of it only."""
    player.front.kill()
    player.model.died()
    player.front.spawn()
    player.front.wait_until_ready()
    player.front.pump(player.draw.randrange(1, 300))
    player.front.interrupt()
    shown = player.front.wait(player.front.send("", None, user_expressions={"it": "0"}))
    if shown.status == "ok":
        return False  # it came too late, or too early
    stopped = re.search(r"restoring was interrupted at cell (\d+)", str(shown.reply))
    if stopped is None:
        raise DifferenceError(f"a restoring that was interrupted: {shown.reply}")
    first, last = int(stopped[1]), player.model.run.done[-1].position
    if first < last and player.draw.random() < 0.5:
        place = player.draw.randrange(max(first - 1, 0), last)
        told = player.front.wait(player.front.send(f"%durable restore --to {place}", None))
        if player.model.restored_to(place):
            _done(told)
            return True
        _refused(told, "BranchRefusedError")
    _done(player.front.wait(player.front.send("%durable restore", None)))
    return True


def interrupt_computing(player: Player) -> bool:
    """Stop a cell that computes: where it was can't be said, but what it changed is kept (H16)."""
    return _interrupted(player, "spin")


def interrupt(player: Player) -> bool:
    """Stop a cell that waits."""
    return _interrupted(player, "nap")


def _interrupted(player: Player, kind: str) -> bool:
    if not player.is_set_up:
        return False
    cell = player.new_cell(kind)
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


def fork(player: Player) -> bool:
    """Fork the run with a copy of its notebook: it has the same state, and goes its own way."""
    place = player.store.lookup(kernel_id=player.front.kernel_id, notebook=None)
    if place is None or not player.model.run.done:
        return False
    player.made += 1
    path = player.path.with_name(f"fork {player.made}.ipynb")
    fork_run(player.store, place, notebook=path)
    other = Front(player.folder, player.nursery, path)
    try:
        other.start()
        player.compare_names(other)
        other.wait(other.send("v0 = -1", "own"))
    finally:
        other.close()
    return True


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
        kill_in_cell_and_run_it_again,
        kill_in_replay,
        interrupt,
        interrupt_computing,
        interrupt_replay,
        restart_in_cell,
        rewind,
        retry,
        fresh,
        undo_fresh,
        new_server,
        rename,
        move_folder,
        copy_and_run,
        fork,
        second_kernel,
    )
}
