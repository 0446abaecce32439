"""One cell's execution: the lane around it, its outputs, and its commit.

Live and replayed cells take the same path.

The commit frame is written after the last output and before the reply (rule 4). A cell that a
latch, a doubt or a shutdown stopped is not committed: its position stays open, and the next opener
goes on inside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from durable_kernel.errors import (
    DurableError,
    JournalError,
    JournalFullError,
    RunSuspendedError,
    Stop,
)
from durable_kernel.history import (
    Cell,
    Committed,
    Kept,
    PositionHistory,
    Record,
    Resumed,
    Withdrawn,
)
from durable_kernel.ports import SECRETS, entered
from durable_kernel.replay import Donor, PositionReplay
from durable_kernel.runtime.comparing import amounts, comparable, without_text
from durable_kernel.runtime.keeping import is_brought_back, unkept_sentence
from durable_kernel.runtime.parking import effect_name
from durable_kernel.runtime.succeeding import tell_reuse

if TYPE_CHECKING:
    from durable_kernel.runtime.run import Run

__all__ = ["CellExecution", "CellRequest", "CellResult", "request_of"]

_perf_counter = time.perf_counter
_process_time = time.process_time


@dataclass(frozen=True, slots=True)
class CellRequest:
    """What a front end asked to be executed."""

    source: str
    cell_id: str | None = None
    parent_header: Mapping[str, Any] = field(default_factory=dict)
    idents: list[bytes] = field(default_factory=list)
    store_history: bool = True
    execution_count: int | None = None
    expressions: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    """As `Cell.kind`: "" for a cell."""
    silent: bool = False
    buffers: Sequence[bytes] = ()
    """What came with a widget's message."""

    def facts(self) -> dict[str, Any]:
        """Return what the journal keeps of the request."""
        facts = {
            "cell_id": self.cell_id,
            "parent_header": dict(self.parent_header),
            "idents": list(self.idents),
            "store_history": self.store_history,
            "execution_count": self.execution_count,
            "expressions": dict(self.expressions),
        }
        if self.kind:
            facts.update(silent=self.silent, buffers=list(self.buffers))
        return facts


@dataclass(frozen=True, slots=True)
class CellResult:
    """How the cell ended. `status` is "ok", "error" or "interrupted"; `reply` is kept and shown."""

    status: str
    reply: Mapping[str, Any] = field(default_factory=dict)
    asked_exit: bool = False
    execution_count: int | None = None


