"""Places: where the store is, what a run may be called, and where a folder really lies.

Jupyter is seen here for one thing only: where this platform keeps a user's data. Nothing is created
by looking. A folder's identity is (machine, path, inode, device); a copy never has all of them
(H12). Device numbers are given out anew at each boot by several file systems (btrfs, NFS, overlays,
device mapper), so a device counts only within the boot that it was seen in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3
from jupyter_core.paths import jupyter_data_dir

from durable_kernel.errors import UsageError
from durable_kernel.journal import RUN_ID_BYTES_MAX

_RUN_ID = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{RUN_ID_BYTES_MAX - 1}}}")
_MACHINE_CONTEXT = "durable_kernel store 1: machine id"
_MACHINE_ID_BYTES = 16
_SUFFIX_BYTES = 3
_MACHINE_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


def default_home(environ: Mapping[str, str]) -> Path:
    """Return the store's folder: DURABLE_HOME, else `durable` in Jupyter's data folder."""
    if asked := environ.get("DURABLE_HOME"):
        return Path(asked).expanduser()
    return Path(jupyter_data_dir()) / "durable"


def is_safe_run_id(text: str) -> bool:
    """Tell whether `text` can be a run's id, hence a folder's name and nothing else."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str) -> str:
    """Return `text`, or raise UsageError when it can't be a run's id."""
    if is_safe_run_id(text):
        return text
    raise UsageError(
        f"{text!r} cannot be the id of a run: it needs 1 to {RUN_ID_BYTES_MAX} of the characters "
        "A-Z a-z 0-9 . _ - and begins with a letter, a digit or an underscore."
    )


def new_run_id(wall_ns: int, entropy: Callable[[int], bytes]) -> str:
    """Return an id that sorts by time and can be typed: UTC date, hour and minute, 6 hex digits."""
    moment = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return f"{moment:%Y%m%d-%H%M}-{entropy(_SUFFIX_BYTES).hex()}"


def machine_id_of_system() -> str | None:
    """Return this machine's id, hashed: the id itself is confidential, and META may be shared.

    None where the system has none; the store then keeps a random one.
    """
    for path in _MACHINE_FILES:
        try:
            found = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if found and found != "uninitialized":
            return hash_machine_id(found)
    return None


def hash_machine_id(raw: str) -> str:
    """Return what may be shown of a machine's id: 32 hex digits."""
    digest = blake3(raw.encode(), derive_key_context=_MACHINE_CONTEXT).digest()
    return digest[:_MACHINE_ID_BYTES].hex()


def current_boot_id() -> str:
    """Return what names this boot of the machine, or "" where the system does not tell."""
    try:
        return _BOOT_FILE.read_text("ascii").strip()
    except OSError:
        return ""


def real_path(path: Path | str) -> str:
    """Return the one absolute name of a path: a notebook reached by a symlink is the same one."""
    return os.path.realpath(path)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a run's folder lies."""

    machine_id: str
    boot_id: str
    device: int
    inode: int
    path: str

    def is_same_place(self, found: Location) -> bool:
        """Tell whether a folder recorded here can be the one found there (H12)."""
        same = (self.machine_id, self.inode, self.path) == (
            found.machine_id,
            found.inode,
            found.path,
        )
        is_same_boot = bool(self.boot_id) and self.boot_id == found.boot_id
        return same and (self.device == found.device or not is_same_boot)

    def __str__(self) -> str:
        return (
            f"{self.path} on machine {self.machine_id[:8]} "
            f"(device {self.device}, inode {self.inode})"
        )
