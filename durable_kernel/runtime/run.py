"""A run that this process writes: recovery, cells, decisions, status.

Joins all rooms below; knows nothing of Jupyter.

States: *replaying* until the last recorded position is done, then *live*. *in doubt*: a call waits
for a decision. *diverged* and *stopped*: the latch is set; no user code runs any more in this
process, the journal is as it was, and the next opener starts from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from durable_kernel.errors import (
    DivergenceError,
    JournalError,
    Stop,
    UsageError,
)
from durable_kernel.history import (
    Cell,
    Noted,
    Outline,
    PositionHistory,
    PositionOutline,
    Shutdown,
    position_history,
)
from durable_kernel.history.views import recent_calls
from durable_kernel.replay import Diverges
from durable_kernel.runtime.branching import Branching
from durable_kernel.runtime.budget import Budget
from durable_kernel.runtime.cell import CellExecution, CellRequest, request_of
from durable_kernel.runtime.deciding import decide_waiting, queue_decision
from durable_kernel.runtime.finding import Found, begin_anew
from durable_kernel.runtime.flushing import FlushTimer
from durable_kernel.runtime.inputs import InputExecution
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.keeping import Keeping
from durable_kernel.runtime.later_words import LaterWords
from durable_kernel.runtime.modules import ProjectModules, explaining_edits
from durable_kernel.runtime.plan import Plan
from durable_kernel.runtime.port import RunPort
from durable_kernel.runtime.reporting import status_of
from durable_kernel.runtime.retrying import (
    Attempts,
    allowed_by,
    is_asked_live,
    is_to_be_retried,
    require_repeatable,
    require_sound,
    require_untainted,
)
from durable_kernel.runtime.secrets import RunSecrets
from durable_kernel.runtime.settings import Resume, Settings
from durable_kernel.runtime.storing import Storing
from durable_kernel.runtime.surroundings import Surroundings
from durable_kernel.runtime.vitals import Doing, Vitals
from durable_kernel.store import Store

__all__ = ["Run"]

_SHUTDOWN_GRACE_TURNS, _TURN_S = 30, 0.01
"""A graceful stop interrupts the cell before its message comes; a commit waits this long for it."""


class Run(Branching):
    """One opened run. Made by `open_run`."""

    def __init__(
        self,
        *,
        store: Store,
        found: Found,
        settings: Settings,
        surroundings: Surroundings,
        leave: Callable[[int], None],
    ) -> None:
        place, journal, outline, records = found.place, found.journal, found.outline, found.records
        self.run_id = place.run_id
        self.beginning = found.beginning
        self.place = place
        self.settings = settings
        self.secrets = RunSecrets(store.redaction_key(place.run_id), self.tell)
        self.outline = outline
        self._vitals = Vitals(place.folder, journal.epoch, found.beginning)
        self.interrupts = Interrupts(self._vitals.hear, lambda: self.port.is_live)
        self.world = surroundings.world
        self.generators = surroundings.generators
        self.storing = Storing(records, journal.blobs, self.secrets)
        bound = settings.kept_max_bytes
        note = self.secrets.note_variable
        self.keeping = Keeping(records, journal.blobs, note, bytes_max=bound)
        self.plan = Plan.of(outline)
        self._surroundings = surroundings
        self._store = store
        self._journal = journal
        self._records = records
        self._cursor = 0
        self._budget = Budget(settings.journal_max_bytes)
        self._generators: Mapping[str, Any] | None = None
        self._notices: list[str] = []
        self._shutdown = threading.Event()
        self._running: CellExecution | None = None
        self._replayed_calls = 0
        self.answered = 0
        self._attempts = Attempts(
            outline,
            self._load,
            self.world.wall_ns,
            lambda left: self.modules.has_edited(left),  # noqa: PLW0108 - made below
        )
        self.port = RunPort(
            journal,
            self.storing,
            secrets=self.secrets,
            world=self.world,
            policy=settings.in_doubt,
            interrupts=self.interrupts,
            leave=leave,
            hosts=settings.hosts,
        )
        self.port.later_word = LaterWords(lambda: self.outline.positions, self._load).kind_after
        self.modules = ProjectModules(self.port, self.storing)
        surroundings.keep_sources(self.modules)
        self._timer = FlushTimer(self._flush)
        self._timer.start()

    def __repr__(self) -> str:
        replayed = f"{self._cursor} of {len(self.outline.positions)} replayed"
        return f"<Run {self.run_id} {self.state}, {replayed}>"

    # --- what it is doing -------------------------------------------------------------------------

    @property
    def latch(self) -> Stop | None:
        return self.port.latch

    @property
    def state(self) -> str:
        """One word: live, replaying, in doubt, diverged or stopped."""
        if isinstance(self.port.latch, DivergenceError):
            return "diverged"
        if self.port.latch is not None:
            return "stopped"
        if self.port.parked:
            return "in doubt"
        if self._running is not None and not self._running.is_replay:
            return "live" if self.port.is_live else "replaying"
        return "replaying" if self._cursor < len(self.outline.positions) else "live"

    @property
    def is_running(self) -> bool:
        return self._running is not None

    @property
    def next_position(self) -> int:
        positions = self.outline.positions
        if self._cursor < len(positions):
            return positions[self._cursor].position
        return positions[-1].position + 1 if positions else 0

    def tell(self, sentence: str) -> None:
        """Keep a sentence that the user is told once."""
        sentence = self.secrets.redact_text(sentence)
        if sentence not in self._notices:
            self._notices.append(sentence)

    @property
    def next_kind(self) -> str | None:
        """The kind of the next recorded position, as `Cell.kind`; None when all are done."""
        positions = self.outline.positions
        return positions[self._cursor].cell.kind if self._cursor < len(positions) else None

    def take_notices(self) -> list[str]:
        """Sentences not told yet; they are told now."""
        taken, self._notices = self._notices, []
        return taken + self.modules.news()

    def status(self) -> dict[str, Any]:
        """Return what `%durable status` shows, as plain values."""
        return status_of(
            self,
            self._journal,
            self._budget,
            replayed_calls=self._replayed_calls,
            is_running=self._running is not None,
        )

    def log(self, limit: int = 50, position: int | None = None) -> list[dict[str, Any]]:
        """List the last recorded calls, newest last. Reads the journal."""
        self.port.flush()
        return recent_calls(self.read_outline(), self._load, limit, position)

    def read_outline(self) -> Outline:
        """Fold the journal as it is now. Safe from any thread; takes as long as a scan."""
        return Outline.of(self._store.frames(self.place), self._records)

    def plan_now(self) -> Plan:
        """Make the plan of a recovery from all that is recorded by now. Safe from any thread."""
        return Plan.of(self.read_outline())

    # --- replay -----------------------------------------------------------------------------------

    def recorded(self) -> Iterator[PositionHistory]:
        """Yield the positions to replay, in order; the last one may be open.

        A cell that asked to exit is left out.
        Raises TaintedPositionError at a position that may not be executed again by itself.
        """
        while (history := self.next_recorded()) is not None:
            yield history

    def next_recorded(self) -> PositionHistory | None:
        """Return the next recorded position; None when all are done.

        Does not move on: a replayed cell does when it is finished.
        """
        while self._cursor < len(self.outline.positions):
            outline = self.outline.positions[self._cursor]
            if outline.committed is not None and outline.committed.asked_exit:
                self._cursor += 1
                continue
            return self._load(outline)
        return None

    def unfinished(self) -> list[PositionHistory]:
        """Read what is recorded of cells that never ended: the open one, and those left."""
        cut = [each for each in self.outline.waiting if each.committed is None]
        if self.outline.open_position is not None:
            cut.append(self.outline.open_position)
        return [self._load(each) for each in cut]

    def replay_cell(self, history: PositionHistory) -> CellExecution:
        """Execute a recorded position again. Raises TaintedPositionError, unless `redo` is set."""
        require_repeatable(history, self.settings)
        donor = None
        if history.committed is None:
            history.forget_unseen()
        if history.is_input:
            return InputExecution(self, history.position, request_of(history), history)
        if history.committed is None:
            donor = self._attempts.before_open(history, self.settings)
        return CellExecution(self, history.position, request_of(history), history, donor)

    def match_cell(self, request: CellRequest, *, expects_error: bool = False) -> CellExecution:
        """Decide what a request is: the next recorded position, one to run again, or a new one.

        The last recorded cell begins anew if it failed (unless the notebook `expects_error`), or
        was edited since it was interrupted. Any other edited cell begins a branch.
        Raises BranchRefusedError, TaintedPositionError or PoisonedPositionError.
        """
        recorded = self.next_recorded()
        if recorded is None:
            return self.start_cell(request)
        is_last = self.outline.last_cell is self.outline.positions[self._cursor]
        modules = self.modules.edited_at(recorded.position, self.outline)
        is_edited = recorded.source != request.source or bool(modules)
        if is_last and is_to_be_retried(
            recorded, request, expects_error=expects_error, is_edited=is_edited
        ):
            require_untainted(recorded, self.settings)
            self._leave(recorded.position, "retry", reuses=True)
        elif not is_edited and not is_asked_live(recorded, request):
            require_sound(recorded, self.beginning, self.settings)
            return self.replay_cell(recorded)
        else:
            edited, allowed = ", ".join(modules) or "the cell", allowed_by(request)
            with explaining_edits(modules):
                self.branch(recorded.position, f"{edited} was edited", reuses=True, allowed=allowed)
        return self.start_cell(request)

    def start_cell(self, request: CellRequest) -> CellExecution:
        """Begin a new position, live. It may take the place of one that was left behind."""
        self._require_end()
        donor = self._attempts.before_new(self.next_position, request, self.settings)
        return CellExecution(self, self.next_position, request, None, donor)

    def start_input(
        self, request: CellRequest, has_changed: Callable[[], bool] = lambda: True
    ) -> InputExecution:
        """Begin a position that is no cell, live; it is kept if an effect ran or `has_changed`."""
        self._require_end()
        return InputExecution(self, self.next_position, request, None, has_changed)

    def _require_end(self) -> None:
        if self.port.latch is not None:
            raise self.port.latch.with_traceback(None)
        if self._cursor < len(self.outline.positions):
            raise UsageError(
                f"position {self._cursor} is recorded and not replayed yet: it is next."
            )

    def attend(self, *, can_ask: bool) -> None:
        """Note whether who sends the cell that comes takes questions.

        A job that is compared cell by cell and takes none has nobody to decide about an act in
        doubt: unless the settings say otherwise, the cell fails and says what is to be done.
        """
        self.port.doubts.can_ask = can_ask or self.settings.resume is not Resume.MATCH

    # --- called by a cell's execution -------------------------------------------------------------

    def begin_cell(self, execution: CellExecution) -> None:
        """Put the generators back to where the last position left them; blame this cell."""
        if self._generators is not None:
            self.generators.restore(self._generators)
        self.world.is_cell_running = True
        self.world.is_redoing = (
            self.settings.redo and execution.history is not None and execution.history.is_tainted
        )
        self._running = execution
        doing = Doing.RESTORING if execution.is_replay else Doing.IN_CELL
        self._vitals.enter(execution.position, doing, is_new=execution.history is None)
        self.modules.begin(execution.history)

    def look_around(self) -> None:
        """Look at what the next cell begins with, while nobody waits for it. The main thread.

        Signals so far are none of its own, and it finds this folder.
        """
        self._vitals.rest()
        self.keeping.look_around()

    def end_cell(self, _execution: CellExecution) -> None:
        self.port.leave_position()
        self.keep_generators()
        self.world.leave_cell()
        self._vitals.leave()
        self.modules.end()
        self._running = None

    def keep_generators(self) -> None:
        """Remember the generators' state: the next position begins with it, whoever drew since.

        But for lanes that are left: what they draw meanwhile is drawn, in an order of its own (H9).
        """
        self._generators = None if self.port.crowd.has_others else self.generators.save()

    def committed(self, execution: CellExecution) -> None:
        """Keep the outline of a position that became final: the next one counts from it."""
        if execution.history is not None:
            self._cursor += 1
        else:
            self._note_new(execution)
        if news := self._budget.news(self._journal.size_bytes):
            self.tell(news)

    def replayed(self, execution: CellExecution) -> None:
        self._cursor += 1
        if self._cursor == len(self.outline.positions):
            self.port.go_live()
        if execution.history is not None:
            self._replayed_calls += sum(map(len, execution.history.calls.values()))

    def diverged(self, unmet: Diverges) -> None:
        self.port.set_latch(self.port.divergence(unmet))

    def clock_reading(self) -> Mapping[str, float]:
        return self._surroundings.clocks.reading()

    # --- from other threads and processes ---------------------------------------------------------

    def resolve(self, effect: str | None, choice: str, answer: bytes | None) -> str:
        """Decide about the act that waits. Returns a sentence.

        Where the run stopped with an act in doubt, the decision waits for the next start.
        Raises UsageError or AnswerRejectedError; the act waits on.
        """
        if waiting := list(self.port.parked):
            return decide_waiting(waiting, effect, choice, answer, self.world.wall_ns())
        unfinished = self.read_outline().doubtful if self.port.latch is not None else None
        return queue_decision(self._store, self.place, unfinished, effect, choice, answer)

    def late_output(
        self, position: int, kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> bool:
        """Journal text that came after its cell's commit (H20).

        False: it is not on disk, so don't show it.
        """
        try:
            self.port.write_packed(
                [self.storing.output(kind, dict(content), dict(metadata), position)]
            )
        except JournalError as error:
            self.tell(str(error))
            return False
        return True

    def note(self, sentence: str) -> None:
        """Tell the user something, and keep it with the running position."""
        self.tell(sentence)
        self.port.write(Noted(sentence=sentence))

    def shutdown(self, *, restart: bool) -> None:
        """Record that the kernel was asked to stop. A cell interrupted from now on stays open."""
        self._shutdown.set()
        position = self._running.position if self._running is not None else None
        now_ns = self.world.wall_ns()
        record = Shutdown(
            wall_ns=now_ns, restart=restart, position=position, answered=self.answered
        )
        try:
            self.port.write(record)
        except JournalError as error:  # a full disk does not keep a kernel from stopping
            self.tell(str(error))

    def is_shutting_down(self) -> bool:
        """Tell whether a shutdown was asked for, waiting the grace time for one that comes."""
        return any(self._shutdown.wait(_TURN_S) for _ in range(_SHUTDOWN_GRACE_TURNS))

    def begin_anew(self) -> str:
        """Archive this run and create the one that takes its place; return that one's id."""
        return begin_anew(self._store, self.place, self.settings).run_id

    def bring_back(self) -> str:
        """Put this run away and revive the one before it. Returns its id; "": there is none."""
        found = self._store.bring_back(self.place)
        return found.run_id if found is not None else ""

    def close(self) -> None:
        """Write what waits and release the run. Safe to call twice."""
        self._timer.stop()
        self.world.detach()
        self._surroundings.keep_sources(None)
        try:
            self.port.flush()
        except JournalError as error:
            self.tell(str(error))
        self.port.close()
        self.interrupts.uninstall()
        self._vitals.close()
        self._journal.close()

    # --- inside -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._vitals.tick(is_live=self.port.is_live)
        try:
            self.port.flush()
        except JournalError as error:
            self.tell(str(error))

    def _load(self, outline: PositionOutline) -> PositionHistory:
        return position_history(self.place.folder, outline, self._records)

    def _note_new(self, execution: CellExecution) -> None:
        request = execution.request
        cell = Cell(
            position=execution.position, source=request.source, wall_ns=0, kind=request.kind
        )
        self.outline.positions.append(PositionOutline(execution.position, cell))
        self._cursor = len(self.outline.positions)
