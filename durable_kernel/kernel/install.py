"""Install the kernelspec: which command starts this kernel, where Jupyter looks it up.

The wheel brings a specification along that says `python`, which servers replace by their own. This
command writes the absolute path of the interpreter, so the kernel can live in another environment.
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
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

__all__ = ["PROVISIONER", "PROVISIONER_HELP", "install", "main", "specification"]

_NAME = "durable"

PROVISIONER = "durable"
"""Name of the entry point of `provisioner.DurableProvisioner`, which only servers import."""

PROVISIONER_HELP = (
    "let the server tell a kernel how the last one ended; durable-kernel must be installed in the "
    "server's environment, else it can't start this kernel"
)


def specification(
    display_name: str | None = None, *, has_provisioner: bool = False
) -> dict[str, Any]:
    """Make the content of kernel.json for this interpreter."""
    text = resources.files("durable_kernel.kernel").joinpath("resources/kernel.json").read_text()
    content: dict[str, Any] = json.loads(text)
    content["argv"] = [sys.executable, "-m", "durable_kernel", "-f", "{connection_file}"]
    if display_name:
        content["display_name"] = display_name
    if has_provisioner:
        content["metadata"]["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
    return content


def install(
    *,
    user: bool = False,
    prefix: str | None = None,
    name: str = _NAME,
    display_name: str | None = None,
    has_provisioner: bool = False,
) -> Path:
    """Write the kernelspec below the user's or a prefix's Jupyter data. Returns its folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, name)
        source = resources.files("durable_kernel.kernel").joinpath("resources")
        with resources.as_file(source) as files:
            shutil.copytree(files, folder)
        content = specification(display_name, has_provisioner=has_provisioner)
        spec = json.dumps(content, indent=1)
        (folder / "kernel.json").write_text(spec + "\n")
        written = KernelSpecManager().install_kernel_spec(
            str(folder), kernel_name=name, user=user, prefix=prefix
        )
    return Path(written)


def main(argv: Sequence[str]) -> int:
    """Run `python -m durable_kernel install`."""
    parser = argparse.ArgumentParser(
        prog="python -m durable_kernel install", description="Install the durable kernelspec."
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for the current user")
    place.add_argument("--sys-prefix", action="store_true", help="into this environment (default)")
    place.add_argument("--prefix", help="below this folder")
    parser.add_argument(
        "--as", dest="name", default=_NAME, help="under this name; python3 makes it the default"
    )
    parser.add_argument("--display-name", help="what launchers show")
    parser.add_argument("--provisioner", action="store_true", help=PROVISIONER_HELP)
    given = parser.parse_args(argv)
    prefix = None if given.user else given.prefix or sys.prefix
    try:
        folder = install(
            user=given.user,
            prefix=prefix,
            name=given.name,
            display_name=given.display_name,
            has_provisioner=given.provisioner,
        )
    except OSError as error:
        sys.stderr.write(f"{error}. Choose a place that you may write to: --user or --prefix.\n")
        return 1
    sys.stdout.write(f"Installed kernelspec {given.name} in {folder}\n")
    return 0
