"""cli: the `durable` command, one file a command.

This one only joins them, and turns errors into exit codes.
"""

from __future__ import annotations

import sys

import typer

from durable_kernel.cli import at, doctor, fork, gc, install, log, ls, resolve, run, show, trust
from durable_kernel.cli.console import stderr
from durable_kernel.errors import DurableError
from durable_kernel.headless import EXIT_OF_ERROR, Exit

__all__ = ["app", "main"]

app = typer.Typer(
    name="durable",
    help="Notebooks that survive anything: run, resume, look into, and decide about durable runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("log")(log.log)
app.command("resolve")(resolve.resolve)
app.command("at")(at.at)
app.command("doctor")(doctor.doctor)
app.command("fork")(fork.fork)
app.command("gc")(gc.gc)
app.command("trust")(trust.trust)
app.command("install")(install.install)
app.command("uninstall")(install.uninstall)


def main() -> None:
    """Run the command line.

    Every error of ours is one sentence on stderr, and the exit code of its kind.
    """
    try:
        app(args=run.join_parameters(sys.argv[1:]))
    except DurableError as error:
        stderr().print(f"[bold red]durable:[/] {_escaped(str(error))}", soft_wrap=True)
        sys.exit(EXIT_OF_ERROR.get(type(error).__name__, Exit.REFUSED))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
