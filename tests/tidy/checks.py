"""The rules of the house as functions: text in, findings out, one sentence each; no file is opened.

So each rule can be shown a text that breaks it. The files it applies to are chosen by the tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
RULE_WORDS_MIN = 3

# Names that say nothing about what lives there, so that everything comes to live there.
SAYS_NOTHING = {
    "common", "data", "helper", "helpers", "info", "manager", "managers", "misc", "util", "utils",
}  # fmt: skip

CHANGE_KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")

# Somebody's home folder; the names below stand in documentation for anybody's.
HOME_FOLDER = re.compile(
    r"(?:/home|/Users|C:\\Users)[/\\](?!jovyan\b|you\b|user\b|me\b)\w+|[/]root/"
)
# Where packages are fetched from is a setting of each machine.
REGISTRY = re.compile(
    r"index[-_]url|pypi\.org/simple|files\.pythonhosted|registry\.npmjs|\"resolved\": \"http"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            yield node


def long_functions(source: str) -> list[str]:
    found = []
    for function in functions(source):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            found.append(f"{function.name}, line {function.lineno}: {lines} lines")
    return found


def is_long_file(text: str) -> bool:
    return len(text.splitlines()) > FILE_LINES_MAX


def says_nothing(stem: str) -> bool:
    return stem.strip("_") in SAYS_NOTHING or bool(SAYS_NOTHING & {stem.rpartition("_")[2]})


def opens_with_its_law(source: str) -> bool:
    """Tell whether a module opens with a docstring that is a sentence."""
    law = ast.get_docstring(ast.parse(source)) or ""
    return law.partition("\n\n")[0].rstrip().endswith((".", ":"))


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) for each module or name imported anywhere in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def mocks(source: str) -> list[str]:
    return [
        f"line {line}: {imported}"
        for line, imported in imported_modules(source)
        if imported.startswith(("unittest.mock", "mock.", "pytest_mock"))
    ]


def root_imports(source: str, rooms: set[str]) -> list[str]:
    """Find imports of public names from the package root, which import-linter does not rank."""
    found = []
    for line, imported in imported_modules(source):
        package, _, rest = imported.partition(".")
        if package == "durable_kernel" and rest.partition(".")[0] not in rooms:
            found.append(f"line {line}: {imported}")
    return found


def nameless_tests(source: str) -> list[str]:
    """Find tests that state their rule neither in their name nor in a docstring."""
    return [
        f"{function.name}, line {function.lineno}"
        for function in functions(source)
        if function.name.startswith("test_")
        and not ast.get_docstring(function)
        and len(function.name.removeprefix("test_").split("_")) < RULE_WORDS_MIN
    ]


def needed_tools(source: str) -> set[str]:
    """Collect the names given to the marker needs_tool."""
    return {
        argument.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "needs_tool"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def unexplained_exceptions(source: str) -> list[str]:
    """Find `noqa` comments without a reason behind the rule names."""
    return [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(source.splitlines(), 1)
        if re.search(r"[#] noqa(?!: [A-Z]+\d++(?:, ?[A-Z]+\d++)*+\W+\w)", line)
    ]


def machine_paths(text: str) -> list[str]:
    return [
        f"line {number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if HOME_FOLDER.search(line) or REGISTRY.search(line)
    ]


def changelog_faults(text: str) -> list[str]:
    """Compare a changelog with the form of Keep a Changelog 1.1.0."""
    lines = text.splitlines()
    faults = [] if lines[:1] == ["# Changelog"] else ["the first line is not '# Changelog'"]
    versions = [line for line in lines if line.startswith("## ")]
    if versions[:1] != ["## [Unreleased]"]:
        faults.append("the first section is not '## [Unreleased]'")
    faults += [
        f"{version!r} is not '## [1.2.3] - 2026-01-31'"
        for version in versions[1:]
        if not re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version)
    ]
    kinds = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    faults += [
        f"{kind!r} is not one of {CHANGE_KINDS}" for kind in kinds if kind not in CHANGE_KINDS
    ]
    return faults
