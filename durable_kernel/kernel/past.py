"""The past: `%durable at` asks another process, which replays the run up to there.

What that does is said in `headless.looking`; here it is started, from a kernel that has the run
open and goes on. The shell-channel thread waits for it, so it has an end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from durable_kernel.errors import UsageError
from durable_kernel.store import Store

__all__ = ["look_at"]

_SECONDS_MAX = 120.0
_COMMAND = "from durable_kernel.cli import main; main()"
_NOT_HANDED_ON = frozenset({"DURABLE_RUN", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"})
_SAID_BY_US = "durable: "


def look_at(run_id: str, store: Store, position: int, expression: str) -> dict[str, Any]:
    """Return what `durable at --json` prints. Blocks for as long as the replay takes.

    Raises UsageError with what it says, and where it takes longer than two minutes.
    """
    command = [sys.executable, "-c", _COMMAND, "at", "--json", f"={run_id}", str(position)]
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    environ.update(NO_COLOR="1", DURABLE_HOME=str(store.home), DURABLE_KEY_FILE=str(store.key_path))
    try:
        done = subprocess.run(
            [*command, "--", *([expression] if expression else [])],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"the replay up to cell {position} takes longer than {_SECONDS_MAX:.0f} s. In a "
            f"terminal it may take its time: `durable at {run_id} {position} EXPR`."
        ) from None
    try:
        look: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().removeprefix(_SAID_BY_US)
        raise UsageError(said or f"it ended with {done.returncode} and said nothing.") from None
    return look
