"""headless: notebooks without a front end, on nbclient.

Runs, resumes, and writes outputs after each cell.
"""

from durable_kernel.headless.exits import EXIT_OF_ERROR, Exit
from durable_kernel.headless.runner import Progress, RunRequest, run_notebook

__all__ = ["EXIT_OF_ERROR", "Exit", "Progress", "RunRequest", "run_notebook"]
