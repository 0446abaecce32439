"""Modules and scripts of the project: what they say is an input of the cell that loads them (H25).

    import, importlib.reload, python -m    the one place where source becomes a module's code
    runpy.run_path                         the one place where runpy reads a file
    %run                                   the kernel asks `read_script`

Code of this Python and of installed packages passes: its version is told, not its text. An editable
install is project code. Not seen: extension modules, zip files, bytecode without a source, and
`exec(open(…).read())`, which is told as the reading of a file.

A module that is gone from the disk is found where the journal says it was, as long as a position
replays that loaded it.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from durable_kernel.ports import Sources, Witness, suspended

__all__ = ["install", "is_project_file", "keep_in", "read_script", "recorded_script", "script_name"]

_time = time.time
_RESTED_S = 2.0
"""A cache of bytecode goes by whole seconds: that of a file that changed just now may be older."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def _find_roots() -> tuple[str, ...]:
    """Return the folders of this Python's library, and our own; not all below its prefix."""
    named = sysconfig.get_paths()
    found = [named[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found += [str(Path(os.__file__).parent), str(Path(__file__).parents[1])]
    paths = [Path(path) for path in found]
    both = {str(path.absolute()) for path in paths} | {str(path.resolve()) for path in paths}
    return tuple(sorted(path + os.sep for path in both))


_ROOTS = _find_roots()
_NOT_OURS = ("<", *_ROOTS)


class _Hook:
    """Whom the hooks ask, and what they replaced."""

    is_installed = False
    sources: Sources | None = None
    get_code: Callable[[SourceFileLoader, str], CodeType | None]
    code_from_file: Callable[..., Any]


def keep_in(sources: Sources | None) -> None:
    """Ask this one for the source of project code from now on; None: nobody."""
    _Hook.sources = sources


def is_project_file(path: object) -> bool:
    """Tell whether a file of code is the user's own: neither this Python's nor installed."""
    if not isinstance(path, str) or path.startswith(_NOT_OURS):
        return False
    absolute = Path(path).absolute()
    return not str(absolute).startswith(_ROOTS) and not _INSTALLED & set(absolute.parts)


def script_name(path: str) -> str:
    """Name a script by its path: relative where it stands below the working folder."""
    absolute = Path(path).absolute()
    folder = Path.cwd()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def read_script(path: str) -> bytes | None:
    """Return the source of a script that is about to run; None: nobody records it."""
    if _Hook.sources is None or not is_project_file(path):
        return None
    return _Hook.sources.load(script_name(path), str(Path(path).absolute()), _read(path))


def recorded_script(path: str) -> str | None:
    """Return where a script was, while a position replays that ran it; None: it did not."""
    sources = _Hook.sources
    return sources.path_of(script_name(path)) if sources is not None else None


def _read(path: str) -> bytes | None:
    try:
        with suspended():
            return Path(path).read_bytes()
    except OSError:
        return None


def _get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    sources, path = _Hook.sources, str(loader.path)
    if sources is None or not is_project_file(path):
        return _Hook.get_code(loader, fullname)
    before = _state_of(path)
    source = sources.load(fullname, path, on_disk := _read(path))
    if source is None:
        return _Hook.get_code(loader, fullname)
    if source == on_disk and before is not None and _time() - before[0] > _RESTED_S:
        code = _Hook.get_code(loader, fullname)  # perhaps from its cache of bytecode
        if _state_of(path) == before:
            return code
    return loader.source_to_code(source, path)


def _state_of(path: str) -> tuple[float, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime, found.st_size


def _code_from_file(*args: Any) -> Any:
    """Do as runpy does, for (run_name, path) or, from 3.12 on, for (path)."""
    path = os.fsdecode(args[-1])
    source = read_script(path) if path.endswith(".py") else None
    if source is None:
        return _Hook.code_from_file(*args)
    code = compile(source, path, "exec")
    return code if len(args) == 1 else (code, args[-1])


class _RecordedFinder:
    """Finds a module that is gone, while a position replays that loaded it.

    Asked first: a folder that lost its `__init__.py` would be found as a namespace.
    """

    @staticmethod
    def find_spec(
        fullname: str,
        _path: Sequence[str] | None = None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        path = _Hook.sources.path_of(fullname) if _Hook.sources is not None else None
        if path is None or Path(path).exists():
            return None
        folder, name = str(Path(path).parent), Path(path).name
        return importlib.util.spec_from_file_location(
            fullname,
            path,
            loader=SourceFileLoader(fullname, path),
            submodule_search_locations=[folder] if name == "__init__.py" else None,
        )


def install(_witness: Witness) -> None:
    """Install the hooks. Again: nothing is to be replaced; `keep_in` says whom they ask."""
    if _Hook.is_installed:
        return
    _Hook.is_installed = True
    _Hook.get_code = SourceFileLoader.get_code
    SourceFileLoader.get_code = _get_code  # type: ignore[method-assign, assignment]
    _Hook.code_from_file = runpy._get_code_from_file  # type: ignore[attr-defined]
    runpy._get_code_from_file = _code_from_file  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=partial(keep_in, None))  # the journal is the parent's
    sys.meta_path.insert(0, _RecordedFinder)
