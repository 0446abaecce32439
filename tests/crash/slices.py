"""Slices of campaigns: how tests play them, and what they say of a finding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["play", "told"]

_ROOT = Path(__file__).parent.parent.parent


def play(module: str, *arguments: str, timeout_s: float = 580) -> subprocess.CompletedProcess[str]:
    """Play a campaign in a process of its own: it forks, and its hooks stay for ever."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What a person needs to play a finding again: each in a line of its own, then the errors."""
    findings = [line[:1500] for line in done.stdout.splitlines() if line.startswith("--seed")]
    return "\n".join([*findings[:20], done.stdout[-400:], done.stderr[-2000:]])
