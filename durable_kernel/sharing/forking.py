"""Forking: a new run that shares a run's past up to a position, and goes its own way from there.

    frames before the position  ->  copied under the new run's key, blobs by a second name
    what was under way there    ->  stays recorded, and is never repeated by the fork unasked
    Forked                      ->  new seed, and whose the copied positions are
    the fork appears            ->  with META bound to its notebook, or not at all

The parent is read and not changed, so it may be running: its frames up to the position are final.
A run is forked only if the user's key signed it, like one that is executed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, takewhile
from os import urandom as _urandom  # bound before any hook
from pathlib import Path
from time import time_ns as _time_ns  # noqa: TID251 - as above

from durable_kernel.errors import UsageError
from durable_kernel.history import (
    FORK,
    Announced,
    Cell,
    Forked,
    Opened,
    Outline,
    PositionOutline,
    Record,
    RecordCodec,
    Unsettled,
    position_history,
)
from durable_kernel.journal import Frame, Journal
from durable_kernel.journal.copying import copy_frames
from durable_kernel.ports import Ending
from durable_kernel.runtime import records_of
from durable_kernel.sharing.notebook_copy import copied_notebook
from durable_kernel.store import RunPlace, Store, current_boot_id

__all__ = ["Fork", "fork_run", "free_notebook"]

_GENESIS_BYTES = 32
_LISTED_MAX = 3


@dataclass(frozen=True, slots=True)
class Fork:
    """A run that was forked. `cells`: how many positions it shares; `told`: for people.

    `in_doubt` names the acts that were under way at the fork.
    """

    run_id: str
    parent: str
    position: int
    cells: int
    notebook: str | None
    in_doubt: tuple[str, ...]
    told: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Say what was made, how to go on with it, and what has to be known of it."""
        cells = "1 cell" if self.cells == 1 else f"{self.cells:,} cells"
        shared = f"It shares {cells} with run {self.parent}" if self.cells else "It shares no cell"
        how = (
            f"Open {self.notebook}, or `durable run` it."
            if self.notebook
            else f"DURABLE_RUN={self.run_id} goes on with it; --notebook OUT.ipynb makes a copy of "
            "the notebook that does."
        )
        return [
            f"run {self.run_id} is forked from {self.parent}, before cell {self.position}.",
            f"{shared}: all of that is answered from the journal and not done again. {how}",
            *self.told,
        ]


