"""Exit codes of headless runs (public contract, DESIGN §18), and which error means which."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_OF_ERROR", "Exit"]


class Exit(IntEnum):
    """What the caller of `durable run` learns."""

    DONE = 0
    CELL_RAISED = 1
    REFUSED = 2
    IN_DOUBT = 3
    DIVERGED = 4
    CANNOT_CONTINUE = 5
    SUSPENDED = 75
    INTERRUPTED = 130


EXIT_OF_ERROR: dict[str, Exit] = {
    "UsageError": Exit.REFUSED,
    "RunNotFoundError": Exit.REFUSED,
    "RunMovedError": Exit.REFUSED,
    "TaintedPositionError": Exit.REFUSED,
    "CutPositionError": Exit.REFUSED,
    "RequestInterrupted": Exit.IN_DOUBT,
    "DivergenceError": Exit.DIVERGED,
    "WorldClosedError": Exit.DIVERGED,
    "BranchRefusedError": Exit.DIVERGED,
    "ActNotRepeatedError": Exit.DIVERGED,
    "RunSuspendedError": Exit.CANNOT_CONTINUE,
    "PoisonedPositionError": Exit.CANNOT_CONTINUE,
    "JournalCorruptError": Exit.CANNOT_CONTINUE,
    "JournalFullError": Exit.CANNOT_CONTINUE,
    "JournalPoisonedError": Exit.CANNOT_CONTINUE,
    "JournalVersionError": Exit.CANNOT_CONTINUE,
    "RunLockedError": Exit.CANNOT_CONTINUE,
    "UntrustedRunError": Exit.CANNOT_CONTINUE,
}
"""By class name, since an error raised in the kernel arrives as the `ename` of a reply."""
