"""The files of this project as git sees them: tracked ones, and new ones that are not ignored."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "durable_kernel"


def files(pattern: str = "*") -> list[Path]:
    """Return the files whose path relative to the root matches `pattern`, sorted.

    `*` also crosses folders, as it does for git: `tests/*.py` is every test file.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = {ROOT / name for name in listed.stdout.split("\0") if name}
    return sorted(path for path in found if path.is_file())


def name(path: Path) -> str:
    """Return the path as a reader would write it."""
    return path.relative_to(ROOT).as_posix()