def fork_run(
    store: Store,
    parent: RunPlace,
    *,
    at: int | None = None,
    notebook: Path | None = None,
    into: Store | None = None,
) -> Fork:
    """Fork a run before position `at`; None: behind its last finished cell.

    Args:
        notebook: where a copy of the run's notebook is written, bound to the fork. It must not
            exist.
        into: the store that gets the fork, one of the same key; None: the parent's.

    The parent may be written meanwhile. Raises UsageError, UntrustedRunError, JournalCorruptError,
    and JournalFullError: then there is no fork.
    """
    records = records_of(store, parent.run_id, with_objects=False)
    outline = Outline.of(store.frames(parent), records)
    position = _position(outline, at)
    shared = [each for each in outline.positions if each.position < position]
    if notebook is not None:
        _check_free(notebook)
    cut = _under_way(parent, shared, records)
    own = _own_records(parent, outline, cut, position)

    def fill(built: RunPlace) -> None:
        key = store.run_key(built.run_id)
        with Journal.create(built.folder, run_id=built.run_id, key=key, disk=store.disk) as journal:
            copy_frames(_past(store, parent, shared), parent.folder, journal, store.disk)
            journal.append([records.pack(each) for each in own], sync=True)

    named = [each.label for each in cut]
    made = (into or store).fork(parent, fill, notebook=notebook)
    if notebook is not None:
        cells = [each.cell for each in shared]
        known = parent.meta.notebook
        content = copied_notebook(known, cells, made.run_id, parent.run_id, position)
        _write_new(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return Fork(
        run_id=made.run_id,
        parent=parent.run_id,
        position=position,
        cells=len(shared),
        notebook=str(notebook) if notebook is not None else None,
        in_doubt=tuple(named),
        told=tuple(_sentences(outline, shared, named, position)),
    )


def free_notebook(parent: RunPlace) -> Path | None:
    """Return a free name beside a run's notebook, `NAME-fork.ipynb`; None where it has none."""
    if parent.meta.notebook is None or not Path(parent.meta.notebook).is_file():
        return None
    known = Path(parent.meta.notebook)
    names = (
        f"{known.stem}-fork{number}.ipynb" for number in chain([""], map("-{}".format, count(2)))
    )
    return next(path for name in names if not os.path.lexists(path := known.with_name(name)))


def _position(outline: Outline, at: int | None) -> int:
    """Return the first position that the fork does not share."""
    end = outline.positions[-1].position + 1 if outline.positions else 0
    unfinished = outline.open_position
    done = end if unfinished is None else unfinished.position
    if at is None:
        return done
    if not 0 <= at <= end:
        cells = f"the cells 0 to {end - 1}" if end else "no cell yet"
        raise UsageError(f"there is no place {at}: the run has {cells}.")
    if at > done:
        raise UsageError(
            f"cell {done} is not finished, and only what is finished can be shared: take the place "
            "before it, or wait for it."
        )
    return at


def _past(store: Store, parent: RunPlace, shared: list[PositionOutline]) -> Iterator[Frame]:
    """Yield the run's frames up to the end of what is shared."""
    frames = store.frames(parent)
    if not shared:
        yield from takewhile(lambda frame: frame.type != Cell.CODE, frames)
        return
    last = shared[-1].extents[-1]
    for frame in frames:
        if (frame.segment, frame.offset) >= (last.segment, last.end):
            return
        yield frame


def _under_way(
    parent: RunPlace, shared: list[PositionOutline], records: RecordCodec
) -> list[Announced]:
    """Return the acts of other lanes that had no answer where the runs part."""
    if not any(each.act and each.lane for each in (shared[-1].announced if shared else ())):
        return []  # the cell itself waited for what it did
    history = position_history(parent.folder, shared[-1], records)
    calls = [call for of_lane in history.calls.values() for call in of_lane]
    return [
        each.announced
        for each in calls
        if each.announced.act
        and (
            not each.is_complete
            or (each.settled is not None and each.settled.ending == Ending.CARRIED)
        )
    ]


def _own_records(
    parent: RunPlace, outline: Outline, cut: list[Announced], position: int
) -> list[Record]:
    """Return what stands behind the copied frames."""
    now_ns = _time_ns()
    why = f"a call that was under way in run {parent.run_id} when this run was forked from it"
    unsettled = [Unsettled(lane=each.lane, ordinal=each.ordinal, found="", why=why) for each in cut]
    forked = Forked(
        position=position,
        wall_ns=now_ns,
        parent=parent.run_id,
        genesis=_urandom(_GENESIS_BYTES),
        lineage=outline.lineage.owners_before(position, parent.run_id),
        secrets_of=parent.meta.secrets_of or parent.run_id,
    )
    opened = Opened(
        wall_ns=now_ns,
        pid=os.getpid(),
        boot_id=current_boot_id(),
        host=socket.gethostname(),
        reason=FORK,
        genesis=b"" if outline.genesis else _urandom(_GENESIS_BYTES),
    )
    return [*unsettled, forked, opened]


def _sentences(
    outline: Outline, shared: list[PositionOutline], cut: list[str], position: int
) -> Iterator[str]:
    """Say what a user has to know of the place where the runs part."""
    for each in cut:
        yield (
            f"in doubt in the fork: {each} was under way. Its answer belongs to the parent; the "
            "fork does not send it again unasked, and asks when it gets there."
        )
    unfinished = outline.open_position
    if unfinished is not None and unfinished.position >= position:
        acts = "; ".join(each.label for each in unfinished.pending.values() if each.act)
        doing = f", and what it does stays the parent's: {acts}" if acts else ""
        yield f"cell {unfinished.position} is not finished in the parent; it is not shared{doing}."
    left = [each for each in outline.positions if each.position >= position]
    behind = [act.label for each in left if each is not unfinished for act in each.acts]
    if behind:
        listed = "; ".join(behind[:_LISTED_MAX]) + (" …" if len(behind) > _LISTED_MAX else "")
        acts = "1 act" if len(behind) == 1 else f"{len(behind):,} acts"
        yield (
            f"the parent has done {acts} behind this place ({listed}). The fork knows nothing of "
            "that, and cells that are run there act again."
        )
    stopping = [str(each.position) for each in shared if each.is_tainted]
    if stopping:
        yield (
            f"cell {', '.join(stopping)} did something that the journal does not hold: like the "
            "parent, the fork is restored up to there and then asks."
        )


def _check_free(notebook: Path) -> None:
    if notebook.suffix != ".ipynb":
        raise UsageError(f"{notebook}: the name of a notebook ends in .ipynb.")
    if os.path.lexists(notebook):
        raise UsageError(f"{notebook} is there already; name a new file for the fork's notebook.")
    if not os.access(notebook.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"{notebook}: the folder {notebook.absolute().parent} can't be written.")


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not be there, whole: it appears when it is complete."""
    building = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        building.write_text(text, "utf-8", errors="backslashreplace")
        os.link(building, path)
    except FileExistsError:
        raise UsageError(f"{path} was made meanwhile; the fork has no notebook yet.") from None
    except OSError:
        building.replace(path)  # a file system without links
    finally:
        building.unlink(missing_ok=True)
