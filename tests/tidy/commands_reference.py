"""The reference part of docs/commands.md, made from the commands themselves.

`python -m tests.tidy.commands_reference` writes it; `test_commands_page.py` compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main

from durable_kernel.cli import app

__all__ = ["PAGE", "commands", "reference", "written"]

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BEGIN, END = "<!-- made from the commands: begin -->", "<!-- made from the commands: end -->"


def commands() -> dict[str, Any]:
    """Return the commands by name, in the order of `durable --help`."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def reference() -> str:
    """Write a section for each command: what it does, its arguments and options."""
    return "\n".join(_section(name, command) for name, command in commands().items())


def written(page: str) -> str:
    """Return what stands between the marks of a page."""
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n")


def _section(name: str, command: Any) -> str:
    shown = [each for each in command.params if each.name != "help"]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    usage = " ".join(
        ["durable", name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])]
    )
    told = " ".join(re.sub(r"\s+", " ", command.help or "").split())
    rows = [f"| `{_argument(each)}` | {_told(each)} |" for each in arguments]
    rows += [f"| {_option(each)} | {_told(each)} |" for each in options]
    table = ["| | |", "|---|---|", *rows] if rows else []
    return "\n".join([f"### durable {name}", "", f"`{usage}`", "", told, "", *table, ""])


def _argument(parameter: Any) -> str:
    named = parameter.metavar or parameter.name.upper()
    return named if parameter.required or named.startswith("[") else f"[{named}]"


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{each}`" for each in parameter.opts)
    if parameter.is_flag:
        return names
    return f"{names} `{parameter.metavar or parameter.opts[-1].strip('-').upper()}`"


def _told(parameter: Any) -> str:
    return str(parameter.help or "").replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    page = PAGE.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{reference()}\n{END}{after}")
