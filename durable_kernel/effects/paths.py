"""Which files belong to the system and not to a notebook's work, and why.

A cell that imports a module writes byte code; one that draws a plot reads fonts and keeps a list of
them. To report that, or to refuse it on replay, would make noise of the detector. What is listed
here is made again when it is missing and says nothing about the run. Everything else is the cell's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from durable_kernel.effects.callers import LIBRARY_ROOTS

__all__ = ["exclude", "is_system_path", "is_way_to_cache"]

# Devices keep nothing. /dev/shm is not here: it is memory that other processes see.
_DEVICES = frozenset(
    {
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/random",
        "/dev/urandom",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
    }
)
_DEVICE_FOLDERS = ("/dev/pts/", "/dev/fd/")
# The machine describing itself, and what packages of the system bring along: fonts, time zones,
# certificates, mime types, resolver settings. Read only: a write there is an act.
_READ_ONLY = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib/", "/lib64/", "/var/cache/")
_READ_ONLY_MAC = ("/System/", "/Library/", "/private/etc/", "/opt/homebrew/")


def _home(variable: str, *below: str) -> list[Path]:
    """Find a folder: named by an environment variable, else below the home, if that is known."""
    named = os.environ.get(variable) if variable else None
    if named:
        return [Path(named)]
    try:
        return [Path.home().joinpath(*below)]
    except RuntimeError:
        return []


def _cache_roots() -> tuple[str, ...]:
    """Find what libraries fill as a by-product of being used, and the state of Jupyter itself."""
    found = [
        *(path / "matplotlib" for path in _home("XDG_CONFIG_HOME", ".config")),
        *(path / "matplotlib" for path in _home("XDG_CACHE_HOME", ".cache")),
        *(path / "fontconfig" for path in _home("XDG_CACHE_HOME", ".cache")),
        Path("/var/cache/fontconfig"),
        # History, profiles and the runtime folder: connection files, not results.
        *_home("IPYTHONDIR", ".ipython"),
        *_home("JUPYTER_CONFIG_DIR", ".jupyter"),
        *_home("JUPYTER_RUNTIME_DIR", ".local", "share", "jupyter", "runtime"),
        *_home("JUPYTER_RUNTIME_DIR", "Library", "Jupyter", "runtime"),
        *(path / "runtime" for path in _home("JUPYTER_DATA_DIR", ".local", "share", "jupyter")),
    ]
    return tuple({_rooted(path) for path in found})


def _rooted(path: Path | str) -> str:
    return str(Path(path).absolute()) + os.sep


_CACHES = _cache_roots()
# matplotlib's own fallback when the home can't be written.
_MATPLOTLIB_TEMPORARY = _rooted(tempfile.gettempdir()) + "matplotlib-"
_FONTS = tuple(
    _rooted(path) for path in (*_home("", ".fonts"), *_home("", ".local", "share", "fonts"))
)
_EXCLUDED: set[str] = set()


def exclude(paths: Iterable[Path | str]) -> None:
    """Declare folders that the kernel itself writes: the store of runs. Adds to earlier ones."""
    for path in paths:
        _EXCLUDED.add(_rooted(path))
        _EXCLUDED.add(_rooted(Path(path).resolve()))


def is_system_path(path: str | bytes | os.PathLike[str], *, writing: bool = True) -> bool:
    """Tell whether using `path` is none of the cell's doing. Relative to the current folder.

    For writing: byte code, devices, the caches above, the store. For reading also this Python, its
    packages, and the system's own files. Links are not resolved: the name decides.
    """
    name = os.fsdecode(path)
    if name in _DEVICES or name.startswith(_DEVICE_FOLDERS):
        return True
    if "__pycache__" in name or name.endswith((".pyc", ".pyo")):
        return True
    full = os.path.normpath(name if name.startswith("/") else f"{os.getcwd()}/{name}")  # noqa: PTH109 - asked at each open
    inside = full + os.sep  # a folder is in itself
    if inside.startswith((*_CACHES, _MATPLOTLIB_TEMPORARY, *_EXCLUDED)):
        return True
    plots = os.environ.get("MPLCONFIGDIR")  # notebooks set it in their first cell
    if plots and inside.startswith(_rooted(plots)):
        return True
    return not writing and inside.startswith(
        (*LIBRARY_ROOTS, *_READ_ONLY, *_READ_ONLY_MAC, *_FONTS)
    )


def is_way_to_cache(path: str | bytes | os.PathLike[str]) -> bool:
    """Tell whether a cache lies below `path`: its library makes the folders above it, too."""
    return any(cache.startswith(_rooted(os.fsdecode(path))) for cache in _CACHES)
