"""runtime: joins the rooms. Open a run, recover it, run a cell, close. Knows nothing of Jupyter."""

from durable_kernel.runtime.answering import (
    LIVE_LINE,
    RecordedOutput,
    is_live_cell,
    is_same_cell,
    outputs_of,
)
from durable_kernel.runtime.cell import CellExecution, CellRequest, CellResult
from durable_kernel.runtime.comparing import beyond
from durable_kernel.runtime.finding import Sought, records_of
from durable_kernel.runtime.inbox import (
    AskedResolution,
    inbox_of,
    queue_instead,
    queue_resolution,
    queued_resolutions,
    read_answer,
)
from durable_kernel.runtime.inputs import InputExecution
from durable_kernel.runtime.kinship import Marks, find_kin
from durable_kernel.runtime.leaving import leave_failed_of, rewind_of
from durable_kernel.runtime.opening import mark_finished, open_run
from durable_kernel.runtime.parking import advice, effect_name
from durable_kernel.runtime.plan import Plan
from durable_kernel.runtime.retrying import Allowed, cells_from
from durable_kernel.runtime.run import Run
from durable_kernel.runtime.settings import Resume, Settings
from durable_kernel.runtime.starting import Beginning, Start, Told
from durable_kernel.runtime.surroundings import Surroundings, prepare

__all__ = [
    "LIVE_LINE",
    "Allowed",
    "AskedResolution",
    "Beginning",
    "CellExecution",
    "CellRequest",
    "CellResult",
    "InputExecution",
    "Marks",
    "Plan",
    "RecordedOutput",
    "Resume",
    "Run",
    "Settings",
    "Sought",
    "Start",
    "Surroundings",
    "Told",
    "advice",
    "beyond",
    "cells_from",
    "effect_name",
    "find_kin",
    "inbox_of",
    "is_live_cell",
    "is_same_cell",
    "leave_failed_of",
    "mark_finished",
    "open_run",
    "outputs_of",
    "prepare",
    "queue_instead",
    "queue_resolution",
    "queued_resolutions",
    "read_answer",
    "records_of",
    "rewind_of",
]
