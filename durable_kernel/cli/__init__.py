"""cli: the `durable` command, one file a command.

This one only joins them, and turns errors into exit codes.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from durable_kernel.cli import (
    at,
    doctor,
    fork,
    fresh,
    gc,
    install,
    log,
    ls,
    plan,
    resolve,
    restore,
    retry,
    rewind,
    run,
    show,
    trust,
)
from durable_kernel.cli.console import stderr
from durable_kernel.errors import DurableError
from durable_kernel.headless import EXIT_OF_ERROR, Exit

__all__ = ["app", "main"]

app = typer.Typer(
    name="durable",
    help="Notebooks that survive anything: run, resume, look into, and decide about durable runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"durable-kernel {metadata.version('durable-kernel')}")
        raise typer.Exit


_Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_tell_version, is_eager=True, help="Say which version this is."
    ),
]


@app.callback()
def _options(version: _Version = False) -> None:  # noqa: ARG001 - told by its callback
    return


_RUNNING, _LOOKING = "Run", "Look"
_DECIDING, _GOING_BACK, _KEEPING = "Decide", "Go back, and part", "Keep in order"

app.command("run", rich_help_panel=_RUNNING)(run.run)

app.command("ls", rich_help_panel=_LOOKING)(ls.ls)
app.command("show", rich_help_panel=_LOOKING)(show.show)
app.command("log", rich_help_panel=_LOOKING)(log.log)
app.command("plan", rich_help_panel=_LOOKING)(plan.plan)
app.command("at", rich_help_panel=_LOOKING)(at.at)

app.command("resolve", rich_help_panel=_DECIDING)(resolve.resolve)
app.command("trust", rich_help_panel=_DECIDING)(trust.trust)

app.command("retry", rich_help_panel=_GOING_BACK)(retry.retry)
app.command("rewind", rich_help_panel=_GOING_BACK)(rewind.rewind)
app.command("restore", rich_help_panel=_GOING_BACK)(restore.restore)
app.command("fresh", rich_help_panel=_GOING_BACK)(fresh.fresh)
app.command("fork", rich_help_panel=_GOING_BACK)(fork.fork)

app.command("gc", rich_help_panel=_KEEPING)(gc.gc)
app.command("doctor", rich_help_panel=_KEEPING)(doctor.doctor)
app.command("install", rich_help_panel=_KEEPING)(install.install)
app.command("uninstall", rich_help_panel=_KEEPING)(install.uninstall)


def main() -> None:
    """Run the command line.

    Every error of ours is one sentence on stderr, and the exit code of its kind.
    """
    try:
        app(args=run.join_parameters(sys.argv[1:]))
    except DurableError as error:
        stderr().print(
            f"[bold red]durable:[/] {_escaped(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(EXIT_OF_ERROR.get(type(error).__name__, Exit.REFUSED))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
