"""`durable install`: put the kernelspec where Jupyter finds it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from durable_kernel.errors import UsageError
from durable_kernel.kernel.install import PROVISIONER_HELP, install as install_kernelspec

__all__ = ["install"]


def install(
    user: Annotated[bool, typer.Option("--user", help="For this user.")] = False,
    sys_prefix: Annotated[
        bool, typer.Option("--sys-prefix", help="Into this environment (default).")
    ] = False,
    prefix: Annotated[str | None, typer.Option(help="Under this folder.")] = None,
    provisioner: Annotated[bool, typer.Option("--provisioner", help=PROVISIONER_HELP)] = False,
) -> None:
    """Install the kernelspec `durable` for this interpreter."""
    if user + sys_prefix + (prefix is not None) > 1:
        raise UsageError("--user, --sys-prefix and --prefix exclude each other.")
    place = None if user else prefix or sys.prefix
    folder = install_kernelspec(user=user, prefix=place, has_provisioner=provisioner)
    typer.echo(f"installed {folder}")
