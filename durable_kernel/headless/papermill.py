"""papermill: the engine behind `papermill --engine durable`.

The same job, started again after any death, goes on: the run is that of this input notebook with
these parameters, as long as it is unfinished; or the one that DURABLE_RUN names. The kernel is ours
whatever kernelspec the notebook names, and compares each request with the next recorded cell.

papermill loads its engines while it is itself half imported, so nothing of it is imported above.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from durable_kernel.errors import UsageError
from durable_kernel.headless.choosing import Chosen, choose_run, cut_ends, outline_of
from durable_kernel.headless.kernels import OUTPUT_S_MAX, OwnKernelManager
from durable_kernel.headless.notebook import marks_of, name_run
from durable_kernel.replay import may_repeat
from durable_kernel.runtime import Marks, Settings, advice, effect_name, mark_finished
from durable_kernel.store import RunPlace, Store

__all__ = ["DurableEngine"]

_RESUME_WITHIN_H = 12.0
_HOUR_NS = 3600 * 10**9


class DurableEngine:
    """What papermill asks of an engine. Registered as the entry point `durable`.

    `kernels` starts what executes the notebook.
    """

    kernels: type[AsyncKernelManager] = OwnKernelManager

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        *,
        output_path: str | None = None,
        progress_bar: bool = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        **options: Any,
    ) -> Any:
        """Run or resume. Returns the notebook with its outputs, also those of a cell that raised.

        Raises UsageError for an old unfinished run, and DeadKernelError as nbclient does; after a
        doubt its note says which act it is, and how to decide.
        """
        from papermill.engines import NotebookExecutionManager  # noqa: PLC0415 - see above

        following = NotebookExecutionManager(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
        )
        following.notebook_start()
        store = Store(Settings.from_environ(os.environ).home)
        try:
            place = _execute(
                following, store, cls.kernels, kernel_name, {**options, "log_output": log_output}
            )
        finally:
            following.cleanup_pbar()
            following.notebook_complete()
        # Behind the last save: a run that is finished has its output notebook.
        if not (following.nb.metadata.get("papermill") or {}).get("exception"):
            mark_finished(store, place, "ok")
        return following.nb

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Return a name for people: the kernel that is started is this interpreter's."""
        return name or str((nb.metadata.get("kernelspec") or {}).get("name") or "durable")

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Return Python: the kernel knows nothing else."""
        del nb
        return language or "python"


def _execute(
    following: Any,
    store: Store,
    kernels: type[AsyncKernelManager],
    kernel_name: str,
    options: dict[str, Any],
) -> RunPlace:
    """Send the cells to a durable kernel. `options` are papermill's and nbclient's."""
    from papermill.clientwrap import PapermillNotebookClient  # noqa: PLC0415 - see above
    from papermill.log import logger  # noqa: PLC0415 - see above

    input_path = Path(str(options.pop("input_path", None) or following.output_path or "notebook"))
    metadata = following.nb.metadata.get("papermill") or {}
    marks = marks_of(following.nb)
    chosen = _choose(store, input_path, dict(metadata.get("parameters") or {}), marks)
    name_run(following.nb, chosen.place.run_id)
    logger.info(chosen.sentence)
    timeout_s = options.pop("execution_timeout", None) or options.pop("timeout", None)
    start_timeout_s = options.pop("start_timeout", 60)
    client = PapermillNotebookClient(
        following,
        **{
            "iopub_timeout": OUTPUT_S_MAX,
            **options,
            "kernel_manager_class": kernels,
            "kernel_name": kernel_name,
            "log": logger,
            "startup_timeout": start_timeout_s,
            "timeout": timeout_s,
        },
    )
    known = cut_ends(chosen.place)
    try:
        client.execute(env=_environment(store, chosen.place, input_path))
    except DeadKernelError as error:
        for sentence in _doubts(store, chosen.place):
            error.add_note(sentence)
        raise
    finally:
        for name in sorted(cut_ends(chosen.place) - known):
            logger.info("the torn end of an interrupted write was cut; %s keeps it", name)
    return chosen.place


def _choose(store: Store, notebook: Path, parameters: Mapping[str, Any], marks: Marks) -> Chosen:
    """Find the run that goes on, or make one. An old one is nobody's guess."""
    now_ns = time.time_ns()
    name = os.environ.get("DURABLE_RUN") or None
    chosen = choose_run(
        store,
        notebook,
        parameters,
        name=name,
        fresh=False,
        now_ns=now_ns,
        resume_within_s=None,
        marks=marks,
    )
    openers = chosen.outline.openers if chosen.outline is not None else []
    age_h = (now_ns - openers[-1].wall_ns) / _HOUR_NS if openers else 0.0
    if name is None and age_h > _RESUME_WITHIN_H:
        raise UsageError(
            f"{notebook.name}: run {chosen.place.run_id} with these parameters is unfinished and "
            f"was last opened {age_h:.0f} hours ago; a job does not go on by itself after "
            f"{_RESUME_WITHIN_H:.0f}. DURABLE_RUN={chosen.place.run_id} goes on with it; "
            "DURABLE_RUN with a new name begins anew."
        )
    return chosen


def _environment(store: Store, place: RunPlace, notebook: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment.update(
        DURABLE_RUN=place.run_id,
        DURABLE_RESUME="match",
        DURABLE_HOME=str(store.home),
        DURABLE_KEY_FILE=str(store.key_path),
        DURABLE_NOTEBOOK=str(notebook.resolve()),
    )
    environment.setdefault("DURABLE_IN_DOUBT", "stop")
    environment.setdefault("PYTHONHASHSEED", "0")
    return environment


def _doubts(store: Store, place: RunPlace) -> list[str]:
    """Say which acts keep the run from going on by itself."""
    unfinished = outline_of(store, place).open_position
    if unfinished is None:
        return []
    return [
        f"durable: {each.label} was announced, and the kernel died before an answer was recorded; "
        f"it is not sent again unasked.{advice(each)} Look at the other side, then `durable "
        f"resolve {place.run_id} {effect_name(unfinished.position, each.lane, each.ordinal)}` with "
        "--retry, --answer FILE or --fail, and start this job again."
        for each in unfinished.pending.values()
        if not may_repeat(each, time.time_ns())
    ]
