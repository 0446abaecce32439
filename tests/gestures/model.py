"""The model: what a person is promised, written from the guide and the design alone.

A run is a list of cells that were run, each with what it asked of the world and the names that
there were behind it. Gestures change that list; the kernel's state is what stands at its end. The
model knows nothing of journals, lanes, processes or messages. What the world said live (an answer,
a draw) it reads off the outputs, once; ever after it is a fact.

Raises DifferenceError where what is shown is not what is promised.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.gestures.cells import Cell, RaisedError, perform

__all__ = ["DifferenceError", "ForbiddenError", "Model", "Seen"]


class DifferenceError(Exception):
    """The kernel did something else than what is promised."""


class ForbiddenError(Exception):
    """The cell would act beside what an attempt before did: the run stops there."""


class Seen(Protocol):
    """What a person saw of one request."""

    @property
    def text(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def count(self) -> Any: ...


@dataclass
class Done:
    """One cell that was run. `calls`: what it asked of the world, and the answers."""

    position: int
    cell: Cell
    count: int
    status: str = "ok"
    error: str = ""
    lines: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    draws: int = 0
    donor: Done | None = None
    left_at: int = -1
    """Where the run was cut that left it behind."""
    repeats_acts: bool = False

    @property
    def acts(self) -> list[str]:
        return [label for kind, label, _ in self.calls if kind == "post"]

    def attempts(self) -> list[Done]:
        """This one and those that it took the place of, newest first."""
        return [self] if self.donor is None else [self, *self.donor.attempts()]


@dataclass
class Life:
    """One process: how it was ended, and whether anything was run in it."""

    was_restarted: bool = False
    has_run: bool = False


@dataclass
class Run:
    """A notebook's life in one journal."""

    done: list[Done] = field(default_factory=list)
    waiting: list[Done] = field(default_factory=list)
    draws: dict[int, int] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    was_revived: bool = False

    @property
    def names(self) -> dict[str, Any]:
        return copy.deepcopy(self.done[-1].names) if self.done else {}

    @property
    def next_position(self) -> int:
        return self.done[-1].position + 1 if self.done else 0

    def cut(self, position: int, *, repeats_acts: bool = False) -> None:
        """Leave what was run from `position` on behind; its answers may be reused."""
        left = [each for each in self.done if each.position >= position]
        for each in left:
            each.left_at, each.repeats_acts = position, repeats_acts
        self.done = self.done[: len(self.done) - len(left)]
        self.waiting = left + self.waiting

    def acts_from(self, position: int) -> list[str]:
        return [act for each in self.done if each.position >= position for act in each.acts]

    def take_donor(self, position: int, cell: Cell) -> Done | None:
        """Find the attempt whose place a cell takes: place and source, id, source, place."""
        here = [each for each in self.waiting if each.position == position]
        ways = (
            [each for each in here if each.cell.source == cell.source],
            [e for e in self.waiting if e.cell.id == cell.id and e.cell.source == cell.source],
            [each for each in self.waiting if each.cell.id == cell.id],
            [each for each in self.waiting if each.cell.source == cell.source],
        )
        found = next((way[0] for way in ways if way), None)
        if cell.kind == "live" or found is None:
            return None
        self.waiting = [each for each in self.waiting if each is not found]
        return found


class _World:
    """Answers a cell: from the attempt before, as far as it asks the same; else live."""

    def __init__(self, model: Model, run: Run, done: Done, seen: Seen | None) -> None:
        self._model, self._run, self._done, self._seen = model, run, done, seen
        self._matching = done.donor.attempts() if done.donor is not None else []
        self._all = list(self._matching)
        self._offered = {id(each): len(each.calls) for each in self._matching}
        self._is_free = not self._matching
        self._taken: list[tuple[str, str]] = []
        self.live_calls: list[tuple[str, str]] = []
        donor = done.donor
        if (
            donor is not None
            and donor.status == "error"
            and donor.cell.source == done.cell.source
            and donor.left_at == donor.position == done.position
            and donor.calls
            and (donor.calls[-1][0] != "post" or donor.repeats_acts)
        ):  # unchanged, it would fail again: its last call is made anew
            for each in self._matching:
                last = len(donor.calls) - 1
                self._offered[id(each)] = min(self._offered[id(each)], last)

    def call(self, kind: str, label: str) -> int:
        value = self._reused(kind, label)
        if value is None:
            self._require_allowed(kind)
            self._is_free = True
            self.live_calls.append((kind, label))
            if kind != "input":
                self._model.requests[kind, label] += 1
            value = self._read(f"{kind} {label}".strip())
        else:
            self.show(kind, label, value) if label else self.show(kind, value)
        self._done.calls.append((kind, label, value))
        return value

    def draw(self) -> int:
        index = self._done.draws
        self._done.draws += 1
        if index in self._run.draws:
            self.show("draw", self._run.draws[index])
        else:
            self._run.draws[index] = self._read("draw")
        return self._run.draws[index]

    def observe(self, kind: str) -> int:
        return self._read(kind)

    def show(self, *words: object) -> None:
        self._done.lines.append(" ".join(map(str, words)))

    def _reused(self, kind: str, label: str) -> int | None:
        ordinal = len(self._done.calls)
        if self._is_free:
            return None
        self._matching = [
            each
            for each in self._matching
            if ordinal < len(each.calls) and each.calls[ordinal][:2] == (kind, label)
        ]
        for each in self._matching:
            if ordinal < self._offered[id(each)]:
                self._taken.append((kind, label))
                return each.calls[ordinal][2]
        return None

    def _require_allowed(self, kind: str) -> None:
        done = {(k, one) for each in self._all for k, one, _ in each.calls if k == "post"}
        is_allowed = any(each.repeats_acts for each in self._all[:1])
        if kind == "post" and not is_allowed and done - set(self._taken):
            raise ForbiddenError

    def _read(self, prefix: str) -> int:
        """Read off the outputs what the world said."""
        index = len(self._done.lines)
        if self._seen is None:
            value = "0"
        else:
            lines = self._seen.text.splitlines()
            line = lines[index] if index < len(lines) else ""
            head, _, value = line.rpartition(" ")
            if head != prefix or not value.isdecimal():
                raise DifferenceError(f"line {index}: {line!r} shown, {prefix!r} promised")
        self._done.lines.append(f"{prefix} {value}")
        return int(value)


