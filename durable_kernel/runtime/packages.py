"""Packages: versions of what cells import, kept with their commits; drift is told once (H25).

Installed code is not kept, only what it calls itself: `__version__` of the imported module, else
the version of a distribution of the same name. A commit holds what its position imported first.
Replay uses the packages of today; where one differs from the recorded one, that is a likely cause
of whatever comes out differently.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import PurePath

from durable_kernel.ports import machinery

__all__ = ["Packages"]

_PYTHON = "Python"
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class Packages:
    """What this process imported, compared with what the journal says."""

    def __init__(self) -> None:
        self._known = frozenset(sys.modules)
        self._count = len(sys.modules)
        self._has_told_python = False
        self._drift: dict[str, tuple[str, str]] = {}

    def imported(self) -> dict[str, str]:
        """Return name and version of the packages that were imported since the last call."""
        found = {} if self._has_told_python else {_PYTHON: platform.python_version()}
        self._has_told_python = True
        for name in self._new_names():
            version = _version_of(name)
            if version is not None:
                found[name] = version
        return found

    def compare(self, recorded: Mapping[str, str]) -> None:
        """Compare what a replayed position imported then with what it imported now."""
        self._new_names()
        for name, version in recorded.items():
            now = platform.python_version() if name == _PYTHON else _version_of(name)
            if now is not None and now != version:
                self._drift[name] = (version, now)

    def news(self) -> list[str]:
        """Say, once, what is of another version now."""
        drift, self._drift = self._drift, {}
        if not drift:
            return []
        listed = ", ".join(f"{name} {then} (now {now})" for name, (then, now) in drift.items())
        what = "restored cells were executed with the versions of now, and may come out differently"
        return [f"recorded with {listed}: {what}."]

    def _new_names(self) -> frozenset[str]:
        """Return the top-level modules that came since the last look. Most cells import nothing."""
        if len(sys.modules) == self._count:
            return frozenset()
        names = frozenset(sys.modules)
        new, self._known, self._count = names - self._known, names, len(names)
        return frozenset(name for name in new if "." not in name) - sys.stdlib_module_names


def _version_of(name: str) -> str | None:
    """Return the version of an installed module; None where it is not installed, or has none."""
    module = sys.modules.get(name)
    known = getattr(module, "__dict__", {})
    path = known.get("__file__")
    if not isinstance(path, str) or _INSTALLED.isdisjoint(PurePath(path).parts):
        return None
    version = known.get("__version__")
    if isinstance(version, str):
        return version
    try:
        with machinery():
            return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError, OSError):
        return None
