"""Install the kernelspec: which command starts this kernel, where Jupyter looks it up.

The wheel brings a specification along that says `python`, which servers replace by their own. This
command writes the absolute path of the interpreter, so the kernel can live in another environment.
Under the name `python3` it answers for all notebooks that name the stock kernel, and so for nearly
all; what had that name is kept (`kernelspecs`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from durable_kernel.errors import UsageError
from durable_kernel.kernel.kernelspecs import Installed, Removed, folder_of, put, take_away
from durable_kernel.kernel.specification import PROVISIONER, PROVISIONER_HELP, specification

__all__ = [
    "PROVISIONER",
    "PROVISIONER_HELP",
    "install",
    "install_as",
    "main",
    "specification",
    "uninstall",
]

_NAME = "durable"


def install_as(
    name: str = _NAME,
    *,
    user: bool = False,
    prefix: str | None = None,
    display_name: str | None = None,
    has_provisioner: bool = False,
) -> Installed:
    """Write the kernelspec below the user's or a prefix's Jupyter data.

    What is not ours under that name there is kept. Raises UsageError, also where the place can't
    be written.
    """
    folder = folder_of(name, user=user, prefix=prefix)
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch, "spec")
        source = resources.files("durable_kernel.kernel").joinpath("resources")
        with resources.as_file(source) as files:
            shutil.copytree(files, built)
        content = specification(display_name, has_provisioner=has_provisioner)
        (built / "kernel.json").write_text(json.dumps(content, indent=1) + "\n")
        try:
            return put(built, folder)
        except OSError as error:
            raise _unwritable(error) from None


def install(
    *,
    user: bool = False,
    prefix: str | None = None,
    name: str = _NAME,
    display_name: str | None = None,
    has_provisioner: bool = False,
) -> Path:
    """Do what `install_as` does. Returns the folder."""
    return install_as(
        name,
        user=user,
        prefix=prefix,
        display_name=display_name,
        has_provisioner=has_provisioner,
    ).folder


def uninstall(name: str = _NAME, *, user: bool = False, prefix: str | None = None) -> Removed:
    """Take our kernelspec away, and put back what it replaced. Raises UsageError."""
    try:
        return take_away(folder_of(name, user=user, prefix=prefix))
    except OSError as error:
        raise _unwritable(error) from None


def _unwritable(error: OSError) -> UsageError:
    return UsageError(f"{error}. Choose a place that you may write to: --user or --prefix.")


def main(command: str, argv: Sequence[str]) -> int:
    """Run `python -m durable_kernel install` or `uninstall`."""
    parser = argparse.ArgumentParser(prog=f"python -m durable_kernel {command}")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for the current user")
    place.add_argument("--sys-prefix", action="store_true", help="into this environment (default)")
    place.add_argument("--prefix", help="below this folder")
    parser.add_argument(
        "--as",
        "--name",
        dest="name",
        default=_NAME,
        help="under this name; python3 makes it the default",
    )
    if command == "install":
        parser.add_argument("--display-name", help="what launchers show")
        parser.add_argument("--provisioner", action="store_true", help=PROVISIONER_HELP)
    given = parser.parse_args(argv)
    prefix = None if given.user else given.prefix or sys.prefix
    try:
        if command == "install":
            done: Installed | Removed = install_as(
                given.name,
                user=given.user,
                prefix=prefix,
                display_name=given.display_name,
                has_provisioner=given.provisioner,
            )
        else:
            done = uninstall(given.name, user=given.user, prefix=prefix)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{sentence}\n" for sentence in done.sentences())
    return 0
