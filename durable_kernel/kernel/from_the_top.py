"""From the top: after a restart, the notebook run in order is answered from the journal (H13).

Eager replay brought back the state after the last recorded cell. A user who then runs the notebook
again, from its first cell, gets what was recorded, and nothing is executed:

    a request that is                                  is
    the next recorded cell (id, source, order)         answered: outputs, number, reply
    another one; more wait behind it, or nobody is     the begin of a branch there: another
      there to look (nbclient)                           process has the state of that place
    another one, alone                                 live on the restored state; told which it is
    anything after that                                live

A cell that failed is no answer, nor is one with `%%live` on top, nor the first one that loaded a
module that was edited since. Cells run out of order are none
that were run from the top: only if the first recorded cell is among what was sent, a difference at
the first place begins a branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from durable_kernel.errors import BranchRefusedError
from durable_kernel.history import PositionOutline
from durable_kernel.kernel.moments import a_while
from durable_kernel.kernel.performing import Asked
from durable_kernel.kernel.takers import INSIDE, taking
from durable_kernel.runtime import (
    Allowed,
    RecordedOutput,
    Resume,
    Run,
    is_live_cell,
    is_same_cell,
    outputs_of,
)

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["FromTheTop", "age"]

_GRACE_S = 0.2
"""A front end sends the cells of Run All one right after the other."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


