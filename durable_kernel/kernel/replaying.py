"""Restoring: from a started process to a live one. Opens the run, replays, finishes the cut cell.

Runs as the first message of the main thread: requests that come meanwhile queue behind it, in
order, and the shell-channel thread answers what must not wait (`direct`). The status is busy all
along, so that servers neither nudge nor cull.

Whatever keeps the run from opening, or stops its replay, is kept as the kernel's refusal: cells get
that sentence instead of being run without their journal (rule 7).
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipykernel.jsonutil import json_clean

from durable_kernel import runtime
from durable_kernel.errors import (
    DurableError,
    RunLockedError,
    RunSuspendedError,
    Stop,
    UsageError,
)
from durable_kernel.history import Cell, PositionHistory
from durable_kernel.kernel.audience import Audience
from durable_kernel.kernel.channels import look_for_subscribers
from durable_kernel.kernel.commands import Choice
from durable_kernel.kernel.histories import kept_out_of_database
from durable_kernel.kernel.identity import Identity, may_be_named_late, told_by
from durable_kernel.kernel.orphans import end_orphan
from durable_kernel.kernel.performing import Asked
from durable_kernel.kernel.progress import Progress

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Restoration"]

_LOCK_RETRIES = 50
_LOCK_RETRY_S = 0.1
"""A change of kernels starts the new process before the old one is gone (0.6 s were measured)."""
_ORPHAN_RETRIES = 25
"""A kernel looks each second whether what started it is there, and ends itself."""

_BEGUN_AGAIN = "restoring began again, after it was interrupted."
_SUBSCRIBER_TRIES = 100
_SUBSCRIBER_RETRY_S = 0.05
_SUBSCRIBERS_MORE_S = 0.2
"""Clients connect again each 0.1 s; on a busy machine one may stand still for seconds. The first is
waited for, then the others get their time. Where nobody looks, nobody waits either."""


class Restoration:
    """What happens between start and the first cell. `is_done` once requests may pass."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self.progress = Progress(kernel)
        self.audience = Audience(kernel)
        self.finished = asyncio.Event()
        self.stopped_by_restart: bool | None = None
        """Set once the kernel was asked to stop, which may be before its run is open."""
        self.is_unbound = self._is_named_late()
        """No run is open, and the first cell opens one: until then nobody names the notebook."""
        self._choice: Choice | None = None
        self._signals_seen = 0
        self._is_torn = False
        """An interrupt left names of a replayed cell half changed: nothing can go on from them."""

    @property
    def is_done(self) -> bool:
        return self.finished.is_set()

    def bind_late(self) -> None:
        """Open the run before the first cell, now that it is known. On the shell-channel thread."""
        kernel = self._kernel
        self.is_unbound = False
        self.progress, self.audience = Progress(kernel), Audience(kernel)
        self.finished.clear()
        kernel.post_restore()

    def _is_named_late(self) -> bool:
        connection_file = Path(self._kernel.connection_file)
        identity = Identity.of(connection_file, os.environ, Path.cwd())
        is_named = bool(os.environ.get("DURABLE_RUN")) or self._kernel.origin.handover is not None
        is_known = identity.is_known or is_named
        return not is_known and may_be_named_late(connection_file, os.environ)

    async def run(self) -> None:
        """Open the run and, in eager mode, replay it. Never raises what a user can act on."""
        kernel = self._kernel
        kernel.publish_state("busy", {})
        has_ended = False
        self._signals_seen = kernel.performer.signals
        ignored = signal.signal(signal.SIGINT, kernel.performer.note_signal)
        try:
            run = kernel.run if kernel.run or self.is_unbound else await self._open()
            self.audience.expect(_interrupted_cell(run))
            if run is not None:
                kernel.attach(run)
                self._pace(run)
                if self.stopped_by_restart is not None and not run.is_shutting_down():
                    run.shutdown(restart=self.stopped_by_restart)
                if self._may_replay(run):
                    await self._replay(run)
                self.progress.end()
                self._go_on_from(run)
                if run.outline.openers or kernel.origin.handover is not None:
                    await self._wait_for_subscribers()  # what waits is answered into their sockets
            has_ended = True
        finally:
            signal.signal(signal.SIGINT, ignored)
            if not has_ended and kernel.refusal is None:
                kernel.refusal = RunSuspendedError(
                    "restoring broke off with an error of the kernel's own, which its log shows. "
                    "The journal is as it was; no cell is executed."
                )
            self.finished.set()
            self.audience.end(None)
            self.progress.end()
            kernel.publish_state("idle", {})

    def _pace(self, run: runtime.Run) -> None:
        """Let what is shown again leave as slowly as a server needs it, if there is one."""
        kernel = self._kernel
        identity = Identity.of(Path(kernel.connection_file), os.environ, Path.cwd())
        kernel.session.pacer.limit(run.settings.shown_again_bytes_s if identity.is_known else 0)

    def _go_on_from(self, run: runtime.Run) -> None:
        """Let the notebook be run from its top, unless another process was in the midst of it."""
        kernel, handover = self._kernel, self._kernel.origin.handover
        if kernel.refusal_now() is not None:
            return
        if handover is not None:
            run.tell(handover.told)
        if handover is None or not handover.is_from_the_top:
            kernel.from_the_top.arm(run)

    def choose(
        self,
        choice: Choice,
        *,
        to: int | None = None,
        allowed: runtime.Allowed = runtime.Allowed.NONE,
    ) -> str:
        """Take the user's decision; the main thread carries it out.

        `to`: the last position to be restored; what was recorded after it is left behind.
        Raises UsageError, or BranchRefusedError for acts behind it that are not `allowed` again.
        """
        run = self._kernel.run
        if run is None or run.latch is not None or not self.is_done:
            raise UsageError("nothing can be restored now; restart the kernel.")
        if self._kernel.refusal_now() is None:
            raise UsageError("everything is restored already.")
        if to is not None:
            if to + 1 < run.next_position or to >= run.outline.positions[-1].position:
                raise UsageError(f"cell {to} is none of those that are still to be restored.")
            run.branch(to + 1, "restored up to here", reuses=True, allowed=allowed)
        if self._is_torn:
            self._kernel.replacement.start_anew(run.run_id, _BEGUN_AGAIN)
            return (
                "the kernel starts itself anew and restores from the beginning; cells wait for it."
            )
        self._choice = choice
        self.finished.clear()
        return "restoring goes on; cells wait for it."

    def _may_replay(self, run: runtime.Run) -> bool:
        """Apply what the user chose, or ask first if the replay is going to take very long."""
        kernel = self._kernel
        choice, self._choice = self._choice, None
        if choice is not None:
            kernel.refusal = None
            redo, partly = choice is Choice.REDO, choice is Choice.PARTLY
            run.settings = replace(run.settings, redo=redo, partly=partly)
            return choice is not Choice.WITHOUT or self._leave_behind(run)
        if run.settings.resume is not runtime.Resume.EAGER:
            return False
        if run.beginning.start is runtime.Start.STUCK:
            kernel.refusal = RunSuspendedError(run.beginning.sentence())
            return False
        if run.plan.computing_s <= run.settings.replay_ask_s or kernel.origin.handover is not None:
            return True
        kernel.refusal = RunSuspendedError(
            f"restoring this run means {run.plan}. `%durable restore` starts it; `%durable fresh` "
            "archives the run and starts a new one."
        )
        return False

    def _leave_behind(self, run: runtime.Run) -> bool:
        """Go on with the state before the position that cannot be executed again."""
        left = run.next_recorded()
        try:
            if left is not None:
                run.branch(left.position, "left behind by the user")
        except (DurableError, Stop) as error:
            self._kernel.refusal = error
            return False
        return True

    # --- opening ----------------------------------------------------------------------------------

    async def _open(self) -> runtime.Run | None:
        kernel = self._kernel
        try:
            settings = kernel.settings()
            identity = Identity.of(Path(kernel.connection_file), os.environ, Path.cwd())
            return await self._open_as(settings, identity)
        except (DurableError, Stop) as error:
            kernel.refusal = error
            return None

    async def _open_as(self, settings: runtime.Settings, identity: Identity) -> runtime.Run:
        """Open the run, waiting for a predecessor to let go of it.

        A second kernel on the same notebook gets a run of its own, and says so. A run that was
        named by the user is never exchanged for another one.
        """
        identity = identity.or_named_late(self._kernel.shell.user_ns)
        for tries in range(_LOCK_RETRIES):
            try:
                return self._open_once(settings, identity)
            except RunLockedError as error:
                if tries == _ORPHAN_RETRIES and end_orphan(error.holder):
                    self._kernel.log.warning("Ended a kernel that outlived what had started it.")
                await asyncio.sleep(_LOCK_RETRY_S)
        is_named = settings.run is not None or self._kernel.origin.handover is not None
        if is_named or identity.notebook is None:
            return self._open_once(settings, identity)
        run = self._open_once(settings, replace(identity, notebook=None))
        run.tell(
            f"Another kernel is running {identity.notebook.name}; this one has a run of its own "
            f"({run.run_id}), which starts empty."
        )
        return run

    def _open_once(self, settings: runtime.Settings, identity: Identity) -> runtime.Run:
        handover, performer = self._kernel.origin.handover, self._kernel.performer
        handed = handover.run_id if handover is not None else None
        sought = runtime.Sought(identity.kernel_id, identity.notebook, identity.read_marks, handed)
        surroundings, told = self._kernel.surroundings, told_by(os.environ)
        while True:
            try:
                return runtime.open_run(
                    settings, surroundings=surroundings, sought=sought, told=told
                )
            except KeyboardInterrupt:  # the run's own handler was there already; it is closed again
                performer.note_signal(signal.SIGINT, None)
            finally:
                signal.signal(signal.SIGINT, performer.note_signal)

    # --- replaying --------------------------------------------------------------------------------

    async def _replay(self, run: runtime.Run) -> None:
        kernel = self._kernel
        self.progress.begin(run)
        try:
            for history in run.recorded():
                if kernel.performer.signals != self._signals_seen:
                    self._stop_at(history)
                    return
                kernel.restore_count(history.cell.request.get("execution_count"))
                if history.committed is None and run.leave_offered():
                    continue
                if history.committed is None and not history.is_input:
                    await self._resume(run, history)
                else:
                    with kept_out_of_database(kernel.shell), kernel.interruptible():
                        await self.repeat(run, history)
                if kernel.refusal_now() is not None:
                    return
                if not history.is_input:
                    self.progress.advance()
                await asyncio.sleep(0)  # tasks that earlier cells left behind go on between cells
        except (DurableError, Stop) as error:
            kernel.refusal = error
            return
        except KeyboardInterrupt:  # between a cell's own lines: it would end the kernel's loop
            self._stop_at(history, is_inside=True)
            return
        _count_past_the_end(kernel, run)
        if self.progress.count:
            run.tell(self.progress.summary(run))

    async def repeat(self, run: runtime.Run, history: PositionHistory) -> None:
        """Execute a committed position again, or an input: nothing is shown, nothing is asked."""
        kernel = self._kernel
        execution = run.replay_cell(history)
        parent = _parent_of(execution.request)
        kernel.set_parent(execution.request.idents, parent, channel="shell")
        performance = await kernel.performer.perform(
            execution, asked_again(execution.request), is_shown=False
        )
        if performance.was_stopped:
            self._stop_at(history, is_inside=True)

    async def _resume(self, run: runtime.Run, history: PositionHistory) -> None:
        """Finish the cell in which the process died, under the request that started it.

        Stock JupyterLab has forgotten that request; other clients get the rest, and their reply.
        """
        kernel = self._kernel
        execution = run.replay_cell(history)
        await self._wait_for_subscribers()
        request = execution.request
        parent = _parent_of(request)
        kernel.set_parent(request.idents, parent, channel="shell")
        kernel.publish_state("busy", parent)
        kernel.publish("clear_output", {"wait": False})
        self.audience.begin()
        with kept_out_of_database(kernel.shell), kernel.interruptible():
            performance = await kernel.performer.perform(
                execution, asked_again(request), is_shown=True
            )
        if performance.was_stopped:
            self._stop_at(history, is_inside=True)
        kernel.tell_notices()
        if performance.is_final or kernel.refusal_now() is not None:
            reply = json_clean(performance.reply)
            kernel.send_reply(request.idents, parent, reply)
            self.audience.end(reply)
        kernel.publish_state("idle", parent)
        kernel.publish_state("busy", {})

    async def _wait_for_subscribers(self) -> None:
        """Give clients of the dead process a moment to come back: what is sent before is lost."""
        for _ in range(_SUBSCRIBER_TRIES):
            if self._kernel.has_subscriber.is_set():
                await asyncio.sleep(_SUBSCRIBERS_MORE_S)
                return
            look_for_subscribers(self._kernel.iopub_thread)
            await asyncio.sleep(_SUBSCRIBER_RETRY_S)

    def _stop_at(self, history: PositionHistory, *, is_inside: bool = False) -> None:
        """Report that the user interrupted the replay: state is missing from here on.

        `is_inside`: in the midst of that cell, which left its names half changed.
        """
        self._is_torn = self._is_torn or is_inside
        how = "begins again, in a new process" if self._is_torn else "goes on"
        self._kernel.refusal = RunSuspendedError(
            f"restoring was interrupted at cell {history.position}. The journal is as it was. "
            f"`%durable restore` {how}."
        )


