"""`durable install`: put the kernelspec where Jupyter finds it."""

from __future__ import annotations

from typing import Annotated

import typer

from durable_kernel.kernel.install import install_kernelspec

__all__ = ["install"]


def install(
    user: Annotated[bool, typer.Option("--user", help="For this user.")] = False,
    sys_prefix: Annotated[
        bool, typer.Option("--sys-prefix", help="Into this environment (default).")
    ] = False,
    prefix: Annotated[str | None, typer.Option(help="Under this folder.")] = None,
) -> None:
    """Install the kernelspec `durable` for this interpreter."""
    where = install_kernelspec(user=user, prefix=prefix, sys_prefix=sys_prefix)
    typer.echo(f"installed {where}")
