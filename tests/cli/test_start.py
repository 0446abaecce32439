"""What a command brings along before it does anything."""

from __future__ import annotations

import subprocess
import sys

from durable_kernel import headless


def test_commands_that_only_look_into_runs_need_no_notebook_library() -> None:
    """Where a validator of nbformat's is installed, importing it takes seconds."""
    code = "import sys, durable_kernel.cli; print({'nbformat', 'nbclient'} & set(sys.modules))"

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert said.stdout == "set()\n"


def test_the_runner_is_there_when_it_is_asked_for() -> None:
    assert all(hasattr(headless, name) for name in headless.__all__)
    assert not hasattr(headless, "no_such_name")
