"""The runner: one notebook, executed by a durable kernel through nbclient.

The kernel compares each request with the next recorded cell (`DURABLE_RESUME=match`), so a resumed
notebook is simply sent from its top: recorded cells are answered from the journal, the interrupted
one goes on inside. When the kernel dies the runner starts another and does the same, until a poison
cell kills two in a row without a step forward (H36).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode, ValidationError

from durable_kernel.headless.choosing import Chosen, choose_run, cut_ends, outline_of
from durable_kernel.headless.exits import EXIT_OF_ERROR, Exit
from durable_kernel.headless.kernels import OUTPUT_S_MAX, OwnKernelManager
from durable_kernel.headless.notebook import (
    check_writable,
    clear_leftovers,
    inject_parameters,
    marks_of,
    name_run,
    read_notebook,
    write_notebook,
)
from durable_kernel.history import Announced, Outline, RecordCodec, position_history
from durable_kernel.replay import may_repeat
from durable_kernel.runtime import advice, effect_name, mark_finished, queued_resolutions
from durable_kernel.store import RunPlace, Store

__all__ = ["Progress", "RunRequest", "run_notebook"]

_POISON_S = 60.0
_OWN_EDIT = "the cell was edited"
_EDITED = " was edited"
_DEATHS_MAX = 2
_START_S_MAX = 600
"""nbclient's minute is short for packages on a network drive; a death is seen at once."""
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Progress(Protocol):
    """How a run tells a person what it does."""

    def say(self, sentence: str) -> None:
        """Tell one thing."""

    def start(self, cells: int) -> None:
        """Learn how many code cells the notebook has."""

    def cell(self, done: int, outline: Outline) -> None:
        """Learn how many cells are done, and what the journal holds now."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What `durable run` was asked for.

    `output` None writes the outputs into the notebook itself.
    """

    notebook: Path
    output: Path | None = None
    name: str | None = None
    fresh: bool = False
    resume_within_s: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    home: Path | None = None
    redo: bool = False
    partly: bool = False
    repeat_acts: bool = False
    adopt: bool = False
    repeat: tuple[str, ...] = ()
    inject_key: tuple[str, ...] = ()
    cell_timeout_s: int | None = None


@dataclass(slots=True)
class _Deaths:
    """Consecutive deaths of the kernel without a step forward: a new call, or a cell that is done.

    `progress` counts (cells done, calls) at the last death.
    """

    count: int = 0
    progress: tuple[int, int] = (0, -1)
    started_at: float = 0.0

    def is_poison(self, outline: Outline, now: float) -> bool:
        """Count one death. True for the second in a row that brought nothing and came soon."""
        done = sum(each.committed is not None for each in outline.positions)
        progress = (done, sum(each.calls for each in outline.positions))
        came_late = now - self.started_at > _POISON_S
        self.count = 1 if progress > self.progress or came_late else self.count + 1
        self.progress = progress
        return self.count >= _DEATHS_MAX


def run_notebook(
    request: RunRequest,
    progress: Progress,
    *,
    kernels: type[AsyncKernelManager] = OwnKernelManager,
) -> Exit:
    """Execute or resume a notebook. Blocks until it is done, failed, in doubt or stopped.

    The output notebook is written after each cell, and names the run in its metadata
    (`durable.run_id`). `kernels` starts what executes it.
    Raises UsageError for what can't be meant.
    """
    store = Store(request.home)
    notebook = read_notebook(request.notebook)
    marks = marks_of(notebook)
    inject_parameters(notebook, request.parameters)
    check_writable(request.output or request.notebook)
    chosen = choose_run(
        store,
        request.notebook,
        request.parameters,
        name=request.name,
        fresh=request.fresh,
        now_ns=time.time_ns(),
        resume_within_s=request.resume_within_s,
        marks=marks,
    )
    name_run(notebook, chosen.place.run_id)
    progress.say(chosen.sentence)
    if lost := store.lost_key():
        progress.say(lost)
    if request.adopt:
        store.adopt(chosen.place)
    if chosen.is_finished:
        return Exit.DONE
    clear_leftovers(request.output or request.notebook)
    return asyncio.run(_Runner(request, progress, store, chosen, notebook, kernels).run())


