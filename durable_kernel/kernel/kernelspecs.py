"""Kernelspecs on disk: ours put in, others' kept, and all of it taken back.

    kernels/python3/                      what Jupyter finds under that name
    kernels/.durable-replaced/python3/    what stood there before ours, untouched
    kernels/.durable-new/python3/         ours while it is being written

A specification that is not ours is never deleted: it is moved aside by one rename, and back by
another. A process that dies in between leaves a name without a kernelspec and both halves beside
it; `install` or `uninstall` goes on from there. The folders that begin with a dot hold no
kernel.json of their own, so Jupyter does not list them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager, _is_valid_kernel_name
from jupyter_core.paths import SYSTEM_JUPYTER_PATH

from durable_kernel.errors import UsageError

__all__ = ["Installed", "Removed", "folder_of", "found_under", "is_ours", "put", "take_away"]

_REPLACED = ".durable-replaced"
_NEW = ".durable-new"


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a kernelspec was written. `replaced`: where what stood there before is kept.

    `shadowed_by`: a folder that Jupyter finds before this one, under the same name.
    """

    name: str
    folder: Path
    replaced: Path | None = None
    shadowed_by: Path | None = None
    is_looked_at: bool = True

    def sentences(self) -> list[str]:
        """Say what was done, and what is to be known of it."""
        told = [f"Installed kernelspec {self.name} in {self.folder}"]
        if self.replaced is not None:
            told.append(
                f"What was called {self.name} there is kept in {self.replaced}; `durable uninstall "
                f"--as {self.name}` puts it back."
            )
        if self.shadowed_by is not None:
            told.append(
                f"Jupyter finds {self.shadowed_by} before it, so {self.name} is still that one: "
                "install it there, too."
            )
        elif not self.is_looked_at:
            told.append(
                f"Jupyter does not look there as it is set up here: add "
                f"{self.folder.parent.parent} to JUPYTER_PATH, or use --user or --sys-prefix."
            )
        return told


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away. `restored`: what stood there before is there again."""

    name: str
    folder: Path
    restored: bool

    def sentences(self) -> list[str]:
        """Say what was done."""
        back = f"; the {self.name} that was there before is back" if self.restored else ""
        return [f"Removed kernelspec {self.name} from {self.folder}{back}."]


def folder_of(name: str, *, user: bool = False, prefix: str | None = None) -> Path:
    """Return the folder of a kernelspec. Raises UsageError for a name that Jupyter does not take.

    `user`: in the user's data; else below `prefix`; else for the whole system.
    """
    if not _is_valid_kernel_name(name):
        raise UsageError(
            f"{name!r} can't be the name of a kernel: letters, digits and . _ - are allowed."
        )
    if user:
        kernels = Path(KernelSpecManager().user_kernel_dir)
    elif prefix:
        kernels = Path(prefix).absolute() / "share" / "jupyter" / "kernels"
    else:
        kernels = Path(SYSTEM_JUPYTER_PATH[0]) / "kernels"
    return kernels / name.lower()


def is_ours(folder: Path) -> bool:
    """Tell whether a kernelspec starts this package's kernel."""
    try:
        command = json.loads((folder / "kernel.json").read_bytes())["argv"]
        return list(command[1:3]) == ["-m", "durable_kernel"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def found_under(name: str) -> Path | None:
    """Return the folder that Jupyter, as it is set up here, finds under a name."""
    found = KernelSpecManager().find_kernel_specs().get(name.lower())
    return Path(found) if found else None


def put(source: Path, folder: Path) -> Installed:
    """Put a copy of `source` where Jupyter looks for it; what is not ours there is moved aside.

    Raises OSError.
    """
    new = folder.parent / _NEW / folder.name
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, new)
    replaced = _replaced(folder)
    if folder.is_symlink() or (folder.exists() and not is_ours(folder)):
        if replaced is not None:
            _make_way(replaced)
        replaced = folder.parent / _REPLACED / folder.name
        replaced.parent.mkdir(exist_ok=True)
        folder.rename(replaced)
    elif folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)
    _drop_if_empty(new.parent)
    found = found_under(folder.name)
    is_looked_at = found is not None and found.exists() and found.samefile(folder)
    is_shadowed = not is_looked_at and str(folder.parent) in KernelSpecManager().kernel_dirs
    return Installed(
        folder.name, folder, replaced, found if is_shadowed else None, is_looked_at=is_looked_at
    )


def take_away(folder: Path) -> Removed:
    """Remove our kernelspec, and put back what stood there before. Raises OSError, UsageError."""
    replaced = _replaced(folder)
    if folder.exists() or folder.is_symlink():
        if folder.is_symlink() or not is_ours(folder):
            raise UsageError(
                f"{folder} is not a kernelspec of durable_kernel, so it was not removed. `jupyter "
                f"kernelspec remove {folder.name}` removes any."
            )
        shutil.rmtree(folder)
    elif replaced is None:
        found = found_under(folder.name)
        other = f" The one that Jupyter finds is {found}." if found else ""
        raise UsageError(f"{folder} is not there, so there is nothing to remove.{other}")
    if replaced is not None:
        replaced.rename(folder)
        _drop_if_empty(replaced.parent)
    return Removed(folder.name, folder, restored=replaced is not None)


def _replaced(folder: Path) -> Path | None:
    path = folder.parent / _REPLACED / folder.name
    return path if path.exists() or path.is_symlink() else None


def _make_way(replaced: Path) -> None:
    """Give what was kept before another name: something newer takes its place."""
    names = (replaced.with_name(f"{replaced.name}.{number}") for number in count(2))
    replaced.rename(next(each for each in names if not each.exists()))


def _drop_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