class CellExecution:
    """A context manager around the code of one cell.

    Made by `Run.start_cell` and `Run.replay_cell`. `donor`: the attempts that it may reuse.
    """

    def __init__(
        self,
        run: Run,
        position: int,
        request: CellRequest,
        history: PositionHistory | None,
        donor: Donor | None = None,
    ) -> None:
        self.position = position
        self.request = request
        self.history = history
        self.donor = donor
        self.is_replay = history is not None and history.committed is not None
        self.is_open = history is not None and history.committed is None
        self.is_committed = self.is_replay
        self.has_text_from_below = False
        """C code or a child wrote to descriptor 1 or 2: where among the prints is a race."""
        self.is_kept = history is not None and is_brought_back(history, partly=run.settings.partly)
        self._run = run
        self._produced: list[tuple[str, Any]] = []

    def __enter__(self) -> Self:
        run = self._run
        run.interrupts.hold()
        is_open = not (self.is_replay or run.settings.looks_only)
        replay = PositionReplay(self.history, is_open=is_open, donor=self.donor)
        port = run.port
        is_crowded = self.history.cell.is_crowded if self.history else port.crowd.has_others
        with port.lock:  # no lane may begin a call between two positions
            port.run_id = self.owner
            carried = port.carry() if self.history is None else []
            if self.history is None:
                record = Cell(
                    position=self.position,
                    source=self.request.source,
                    wall_ns=run.world.wall_ns(),
                    request=self.request.facts(),
                    is_crowded=is_crowded,
                    donor=self.donor.lsn if self.donor is not None else 0,
                    kind=self.request.kind,
                )
                self._begin(record, is_alone=not is_crowded and not carried)
            self._lane = port.enter_position(self.position, replay, is_crowded=is_crowded)
            port.announce_again(carried)
        if self.is_open:
            run.port.write(Resumed(position=self.position, wall_ns=run.world.wall_ns()))
        run.begin_cell(self)
        if (seed := run.outline.lineage.seed_of(self.position)) is not None:
            run.generators.reseed(seed)
        run.secrets.note_source(self.position, self.request.source)
        run.keeping.begin()
        self._started = (_perf_counter(), _process_time())
        self._entered = entered(self._lane)
        self._entered.__enter__()
        self._secrets_before = SECRETS.get()
        SECRETS.set(run.secrets)
        return self

    @property
    def owner(self) -> str:
        """The run that the position belongs to, as user code sees it; see `Lineage`."""
        return self._run.outline.lineage.owner_of(self.position, self._run.run_id)

    def _begin(self, record: Cell, *, is_alone: bool) -> None:  # noqa: ARG002 - for inputs
        """Write the beginning. `is_alone`: no other lane writes until it has."""
        self._run.port.write(record)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        SECRETS.set(self._secrets_before)
        self._entered.__exit__(kind, error, trace)
        self._run.end_cell(self)
        self._run.interrupts.rest()

    def redacted(self, shown: Any) -> Any:
        """Replace registered secrets in something that is about to be shown."""
        return self._run.secrets.redacted(shown)

    def enter_task(self) -> None:
        """Name the running asyncio task as the cell's own: other tasks are not this lane's."""
        try:
            self._lane.root_task = asyncio.current_task()
            self._lane.loop = asyncio.get_running_loop()
        except RuntimeError:
            self._lane.root_task = self._lane.loop = None

    def output(
        self, kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> bool:
        """Journal an output before it is published (rule 3).

        False: it is not on disk, so don't show it.
        """
        if self.is_replay:
            self._produced.append((kind, self._run.secrets.redacted(content)))
            return True
        late = self.position if self.is_committed else None
        port = self._run.port
        try:
            port.write_packed(
                [self._run.storing.output(kind, dict(content), dict(metadata or {}), late)]
            )
        except JournalError as error:
            port.set_latch(_stopped(self.position, error, port.lost))
            return False
        return True

    def _must_drain(self) -> bool:
        """Tell whether other lanes have records left. Its own left-overs `finish` tells."""
        port = self._run.port
        return port.is_crowded and not port.is_live and not port.replay.has_more("")

    def drain(self) -> None:
        """Wait until its other lanes took what is recorded of them up to the cell's end (H8).

        To be called inside the cell's context, when its code has ended.
        """
        crowd = self._run.port.crowd
        if self._must_drain():
            with contextlib.suppress(Stop):  # the latch says it
                crowd.turnstile.wait(self._lane, crowd.drained(before_commit=self.is_replay))

    async def drain_async(self) -> None:
        """Do the same without blocking the event loop."""
        crowd = self._run.port.crowd
        if self._must_drain():
            drained = crowd.drained(before_commit=self.is_replay)
            with contextlib.suppress(Stop):
                await crowd.turnstile.wait_async(self._lane, drained)

    def drain_tail(self) -> None:
        """Wait until other lanes took what they got between this cell and the next one."""
        crowd = self._run.port.crowd
        if crowd.turnstile.is_crowded and (self.is_replay or crowd.has_doubts):
            with contextlib.suppress(Stop):
                crowd.turnstile.wait(self._lane, crowd.drained(before_commit=False))

    async def drain_tail_async(self) -> None:
        """Do the same without blocking the event loop."""
        crowd = self._run.port.crowd
        if crowd.turnstile.is_crowded and (self.is_replay or crowd.has_doubts):
            drained = crowd.drained(before_commit=False)
            with contextlib.suppress(Stop):
                await crowd.turnstile.wait_async(self._lane, drained)

    def finish(self, result: CellResult) -> bool:
        """Make the cell final. Returns True once its commit is durable (or was already).

        False: the run stopped inside it; `run.latch` says why, or a shutdown suspended it.
        """
        run, port = self._run, self._run.port
        port.close_steps()
        if port.interruption is not None and result.reply.get("ename") == "RequestInterrupted":
            return self._withdraw(port.interruption)
        if port.latch is not None:
            return False
        if self.is_replay:
            return self._finish_replay()
        if result.status == "interrupted" and run.is_shutting_down():
            self._take_back_cut_call()
            return False
        try:
            if self.donor is not None:
                tell_reuse(run, self.donor, self.position, is_ok=result.status == "ok")
            port.write(*self._commit(result), sync=True)
        except JournalError as error:
            port.set_latch(_stopped(self.position, error, port.lost))
            return False
        self.is_committed = True
        run.committed(self)
        return True

    def bring_back(self) -> None:
        """Bind what the cell left, in place of executing it (H16). Inside its context."""
        run, history = self._run, self.history
        assert history is not None, "what was kept is recorded"
        assert history.kept is not None, "as `is_kept` says"
        try:
            for call in (each for calls in history.calls.values() for each in calls):
                if call.settled is not None and call.settled.secrets:
                    run.storing.outcome(call)  # what it told is secret here, too
            run.world.is_loading = True
            with contextlib.suppress(Stop):  # the latch says it
                run.keeping.bring_back(history)
            run.generators.restore(history.kept.generators or run.generators.save())
        except DurableError as error:
            run.port.set_latch(
                RunSuspendedError(
                    f"cell {self.position} was interrupted in the middle of computing, and what it "
                    f"left can't be brought back: {error}. The journal is as it was. Restart the "
                    "kernel when that is mended, or begin anew with `%durable fresh`."
                )
            )
        finally:
            run.world.is_loading = False

    def _withdraw(self, interruption: tuple[str, int]) -> bool:
        """Put the call in doubt again and stop: nobody caught RequestInterrupted (H4)."""
        lane, ordinal = interruption
        port = self._run.port
        port.write(Withdrawn(lane=lane, ordinal=ordinal), sync=True)
        port.set_latch(
            RunSuspendedError(
                f"cell {self.position} ended with RequestInterrupted; its act is still in doubt. "
                f"Settle it with %durable resolve {effect_name(self.position, lane, ordinal)} "
                "(--retry, --answer FILE or --fail), then restart the kernel."
            )
        )
        return False

    def _take_back_cut_call(self) -> None:
        """Forget that the stop cut the waiting call: resuming must not interrupt the cell again.

        Only when nothing was asked since: what `finally` blocks did stays done, and then the cell
        ends as it did.
        """
        port = self._run.port
        if port.cut_call is not None and not self._was_interrupted_elsewhere():
            lane, ordinal = port.cut_call
            port.write(Withdrawn(lane=lane, ordinal=ordinal))

    def _was_interrupted_elsewhere(self) -> bool:
        """Tell whether a signal landed outside waiting calls: no replay can repeat that (H16)."""
        return self._run.interrupts.has_broken_in(self._run.port.interrupts_recorded)

    def _finish_replay(self) -> bool:
        run = self._run
        if self.is_kept:
            run.replayed(self)
            return True
        unmet = run.port.replay.unmet_by("")
        if unmet is not None:
            run.diverged(unmet)
            return False
        assert self.history is not None
        committed = self.history.committed
        assert committed is not None
        if committed.generators and committed.generators != run.generators.fingerprint():
            run.tell(
                f"cell {self.position}: the random generators ended in another state than recorded."
            )
        self._tell_soft_differences()
        run.modules.packages.compare(committed.packages)
        if self._differs():
            run.tell(
                f"cell {self.position} printed something else than the journal recorded, though "
                "its effects were the same: something that is not recorded has changed, such as a "
                f"file it reads. `durable show {run.run_id} --cell {self.position}` has the output "
                "of then."
            )
        run.replayed(self)
        return True

    def _differs(self) -> bool:
        """Tell whether it printed something else than the journal has (H20).

        What other lanes print falls before or behind the cell's end as the machine is busy.
        """
        assert self.history is not None, "only replay compares"
        if self.history.cell.is_crowded or self._run.port.crowd.has_others_than(self._lane):
            return False
        recorded = [
            (each.kind, self._run.storing.content_of(each))
            for each in self.history.outputs
            if each.late is None
        ]
        then, now = comparable(recorded), comparable(self._produced)
        if self.has_text_from_below:
            then, now = without_text(then), without_text(now)
        return then != now

    def owed(self) -> Counter[str]:
        """Return what is recorded of its outputs and may still come: lanes outlive it.

        In characters of each stream, and messages of each other kind.
        """
        if self.history is None or not self._run.port.crowd.has_others_than(self._lane):
            return Counter()
        content_of = self._run.storing.content_of
        recorded = amounts((each.kind, content_of(each)) for each in self.history.outputs)
        return recorded - amounts(self._produced)

    def _write_what_waits(self) -> bool:
        """Write what something that is about to leave may rest on. False: there was no room."""
        port = self._run.port
        try:
            port.write_packed([])
        except JournalError as error:
            port.set_latch(_stopped(self.position, error, port.lost))
            return False
        return True

    def _tell_soft_differences(self) -> None:
        for count, word in zip(self._run.port.soft_differences(), ("more", "less"), strict=True):
            if count:
                times = "1 time" if count == 1 else f"{count:,} times"
                self._run.tell(
                    f"cell {self.position} read clocks {times} {word} than recorded; it got the "
                    "recorded readings, then the last one again."
                )

    def _commit(self, result: CellResult) -> list[Record]:
        run = self._run
        wall, cpu = self._started
        is_cancelled_elsewhere = result.status == "interrupted" and run.port.cut_call is None
        is_inexact = self._was_interrupted_elsewhere() or is_cancelled_elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        committed = Committed(
            position=self.position,
            status="ok" if result.status == "ok" else "error",
            wall_ns=run.world.wall_ns(),
            execution_count=result.execution_count,
            # Lanes that are left may draw at any moment: then there is no state to compare.
            generators=b"" if run.port.crowd.has_others else run.generators.fingerprint(),
            clocks=run.clock_reading(),
            costs={
                "wall_s": _perf_counter() - wall,
                "cpu_s": _process_time() - cpu,
                "peak_rss_bytes": peak,
            },
            counts=dict(run.port.counts),
            reply=result.reply,
            inexact=is_inexact,
            asked_exit=result.asked_exit,
            packages=run.modules.packages.imported(),
        )
        kept = self._keep() if is_inexact else None
        return [committed] if kept is None else [kept, committed]

    def _keep(self) -> Kept | None:
        """Store the names that it changed. Says what can't be: the run stops here then."""
        run = self._run
        kept = run.keeping.keep(
            self.request.source,
            run.interrupts.handlers,
            run.generators.save(),
            has_others=run.port.crowd.has_others_than(self._lane),
        )
        if kept is not None and kept.refused:
            run.tell(unkept_sentence(self.position, kept))
        return kept


def _stopped(position: int, error: JournalError, lost: Sequence[str]) -> RunSuspendedError:
    """Say why a cell stops in its middle. Its position stays open, so a restart goes on inside.

    `lost`: calls whose outcome found no room, past which no restart comes (H34).
    """
    if not isinstance(error, JournalFullError):
        return RunSuspendedError(f"cell {position} stops here: {error}")
    full = (
        f"cell {position} stops here: {error.path} has no room for {error.wanted_bytes} bytes "
        f"({error.reason})."
    )
    if lost:
        return RunSuspendedError(
            f"{full} Before that, the answer of {lost[0]} found no room either: it happened, and "
            "is not recorded. With free space, a restart restores what was before that call and "
            "stops there; `%durable fresh` starts a new run."
        )
    return RunSuspendedError(
        f"{full} Nothing that was shown or done is lost. Free some space and restart the kernel: "
        "the cell goes on from here."
    )


def request_of(history: PositionHistory) -> CellRequest:
    """Make the request that a recorded position began with."""
    facts = history.cell.request
    return CellRequest(
        source=history.source,
        cell_id=facts.get("cell_id"),
        parent_header=facts.get("parent_header") or {},
        idents=list(facts.get("idents") or []),
        store_history=bool(facts.get("store_history", True)),
        execution_count=facts.get("execution_count"),
        expressions=facts.get("expressions") or {},
        kind=history.cell.kind,
        silent=bool(facts.get("silent", False)),
        buffers=list(facts.get("buffers") or ()),
    )
