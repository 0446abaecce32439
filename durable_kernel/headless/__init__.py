"""headless: notebooks without a front end. Runs, resumes, writes outputs after each cell; built on nbclient."""

from durable_kernel.headless.exits import Exit
from durable_kernel.headless.runner import Progress, RunRequest, run_notebook

__all__ = ["Exit", "Progress", "RunRequest", "run_notebook"]
