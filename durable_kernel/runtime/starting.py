"""Starting: what a process does by itself with what the one before it left (DESIGN §9, H36).

    RESUME     replay, and finish the interrupted cell
    OFFER      replay to the interrupted cell; the user asked for a stop, so he decides about it
    POISONED   the same: it killed its process twice in a row, or so it seems
    STUCK      replay nothing: what was executed again killed its process three times in a row
    FRESH      a second restart before anything ran: the user wants a clean state

A decision from plain values: no file, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from signal import SIGINT, SIGKILL

from durable_kernel.history import FORK, Life, Outline, PositionOutline
from durable_kernel.runtime.vitals import NOTHING_KNOWN, Doing, LastSigns

__all__ = [
    "DEATHS_MAX",
    "DEATHS_MAX_COMMANDED",
    "Beginning",
    "Start",
    "Told",
    "began_anew",
    "begin",
]

DEATHS_MAX = 2
"""H36: so many in a row in one cell, and it is not executed by itself again."""

DEATHS_MAX_COMMANDED = 4
"""The same where a runner sends the cells: it gives up after two deaths of its own, and the command
given again is a word of the user's. This is for commands that a machine gives again and again."""

STUCK_MAX = 3
"""One more than for a cell: a replay acts on nothing, and machines do die twice."""

_GB = 1e9


class Start(StrEnum):
    """What to do first."""

    RESUME = "resume"
    OFFER = "offer"
    POISONED = "poisoned"
    STUCK = "stuck"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Told:
    """What the launcher knows of the process before: DURABLE_REASON and DURABLE_PREV_EXIT.

    `exit_status` is negative for a signal, as in `subprocess`; None: nobody knows.
    """

    reason: str = ""
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """A decision, and what the next opener has to count on from. `cause` is a clause, or empty."""

    start: Start = Start.RESUME
    cause: str = ""
    position: int | None = None
    deaths: int = 0
    stuck_at: int = -1
    stuck: int = 0
    memory: str = ""

    @property
    def leaves_cell(self) -> bool:
        """Tell whether the interrupted cell is left to the user."""
        return self.start in (Start.OFFER, Start.POISONED)

    def sentence(self) -> str:
        """Say what was not done by itself, and what the choices are; "" where all is done."""
        cell = f"cell {self.position}"
        match self.start:
            case Start.OFFER:
                return (
                    f"{cell} was interrupted when the kernel was stopped for you, so it was not "
                    f"finished by itself. {_AGAIN}"
                )
            case Start.POISONED:
                return (
                    f"{cell} ended its process {self.deaths} times in a row, with nothing new "
                    f"recorded{self.memory}, so it was not executed again by itself. {_AGAIN}"
                )
            case Start.STUCK:
                return (
                    f"{self.stuck} processes in a row died while cell {self.stuck_at} was executed "
                    f"again{self.memory}. Nothing was restored. `%durable restore` tries once "
                    "more; `%durable fresh` archives the run and starts a new one."
                )
            case _:
                return ""


_AGAIN = (
    "The state before it is restored. Run it again, edited or not, and it reuses what it had "
    "recorded; or run other cells and leave it."
)


def begin(
    outline: Outline,
    signs: LastSigns,
    told: Told,
    *,
    poison_s: float,
    oom_kills: int,
    is_same_boot: bool,
    may_begin_anew: bool,
    deaths_max: int = DEATHS_MAX,
) -> Beginning:
    """Decide how to go on after the last process of a run.

    Args:
        signs: what it left beside the journal.
        poison_s: a cell that was live for longer did not die at once; 0: there is no poison.
        oom_kills: what the system counts now. It counts from its start, so `is_same_boot` matters.
        may_begin_anew: nobody revived or named this run since; a double restart means *fresh*.
    """
    if not outline.lives:
        return Beginning()
    life = outline.lives[-1]
    if life.opened.reason == FORK:  # who made it ran nothing, and did not die
        return Beginning()
    signs = _completed(signs, outline, life) if signs.epoch == life.epoch else NOTHING_KNOWN
    if may_begin_anew and _is_second_restart(outline):
        return Beginning(Start.FRESH, "you restarted it twice")
    if life.shutdown is not None:
        return _judged(_after_stop(outline, life, signs), deaths_max)
    memory = _memory(signs, oom_kills) if is_same_boot else ""
    return _judged(_after_death(outline, life, signs, told, memory, poison_s), deaths_max)


