"""`durable install` and `uninstall`: put the kernelspec where Jupyter looks, and take it away."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from durable_kernel.cli.console import JsonFlag, print_json, say
from durable_kernel.errors import UsageError
from durable_kernel.kernel.specification import PROVISIONER_HELP

__all__ = ["install", "uninstall"]

_User = Annotated[bool, typer.Option("--user", help="For this user.")]
_SysPrefix = Annotated[bool, typer.Option("--sys-prefix", help="Into this environment (default).")]
_Prefix = Annotated[str | None, typer.Option(metavar="FOLDER", help="Under this folder.")]
_Name = Annotated[
    str,
    typer.Option(
        "--as",
        "--name",
        metavar="NAME",
        help="Under this name; python3 makes it answer for the stock kernel.",
    ),
]


def install(
    name: _Name = "durable",
    user: _User = False,
    sys_prefix: _SysPrefix = False,
    prefix: _Prefix = None,
    display_name: Annotated[str | None, typer.Option(help="What launchers show.")] = None,
    provisioner: Annotated[bool, typer.Option("--provisioner", help=PROVISIONER_HELP)] = False,
    as_json: JsonFlag = False,
) -> None:
    """Install the kernelspec for this interpreter. A foreign one of that name is kept aside."""
    from durable_kernel.kernel.install import install_as  # takes a while

    place = _place(user=user, sys_prefix=sys_prefix, prefix=prefix)
    done = install_as(
        name, user=user, prefix=place, display_name=display_name, has_provisioner=provisioner
    )
    if as_json:
        shown = {"replaced": done.replaced, "shadowed_by": done.shadowed_by}
        print_json({"name": done.name, "folder": done.folder, **shown})
        return
    for sentence in done.sentences():
        say(sentence)


def uninstall(
    name: _Name = "durable",
    user: _User = False,
    sys_prefix: _SysPrefix = False,
    prefix: _Prefix = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove what `install` wrote, and put back what it replaced. Nothing else is removed."""
    from durable_kernel.kernel.install import uninstall as take_away  # takes a while

    place = _place(user=user, sys_prefix=sys_prefix, prefix=prefix)
    done = take_away(name, user=user, prefix=place)
    if as_json:
        print_json({"name": done.name, "folder": done.folder, "is_restored": done.restored})
        return
    for sentence in done.sentences():
        say(sentence)


def _place(*, user: bool, sys_prefix: bool, prefix: str | None) -> str | None:
    if user + sys_prefix + (prefix is not None) > 1:
        raise UsageError("--user, --sys-prefix and --prefix exclude each other.")
    return None if user else prefix or sys.prefix
