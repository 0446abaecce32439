"""headless: notebooks without a front end, on nbclient.

Runs, resumes, and writes outputs after each cell. The runner is imported when it is asked for:
nbclient takes seconds where the packages are that nbformat validates with, and commands that only
look into runs need none of it.
"""

from typing import TYPE_CHECKING, Any

from durable_kernel.headless.exits import EXIT_OF_ERROR, Exit

if TYPE_CHECKING:
    from durable_kernel.headless.runner import Progress, RunRequest, run_notebook

__all__ = ["EXIT_OF_ERROR", "Exit", "Progress", "RunRequest", "run_notebook"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from durable_kernel.headless import runner  # noqa: PLC0415 - see above

    return getattr(runner, name)