def _completed(signs: LastSigns, outline: Outline, life: Life) -> LastSigns:
    """Add what the journal tells: a process that began a cell died in it before its next sign."""
    unfinished = outline.open_position
    position = unfinished.position if unfinished is not None else signs.position
    if position == signs.position or position != life.newest:
        return signs
    return replace(signs, doing=Doing.IN_CELL, position=position, live_s=0.0, deaths=0)


def _judged(found: Beginning, deaths_max: int) -> Beginning:
    is_poison = found.start is Start.RESUME and found.deaths >= deaths_max
    return replace(found, start=Start.POISONED) if is_poison else found


def _is_second_restart(outline: Outline) -> bool:
    """Tell whether the last two processes were restarted, and the last one ran no cell.

    One that was answered from the journal was run: who restarts and runs all wants no clean state.
    """
    last, *before = outline.lives[-1], *outline.lives[-2:-1]
    answered = last.shutdown.answered if last.shutdown is not None else 0
    return (
        not answered
        and any(each.was_restarted for each in before)
        and last.was_restarted
        and not last.cells
        and bool(outline.positions)
    )


def _after_stop(outline: Outline, life: Life, signs: LastSigns) -> Beginning:
    unfinished = outline.open_position
    if life.was_restarted:
        cause = "you restarted it"
        if unfinished is None or unfinished.is_input:
            return Beginning(cause=cause)
        return Beginning(Start.OFFER, cause, unfinished.position)
    return _counted("it was shut down", unfinished, _deaths_before(unfinished, signs), "")


def _after_death(
    outline: Outline, life: Life, signs: LastSigns, told: Told, memory: str, poison_s: float
) -> Beginning:
    cause, unfinished = _cause(told, memory), outline.open_position
    if signs.doing is Doing.RESTORING:
        stuck = signs.stuck + 1 if signs.stuck_at == signs.position else 1
        begun = _counted(cause, unfinished, signs.deaths, memory)
        is_stuck = poison_s and stuck >= STUCK_MAX
        start = Start.STUCK if is_stuck else begun.start
        return replace(begun, start=start, stuck_at=signs.position, stuck=stuck)
    if unfinished is None or not _is_in(unfinished, signs):
        return _counted(cause, unfinished, _deaths_before(unfinished, signs), memory)
    if told.reason == "user-restart" or SIGINT in signs.unheard:
        return Beginning(Start.OFFER, "it did not answer and was stopped", unfinished.position)
    deaths = 0 if life.hard or signs.live_s >= poison_s else signs.deaths + 1
    return _counted(cause, unfinished, deaths, memory)


def _counted(cause: str, unfinished: PositionOutline | None, deaths: int, memory: str) -> Beginning:
    if unfinished is None:
        return Beginning(cause=cause, memory=memory)
    return Beginning(Start.RESUME, cause, unfinished.position, deaths, memory=memory)


def _deaths_before(unfinished: PositionOutline | None, signs: LastSigns) -> int:
    """Return the deaths that still count: the last process never came to the cell."""
    return 0 if unfinished is None or _is_in(unfinished, signs) else signs.deaths


def _is_in(unfinished: PositionOutline, signs: LastSigns) -> bool:
    """Tell whether the process was in that cell when it wrote last, or had been."""
    return signs.doing is not Doing.RESTORING and signs.position == unfinished.position


def _memory(signs: LastSigns, oom_kills: int) -> str:
    """Say what is known of its memory, as a clause behind a comma."""
    held = f"it held {signs.rss_bytes / _GB:.1f} GB" if signs.rss_bytes else ""
    if 0 <= signs.oom_kills < oom_kills:
        return f", probably because the system ran out of memory{held and f' ({held})'}"
    return ""


def _cause(told: Told, memory: str) -> str:
    if told.exit_status is not None and told.exit_status >= 0:
        return f"it left with exit status {told.exit_status}"
    if told.exit_status is not None and told.exit_status != -SIGKILL:
        return f"it was ended by signal {-told.exit_status}"
    return f"it was killed{memory}"


def forked_sentence(outline: Outline) -> str:
    """Say what a fork is that is opened for the first time; "" for all others."""
    if not outline.lives or outline.lives[-1].opened.reason != FORK:
        return ""
    forked = outline.lineage.forks[-1]
    return (
        f"this run was forked from {forked.parent}, before cell {forked.position}: what stands "
        "above is answered from the journal, and from there on it is a run of its own."
    )


def began_anew(run_id: str) -> str:
    """Say that a second restart meant a clean state, and how to get the old one back."""
    return (
        "you restarted the kernel twice without running a cell, so this is a new run. The one "
        f"before, {run_id}, is archived and nothing of it is deleted: `%durable fresh --undo` "
        "brings it back."
    )