class FromTheTop:
    """Compares what is run after a restart with what was recorded, in order, until they part."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._run: Run | None = None
        self._known: list[PositionOutline] | None = None
        self._cursor = 0
        self._is_told = False
        self.has_shown_last = False
        """The last recorded cell was shown to somebody who ran it while it was finished."""

    def arm(self, run: Run) -> None:
        """Begin to compare: the state after the last recorded position is there."""
        if run.settings.resume is Resume.EAGER and run.outline.positions:
            self._run = run

    def disarm(self) -> None:
        """Compare no more: from now on every cell is live."""
        self._run, self._known = None, None

    def number_of(self, code: str, cell_id: str | None) -> int | None:
        """Return the execution count that a request is answered with; None where it is run."""
        recorded = self._next()
        if recorded is None or recorded.committed is None:
            return None
        return (
            recorded.committed.execution_count if self._is_answer(recorded, code, cell_id) else None
        )

    async def take(self, asked: Asked) -> dict[str, Any] | None:
        """Answer a request from the journal; returns the reply. None: it is to be run live.

        Where a branch begins this process ends, and the request is handled by the next one.
        Raises BranchRefusedError if that would leave acts behind; then nothing has changed.
        """
        recorded, run = self._next(), self._run
        if run is None or recorded is None:
            self.disarm()
            return None
        run.answered += 1  # or refused below: somebody ran a cell, so a restart is no second one
        if self._is_answer(recorded, asked.code, asked.cell_id):
            return await self._answer(run, recorded)
        if await self._goes_on(recorded, asked):
            await self._branch(run, recorded, asked)
        self._tell_place(run, recorded, asked)
        self.disarm()
        return None

    # --- answering --------------------------------------------------------------------------------

    async def _answer(self, run: Run, recorded: PositionOutline) -> dict[str, Any]:
        kernel, committed = self._kernel, recorded.committed
        assert committed is not None, "only what was committed is an answer"
        await self._show(outputs_of(run, recorded))
        self._cursor += 1
        if not self._is_told:
            self._is_told = True
            old = age((run.world.wall_ns() - committed.wall_ns) / 1e9)
            run.tell(
                f"this is what the cell showed {old} ago; it was not executed again. Cells run in "
                "order from the first one are answered from the journal as long as they are the "
                "same. To run one live, put `%%live` on top of it; `%durable fresh` begins anew."
            )
        kernel.tell_notices()
        return {**committed.reply, "execution_count": committed.execution_count}

    async def answer_kept(self, run: Run, position: int) -> dict[str, Any]:
        """Answer a cell whose names were bound in place of executing it; returns the reply (H16).

        In match mode its client has none of what it showed.
        """
        recorded = next(each for each in run.outline.positions if each.position == position)
        assert recorded.committed is not None, "names are kept with the commit"
        await self._show(outputs_of(run, recorded))
        return dict(recorded.committed.reply)

    async def _show(self, outputs: Sequence[RecordedOutput]) -> None:
        """Show recorded outputs, each where it was: in the cell, or in an Output widget."""
        kernel, request = self._kernel, self._kernel.get_parent("shell")
        taker = ""
        with kernel.session.showing_again():
            for each in [*outputs, None]:
                inside = "" if each is None else str(each.metadata.get(INSIDE, ""))
                if taker and taker != inside:
                    self._show_again("comm_msg", taking(taker, ""))
                if inside and taker != inside:
                    self._show_again("comm_msg", taking(inside, request["header"]["msg_id"]))
                taker = inside
                if each is not None:
                    self._show_again(each.kind, each.content)
        await kernel.session.shown()

    def _show_again(self, kind: str, content: Mapping[str, Any]) -> None:
        kernel = self._kernel
        kernel.session.show_again(kernel.iopub_socket, kind, content, kernel.get_parent("shell"))

    def _is_answer(self, recorded: PositionOutline, code: str, cell_id: str | None) -> bool:
        """Tell whether a request is this recorded cell, and loads the code that it loaded (H25)."""
        if self._run is None or not _is_answer(recorded, code, cell_id):
            return False
        return not self._run.modules.edited_at(recorded.position, self._run.outline)

    def _next(self) -> PositionOutline | None:
        """Return the recorded cell that comes next, if anything is compared."""
        known = self._cells()
        return known[self._cursor] if self._cursor < len(known) else None

    def _cells(self) -> Sequence[PositionOutline]:
        if self._run is None:
            return ()
        if self._known is None:
            outline = self._run.outline
            if any(each.committed is None for each in outline.positions):
                outline = self._run.read_outline()  # one was finished by this process
            cells = [each for each in outline.positions if not each.cell.kind and not _left(each)]
            self._known = cells[:-1] if self.has_shown_last else cells
        return self._known

    # --- where they part --------------------------------------------------------------------------

    async def _goes_on(self, recorded: PositionOutline, asked: Asked) -> bool:
        """Tell whether the notebook is being run from the top, past this cell."""
        kernel, seen = self._kernel, -1
        while not (self._cursor and kernel.backlog.cells()) and seen != kernel.backlog.count:
            seen = kernel.backlog.count  # at the first cell all of them tell what is being run
            await a_while(_GRACE_S)
        behind = kernel.backlog.cells()
        is_unattended = not asked.allow_stdin and asked.cell_id is None
        if not behind and not is_unattended:
            return False
        if self._cursor:
            return True
        first = recorded.cell.request.get("cell_id")
        if first is not None and first in {asked.cell_id, *(each.cell_id for each in behind)}:
            return True
        return any(is_same_cell(recorded, each.code, each.cell_id) for each in behind) or (
            recorded.cell.code == asked.code
        )

    async def _branch(self, run: Run, recorded: PositionOutline, asked: Asked) -> None:
        """Go back to the state before this cell, with all that waits, in another process."""
        kernel, position = self._kernel, recorded.position
        edited = ", ".join(run.modules.edited_at(position, run.outline))
        why = f"{edited} was edited since" if edited else "this cell is not what was recorded as"
        self._cursor = 0  # refused, the next Run All begins at the top again
        try:
            last = run.outline.last_cell
            if recorded.has_failed and last is not None and last.position == position:
                run.leave_failed(repeats_acts=False)  # what it did is asked for again, or it stops
            else:
                allowed = Allowed.OWN if is_live_cell(asked.code) else Allowed.NONE
                run.branch(position, "run from the top", reuses=True, allowed=allowed)
        except BranchRefusedError as error:
            raise BranchRefusedError(position, error.acts, _CHOICES.format(position)) from None
        told = (
            f"up to here the notebook was answered from the journal. From here on it runs: {why} "
            f"cell {position}. The state before that cell was restored in a new process, and calls "
            "that are the same are not made again."
        )
        kernel.replacement.plan(run.run_id, told, is_from_the_top=True)
        await kernel.replacement.carry_out()
        refused = kernel.refusal_now()
        assert refused is not None, "who is not replaced executes nothing more"
        raise refused

    def _tell_place(self, run: Run, recorded: PositionOutline, asked: Asked) -> None:
        """Say on which state a cell runs that has another place in the notebook."""
        cells = self._cells()
        own = next(
            (
                each.position
                for each in cells
                if each.cell.code == asked.code
                or (asked.cell_id is not None and each.cell.request.get("cell_id") == asked.cell_id)
            ),
            recorded.position if self._cursor else None,
        )
        if own is None or is_live_cell(asked.code):
            return
        run.tell(
            f"this cell ran on the state after cell {cells[-1].position}, the last one, and not on "
            f"that of its own place; `%durable rewind {own}` goes back to the state before cell "
            f"{own}."
        )


_CHOICES = (
    "Running on from here on the state of this place would leave that behind, and what follows may "
    "do it again. Nothing was executed. Run the cell alone: then it is live on the state there is. "
    "Or `%durable rewind {0} --repeat-acts` allows it, and `%durable fresh` begins anew."
)


def _left(recorded: PositionOutline) -> bool:
    """Tell whether a cell asked to exit: replay leaves it out."""
    return recorded.committed is not None and recorded.committed.asked_exit


def _is_answer(recorded: PositionOutline, code: str, cell_id: str | None) -> bool:
    is_good = recorded.committed is not None and recorded.committed.status == "ok"
    return is_good and not is_live_cell(code) and is_same_cell(recorded, code, cell_id)


def age(seconds: float) -> str:
    """Say how long ago something was, for people."""
    for unit_s, name in ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute")):
        if seconds >= unit_s:
            count = int(seconds // unit_s)
            return f"{count} {name}" + ("s" if count > 1 else "")
    return "less than a minute"