class Model:
    """The notebook's runs, and what a person sees of them. `requests`: what reached the world."""

    def __init__(self) -> None:
        self.run = Run()
        self.archived: list[Run] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self._cursor: int | None = None
        self._known: list[Done] = []
        self._begin_life()

    # --- processes --------------------------------------------------------------------------------

    def restarted(self) -> None:
        """The user restarted it. A second time without anything run between: a clean state."""
        self._end_life(was_restarted=True)
        lives = self.run.lives
        is_second = len(lives) > 1 and lives[-2].was_restarted and not lives[-1].has_run
        if is_second and self.run.done and not self.run.was_revived:
            self.fresh()
            return
        self.resumed()

    def died(self) -> None:
        """It was killed, shut down or replaced: the next one goes on."""
        self._end_life(was_restarted=False)
        self.resumed()

    def resumed(self, *, is_from_the_top: bool = False) -> None:
        """Another process has the state; the notebook may be run from its top."""
        self.run.was_revived = False
        self._is_told = False
        self._begin_life()
        self._known = list(self.run.done)
        self._cursor = 0 if self._known and not is_from_the_top else None

    def fresh(self) -> None:
        self.archived.append(self.run)
        self.run = Run()
        self.resumed()

    def undo_fresh(self) -> bool:
        if not self.archived:
            return False
        self._end_life(was_restarted=False)
        back = self.archived.pop()
        self.archived.append(self.run)
        self.run = back
        self.resumed()
        self.run.was_revived = True
        return True

    def _begin_life(self) -> None:
        self.run.lives.append(Life())

    def _end_life(self, *, was_restarted: bool) -> None:
        self.run.lives[-1].was_restarted = was_restarted

    # --- cells ------------------------------------------------------------------------------------

    def ran(self, cells: list[Cell], seen: list[Any]) -> None:
        """Compare what was shown of cells that were sent in a row, the last one alone at its end.

        `seen` may hold None: then nothing is compared, and the world's answers are made up.
        """
        has_stopped = False
        for index, (cell, shown) in enumerate(zip(cells, seen, strict=True)):
            if has_stopped:
                self._compare(cell, shown, "aborted", None, None, "")
            else:
                has_stopped = not self._ran_one(cell, shown, cells[index + 1 :])

    def _ran_one(self, cell: Cell, seen: Seen | None, behind: list[Cell]) -> bool:
        """Returns whether the next one gets its turn."""
        self.run.lives[-1].has_run = True
        recorded = self._next()
        if recorded is not None and self._is_answer(recorded, cell):
            assert self._cursor is not None
            told = "" if self._is_told else "it was not executed again"
            self._is_told = True
            self._cursor += 1
            self._compare(cell, seen, "ok", recorded.count, recorded.lines, "", told)
            return True
        told = ""
        if recorded is not None:
            if behind and self._goes_on(recorded, cell, behind):
                refused = self._refused(recorded, cell)
                if refused:
                    self._cursor = 0
                    self._compare(cell, seen, "error", None, [], "BranchRefusedError", "")
                    return False
                position = recorded.position
                self._cut_for(recorded, position)
                self._end_life(was_restarted=False)
                self.resumed(is_from_the_top=True)
                self.run.lives[-1].has_run = True
                told = "restored in a new process"
            elif self._has_place(recorded, cell) and cell.kind != "live":
                told = "ran on the state after cell"
        self._cursor = None
        return self.live(cell, seen, told)

    _is_told = False

    def live(self, cell: Cell, seen: Seen | None, told: str = "") -> bool:
        """A cell is executed, at the end of what there is."""
        done, error = self.begin(cell, seen)
        self.run.done.append(done)
        self._compare(cell, seen, done.status, done.count, done.lines, error, told)
        return done.status == "ok"

    def begin(self, cell: Cell, seen: Seen | None) -> tuple[Done, str]:
        """Execute a cell on the state that there is, without keeping it."""
        run = self.run
        before = run.done[-1] if run.done else None
        done = Done(run.next_position, cell, before.count + 1 if before else 1, names=run.names)
        done.draws = before.draws if before else 0
        done.donor = run.take_donor(done.position, cell)
        world = _World(self, run, done, seen)
        try:
            perform(cell, done.names, world)
        except RaisedError as raised:
            done.error = str(raised)
            done.status = "error"
        self.live_calls = world.live_calls
        return done, done.error

    live_calls: list[tuple[str, str]] = []  # noqa: RUF012 - replaced, never changed

    def finished(self, cell: Cell, seen: Seen, again: Seen | None = None) -> None:
        """The process was killed in a cell; the next one finished it by itself.

        `again`: it was sent again meanwhile, and showed the same.
        """
        self.run.lives[-1].has_run = True
        self._cursor = None
        self.live(cell, seen)
        done = self.run.done[-1]
        self.died()
        if again is not None:
            self._compare(cell, again, done.status, done.count, done.lines, done.error)
            self._known = self._known[:-1]

    def left_open(self, cell: Cell) -> None:
        """The user restarted while a cell napped: it is left to him, and nothing of it is kept."""
        self.run.lives[-1].has_run = True
        self._cursor = None
        done, _ = self.begin(cell, None)
        self.run.done.append(replace(done, status="open"))
        self.run.cut(done.position)
        self._end_life(was_restarted=True)
        self.resumed()

    # --- gestures about the run -------------------------------------------------------------------

    def rewind(self, position: int, *, repeats_acts: bool) -> bool:
        """Go back. False: refused, for what would be left behind."""
        if self.run.acts_from(position) and not repeats_acts:
            return False
        self.run.cut(position, repeats_acts=repeats_acts)
        self.died()
        return True

    def restored_to(self, position: int) -> bool:
        """The restoring was stopped, and goes on up to a position only. False: refused."""
        if self.run.acts_from(position + 1):
            return False
        self.run.cut(position + 1)
        self._known = list(self.run.done)
        self._cursor = 0 if self._known else None
        return True

    def retry(self) -> bool:
        """Leave the failed cell behind. False: there is none."""
        last = self.run.done[-1] if self.run.done else None
        if last is None or last.status != "error":
            return False
        self.run.cut(last.position)
        self.died()
        return True

    # --- from the top -----------------------------------------------------------------------------

    def _next(self) -> Done | None:
        if self._cursor is None or self._cursor >= len(self._known):
            return None
        return self._known[self._cursor]

    def _is_answer(self, recorded: Done, cell: Cell) -> bool:
        is_same = recorded.cell.source == cell.source and recorded.cell.id == cell.id
        return recorded.status == "ok" and cell.kind != "live" and is_same

    def _goes_on(self, recorded: Done, cell: Cell, behind: list[Cell]) -> bool:
        """Tell whether the notebook is run from its first cell."""
        return bool(self._cursor) or recorded.cell.id in {cell.id, *(each.id for each in behind)}

    def _refused(self, recorded: Done, cell: Cell) -> bool:
        if recorded.status == "error" and recorded is self.run.done[-1]:
            return False
        first = recorded.position + (cell.kind == "live")
        return bool(self.run.acts_from(first))

    def _cut_for(self, recorded: Done, position: int) -> None:
        self.run.cut(position)

    def _has_place(self, recorded: Done, cell: Cell) -> bool:
        same = [e for e in self._known if e.cell.source == cell.source or e.cell.id == cell.id]
        return bool(same) or bool(self._cursor)

    # --- comparing --------------------------------------------------------------------------------

    def _compare(
        self,
        cell: Cell,
        seen: Seen | None,
        status: str,
        count: int | None,
        lines: list[str] | None,
        error: str,
        told: str = "",
    ) -> None:
        if seen is None:
            return
        self._same(cell, "status", status, seen.status, seen.error)
        if count is not None and seen.count is not None:  # a dead kernel's client may miss it
            self._same(cell, "number", count, seen.count)
        if lines is not None:
            self._same(cell, "output", lines, seen.text.splitlines())
        if not seen.error.startswith(error) or bool(error) != bool(seen.error):
            raise DifferenceError(f"{cell.id}: error {seen.error!r} shown, {error!r} promised")
        for sentence in _SENTENCES:
            if (sentence in seen.told) != (sentence == told):
                word = "not told" if sentence == told else "told"
                raise DifferenceError(f"{cell.id}: {word}: {sentence!r}; told was {seen.told!r}")

    def _same(self, cell: Cell, what: str, promised: Any, found: Any, more: str = "") -> None:
        if promised != found:
            raise DifferenceError(
                f"{cell.id}: {what} {found!r} shown, {promised!r} promised. {more}"
            )

    def dry(self) -> Model:
        """A copy on which a gesture can be tried."""
        return copy.deepcopy(self)


_SENTENCES = (
    "it was not executed again",
    "restored in a new process",
    "ran on the state after cell",
)