def _interrupted_cell(run: runtime.Run | None) -> Cell | None:
    """Return the cell that is going to be finished by itself; in match mode its request comes."""
    if run is None or run.settings.resume is not runtime.Resume.EAGER:
        return None
    interrupted = run.outline.open_position
    return None if interrupted is None or interrupted.is_input else interrupted.cell


def asked_again(request: runtime.CellRequest) -> Asked:
    """Make the arguments of `do_execute` from a recorded request."""
    return Asked(
        code=request.source,
        silent=request.silent,
        store_history=request.store_history,
        user_expressions=dict(request.expressions),
        cell_id=request.cell_id,
    )


def _parent_of(request: runtime.CellRequest) -> dict[str, Any]:
    """Make the message that a recorded request came with, as far as anybody looks at it."""
    header = dict(request.parent_header)
    return {
        "header": header,
        "msg_id": header.get("msg_id"),
        "msg_type": "execute_request",
        "parent_header": {},
        "metadata": {},
        "content": {"code": request.source, "silent": False, "store_history": True},
    }


def _count_past_the_end(kernel: DurableKernel, run: runtime.Run) -> None:
    """Keep the number of a last cell that asked to exit, and so was left out."""
    positions = run.outline.positions
    last = positions[-1].committed if positions else None
    if last is not None and last.execution_count is not None:
        kernel.restore_count(max(kernel.shell.execution_count, last.execution_count + 1))
