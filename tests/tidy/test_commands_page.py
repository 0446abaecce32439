"""docs/commands.md says what the commands are: it is made from them, or compared with them."""

from __future__ import annotations

import re

from durable_kernel.headless import Exit
from durable_kernel.kernel import commands as magics
from tests.tidy.commands_reference import PAGE, commands, reference, written


def test_the_reference_is_what_the_commands_say() -> None:
    """`python -m tests.tidy.commands_reference` writes it anew."""
    assert written(PAGE.read_text()) == reference().strip("\n")


def test_every_line_of_a_notebook_is_on_the_page() -> None:
    page = PAGE.read_text()

    told = set(re.findall(r"^\| `%durable (\w+)", page, re.MULTILINE))

    assert told == {*magics._COMMANDS, "at"}


def test_every_twin_in_the_terminal_is_a_command() -> None:
    lines = [each for each in PAGE.read_text().splitlines() if each.startswith("| `%durable")]

    named = {name for line in lines for name in re.findall(r"`durable (\w+)", line)}

    assert named <= set(commands())


def test_every_exit_code_is_on_the_page() -> None:
    told = set(map(int, re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)))

    assert told == {int(each) for each in Exit} - {int(Exit.SUSPENDED)}


def test_every_command_that_prints_has_one_document_for_machines() -> None:
    """`run` prints what happens while it happens, and its outcome is the notebook."""
    lacking = {
        name
        for name, command in commands().items()
        if not any("--json" in each.opts for each in command.params)
    }

    assert lacking == {"run"}