class _Runner:
    def __init__(
        self,
        request: RunRequest,
        progress: Progress,
        store: Store,
        chosen: Chosen,
        notebook: NotebookNode,
        kernels: type[AsyncKernelManager],
    ) -> None:
        self._request = request
        self._kernels = kernels
        self._progress = progress
        self._store = store
        self._place: RunPlace = chosen.place
        self._notebook = notebook
        self._output = request.output or request.notebook
        self._deaths = _Deaths()
        self._is_stopped = False
        self._is_unwritten = False
        self._told: list[str] = []
        self._cut_ends = cut_ends(chosen.place)

    async def run(self) -> Exit:
        code_cells = [
            each
            for each in self._notebook.cells
            if each.cell_type == "code" and each.source.strip()
        ]
        self._progress.start(len(code_cells))
        while True:
            self._deaths.started_at = time.monotonic()
            try:
                exit_code = await self._attempt()
            except (DeadKernelError, KeyboardInterrupt, asyncio.CancelledError) as error:
                if self._is_stopped or not isinstance(error, DeadKernelError):
                    return self._interrupted()
                ended = self._after_death()
                if ended is not None:
                    return ended
                continue
            if exit_code is Exit.DONE and self._is_unwritten:
                self._progress.say("The run is kept: make room and run it again.")
                return Exit.CANNOT_CONTINUE
            if exit_code is Exit.DONE:
                mark_finished(self._store, self._place, "ok")
            return exit_code

    async def _attempt(self) -> Exit:
        client = NotebookClient(
            self._notebook,
            kernel_manager_class=self._kernels,
            timeout=self._request.cell_timeout_s,
            iopub_timeout=OUTPUT_S_MAX,
            startup_timeout=_START_S_MAX,
            resources={"metadata": {"path": str(self._request.notebook.resolve().parent)}},
        )
        async with self._kernel_of(client):
            done = 0
            for index, cell in enumerate(self._notebook.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                try:
                    await client.async_execute_cell(cell, index)
                except CellExecutionError as error:
                    self._write()
                    self._tell_reuse(self._outline())
                    return self._raised(error)
                except ValidationError as error:
                    self._progress.say(
                        f"cell {done} showed what a notebook file can't hold: "
                        f"{str(error).partition(chr(10))[0]}. The run keeps all that was done. "
                        "Correct the notebook and run it again."
                    )
                    return Exit.CELL_RAISED
                done += 1
                self._write()
                if (stopped := _stop_in(cell)) is not None:
                    self._progress.say(stopped.evalue)
                    return EXIT_OF_ERROR[stopped.ename]
                self._tell_repairs()
                outline = self._outline()
                self._tell_reuse(outline)
                self._progress.cell(done, outline)
        return Exit.DONE

    @asynccontextmanager
    async def _kernel_of(self, client: NotebookClient) -> AsyncIterator[None]:
        """Start a kernel; stop it at the end. Raises DeadKernelError if it dies as it starts.

        nbclient's own way stops the kernel on a signal and then fails; here a signal cancels us.
        """
        client.create_kernel_manager()
        client.shutdown_kernel = "immediate"  # one that still imports has no ears, and a traceback
        try:
            with self._stopped_by_signals():
                await self._start(client)
                client.shutdown_kernel = "graceful"
                yield
        finally:
            for each in asyncio.all_tasks() - {asyncio.current_task()}:
                each.cancel()  # nbclient leaves its polling behind, and it fails once we clean up
            if client.km is not None:
                await client._async_cleanup_kernel()  # noqa: SLF001 - it has no public name

    async def _start(self, client: NotebookClient) -> None:
        try:
            await client.async_start_new_kernel(env=self._environment())
            await client.async_start_new_kernel_client()
        except RuntimeError as error:  # all that jupyter_client has for a kernel that can't start
            raise DeadKernelError(str(error)) from None

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and a closed terminal stop the run; what is ignored stays so."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"

        def stop() -> None:
            self._is_stopped = True
            task.cancel()

        signals = [each for each in _STOPPING if signal.getsignal(each) is not signal.SIG_IGN]
        for each in signals:
            loop.add_signal_handler(each, stop)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)

    def _write(self) -> None:
        """Save the outputs. A failure is told and stops nothing: the journal has them too."""
        try:
            write_notebook(self._notebook, self._output)
        except OSError as error:
            if not self._is_unwritten:
                self._progress.say(f"{self._output}: the outputs can't be written ({error}).")
            self._is_unwritten = True
        else:
            self._is_unwritten = False

    def _tell_repairs(self) -> None:
        """Say where a kernel cut the torn end of its journal as it began."""
        known, self._cut_ends = self._cut_ends, cut_ends(self._place)
        for name in sorted(self._cut_ends - known):
            self._progress.say(
                f"the torn end of an interrupted write was cut off the journal; {name} keeps it."
            )

    def _tell_reuse(self, outline: Outline) -> None:
        """Say what was noted of a cell that took the place of an earlier attempt just now."""
        for branch in outline.branches:
            is_of_now = branch.wall_ns >= outline.openers[-1].wall_ns
            if is_of_now and branch.reason.endswith(_EDITED) and branch.reason != _OWN_EDIT:
                sentence = (
                    f"{branch.reason} since cell {branch.position} loaded it: the run goes on from "
                    "there with the code as it is now. Recorded calls that match in order are "
                    "reused."
                )
                if sentence not in self._told:
                    self._told.append(sentence)
                    self._progress.say(sentence)
        last = outline.last_cell
        if last is None or last.donor is None or last.committed is None:
            return
        if last.committed.wall_ns >= outline.openers[-1].wall_ns:
            for sentence in position_history(self._place.folder, last, RecordCodec()).notes:
                self._progress.say(sentence)

    def _interrupted(self) -> Exit:
        self._progress.say(f"interrupted; `durable run` goes on with run {self._place.run_id}.")
        return Exit.INTERRUPTED

    def _raised(self, error: CellExecutionError) -> Exit:
        exit_code = EXIT_OF_ERROR.get(error.ename, Exit.CELL_RAISED)
        if exit_code is Exit.CELL_RAISED:
            self._progress.say(f"a cell raised {error.ename}: {error.evalue}")
            self._progress.say(
                "The run keeps all that was done. Correct the notebook and run it again: calls "
                "that stay the same are answered from the journal."
            )
        else:
            self._progress.say(error.evalue)
        return exit_code

    def _after_death(self) -> Exit | None:
        """Decide after the kernel's death. None: start another one and go on."""
        outline = self._outline()
        doubtful = self._doubtful(outline)
        if doubtful:
            for position, each in doubtful:
                self._tell_doubt(position, each)
            return Exit.IN_DOUBT
        if self._deaths.is_poison(outline, time.monotonic()):
            last = outline.positions[-1].position if outline.positions else 0
            self._progress.say(
                f"the kernel died twice in cell {last} without a step forward, so it is not tried "
                "a third time. Change the cell, or give it more memory, and run again."
            )
            return Exit.CANNOT_CONTINUE
        self._progress.say("the kernel died; another one goes on from the journal.")
        return None

    def _doubtful(self, outline: Outline) -> list[tuple[int, Announced]]:
        """List the acts that may not be repeated unasked and that nobody decided about."""
        unfinished = outline.open_position
        if unfinished is None:
            return []
        decided = {asked.effect for asked in queued_resolutions(self._store, self._place)}
        now_ns = time.time_ns()
        return [
            (unfinished.position, each)
            for each in unfinished.pending.values()
            if not may_repeat(each, now_ns)
            and effect_name(unfinished.position, each.lane, each.ordinal) not in decided
        ]

    def _tell_doubt(self, position: int, announced: Announced) -> None:
        effect = effect_name(position, announced.lane, announced.ordinal)
        self._progress.say(
            f"in doubt: {announced.label} (effect {effect}). It was announced, and the kernel died "
            f"before an answer was recorded; it is not sent again unasked.{advice(announced)} Look "
            "at the other side, "
            f"then run `durable resolve {self._place.run_id} {effect}` with --retry, --answer FILE "
            "or --fail, and this command again."
        )

    def _outline(self) -> Outline:
        return outline_of(self._store, self._place)

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        environment.update(
            DURABLE_RUN=self._place.run_id,
            DURABLE_RESUME="match",
            DURABLE_HOME=str(self._store.home),
            DURABLE_KEY_FILE=str(self._store.key_path),
            DURABLE_NOTEBOOK=str(self._request.notebook.resolve()),
            PYTHONHASHSEED=environment.get("PYTHONHASHSEED", "0"),
        )
        environment.setdefault("DURABLE_IN_DOUBT", "stop")
        if self._request.redo:
            environment["DURABLE_REDO"] = "1"
        if self._request.partly:
            environment["DURABLE_PARTLY"] = "1"
        if self._request.repeat_acts:
            environment["DURABLE_REPEAT_ACTS"] = "1"
        listed = {
            "DURABLE_REPEAT": self._request.repeat,
            "DURABLE_INJECT_KEY": self._request.inject_key,
        }
        for name, hosts in listed.items():
            environment[name] = ",".join((*hosts, environment.get(name, "")))
        return environment


def _stop_in(cell: NotebookNode) -> NotebookNode | None:
    """Find a stop of ours in a cell whose errors are expected: it ends the run all the same."""
    errors: list[NotebookNode] = [each for each in cell.outputs if each.output_type == "error"]
    for each in errors:
        # A refusal is one line; with a traceback, a UsageError may be somebody else's.
        is_ours = each.ename != "UsageError" or len(each.traceback) == 1
        if each.ename in EXIT_OF_ERROR and is_ours:
            return each
    return None
