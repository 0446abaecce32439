"""`durable run NOTEBOOK`: execute or resume a notebook; kill it and run the same command again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from durable_kernel.cli.console import open_store, stderr
from durable_kernel.errors import UsageError
from durable_kernel.history import Outline
from durable_kernel.runtime import Settings

__all__ = ["join_parameters", "run"]

_RESUME_WITHIN_H = 12.0
_ResumeWithin = Annotated[
    float,
    typer.Option(
        metavar="HOURS",
        help="Without a terminal: resume only what was last opened within so many hours.",
    ),
]
_Name = Annotated[
    str | None,
    typer.Option(
        "--run", metavar="NAME", help="Name of the run; finished means there is nothing to do."
    ),
]
_Parameter = Annotated[
    list[str] | None,
    typer.Option(
        "-p", metavar="NAME=VALUE", help="A parameter; or -p NAME VALUE as papermill has it."
    ),
]
_Repeat = Annotated[
    list[str] | None,
    typer.Option(
        "--repeat",
        metavar="HOST[:PRESET]",
        help="Make acts in doubt at this host again unasked: all, or those of a preset "
        "(graphql-reads, search, oauth, llm).",
    ),
]
_Partly = Annotated[
    bool,
    typer.Option(
        "--partly",
        help="Bind what was kept of a cell that was interrupted, and take its other names away.",
    ),
]
_InjectKey = Annotated[
    list[str] | None,
    typer.Option(
        "--inject-key",
        metavar="HOST",
        help="Give POST and PATCH requests to this host an Idempotency-Key from the journal.",
    ),
]


def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook to execute or to resume.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.ipynb", help="Write the outputs here instead."),
    ] = None,
    name: _Name = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new run; an unfinished one is archived.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume, however old the run is.")
    ] = False,
    resume_within: _ResumeWithin = _RESUME_WITHIN_H,
    parameter: _Parameter = None,
    parameter_file: Annotated[
        Path | None, typer.Option("-f", metavar="FILE", help="A JSON or YAML file of parameters.")
    ] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Execute cells again that did something unrecorded.")
    ] = False,
    partly: _Partly = False,
    repeat_acts: Annotated[
        bool, typer.Option("--repeat-acts", help="Allow an edited cell to repeat acts.")
    ] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="The run was moved here; no other copy goes on.")
    ] = False,
    repeat: _Repeat = None,
    inject_key: _InjectKey = None,
) -> None:
    """Execute a notebook durably. Kill it at any moment, run the same command, and it goes on."""
    from durable_kernel.headless import RunRequest, run_notebook  # takes seconds

    if fresh and resume:
        raise UsageError("--fresh and --resume exclude each other.")
    if redo and partly:
        raise UsageError("--redo and --partly exclude each other.")
    Settings.from_environ({"DURABLE_REPEAT": ",".join(repeat or ())})  # refused here, not later
    is_patient = resume or sys.stdin.isatty()
    request = RunRequest(
        notebook=notebook,
        output=output,
        name=name,
        fresh=fresh,
        resume_within_s=None if is_patient else resume_within * 3600,
        parameters=_parameters(parameter or [], parameter_file),
        home=open_store().home,
        redo=redo,
        partly=partly,
        repeat_acts=repeat_acts,
        adopt=adopt,
        repeat=tuple(repeat or ()),
        inject_key=tuple(inject_key or ()),
    )
    with _Bar(stderr()) as bar:
        code = run_notebook(request, bar)
    raise typer.Exit(int(code))


def join_parameters(arguments: list[str]) -> list[str]:
    """Rewrite `-p NAME VALUE`, as papermill has it, to `-p NAME=VALUE`."""
    joined: list[str] = []
    waiting = iter(arguments)
    for each in waiting:
        joined.append(each)
        if each == "-p":
            name = next(waiting, "")
            value = None if "=" in name else next(waiting, None)  # None: refused where it is read
            joined.append(name if value is None else f"{name}={value}")
    return joined


def _parameters(given: list[str], file: Path | None) -> dict[str, Any]:
    from durable_kernel.headless.parameters import parse_value, read_parameters  # takes seconds

    parameters: dict[str, Any] = {} if file is None else read_parameters(file)
    for each in given:
        key, separator, value = each.partition("=")
        if not separator:
            raise UsageError(f"-p {each}: NAME=VALUE or NAME VALUE is needed.")
        parameters[key] = parse_value(value)
    return parameters


class _Bar:
    """Progress for people: one line per fact, and a bar while a terminal is there."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task: Any = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[effects]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """Tell one thing."""
        self._console.print(escape(sentence), soft_wrap=True, highlight=False)

    def start(self, cells: int) -> None:
        """Draw a bar for so many code cells."""
        self._task = self._progress.add_task("cells", total=cells, effects="")

    def cell(self, done: int, outline: Outline) -> None:
        """Move the bar: so many cells are done."""
        calls = sum(each.calls for each in outline.positions)
        from_journal = max(len(outline.openers) - 1, 0)
        again = f", resumed {from_journal}×" if from_journal else ""
        self._progress.update(self._task, completed=done, effects=f"{calls} calls recorded{again}")
