"""What the documents say is so: commands exist, reasons are given, no machine is named."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest

from tests.tidy import checks, tree

pytestmark = pytest.mark.needs_tool("git")

BINARY_SUFFIXES = {".gz", ".ico", ".png", ".woff2", ".zip", ".dkj"}


def targets() -> set[str]:
    makefile = (tree.ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_the_changelog_keeps_its_form() -> None:
    assert checks.changelog_faults((tree.ROOT / "CHANGELOG.md").read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "# Changes\n## [Unreleased]\n",
        "# Changelog\n## [1.0.0] - 2026-01-31\n",
        "# Changelog\n## [Unreleased]\n## 1.0\n",
        "# Changelog\n## [Unreleased]\n### News\n",
    ],
)
def test_a_changelog_out_of_form_is_found(text: str) -> None:
    assert checks.changelog_faults(text) != []


def test_no_file_names_a_machine() -> None:
    """No home folder, no registry, and not the folder of this checkout."""
    found = {}
    for path in tree.files():
        if path.suffix in BINARY_SUFFIXES:
            continue
        text = path.read_text()
        lines = checks.machine_paths(text)
        if str(tree.ROOT) + "/" in text:
            lines.append(f"the path of this checkout, {tree.ROOT}")
        if lines:
            found[tree.name(path)] = lines

    assert found == {}


def test_a_home_folder_and_a_registry_are_found() -> None:
    """Composed here, so that this file itself names none."""
    somebody, option = "ada", "url"

    assert checks.machine_paths(f"cd /home/{somebody}/run") != []
    assert checks.machine_paths(f"pip install --index-{option}=https://packages.example x") != []
    assert checks.machine_paths("docker run -v /home/jovyan/work") == []


def test_every_make_command_in_a_document_exists() -> None:
    named = {
        target
        for path in tree.files("*.md")
        for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE)
    }

    assert named - targets() == set()
    assert {"demo", "test"} <= named


def test_make_help_lists_every_target() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    helped = subprocess.run(
        ["make", "help"], cwd=tree.ROOT, env=environment, check=True, capture_output=True, text=True
    )

    assert set(re.findall(r"^  make (\w+)", helped.stdout, re.MULTILINE)) == targets()


def test_every_link_to_a_file_leads_somewhere() -> None:
    broken = [
        f"{tree.name(path)}: {link}"
        for path in tree.files("*.md")
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
        if "://" not in link and not (path.parent / link).exists()
    ]

    assert broken == []


def test_every_decision_is_listed_and_has_a_status() -> None:
    folder = tree.ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    decisions = sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))

    assert [path.name for path in decisions if f"]({path.name})" not in index] == []
    for path in decisions:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} ")
        assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert [path.name[:4] for path in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())["project"]
    reasons = (tree.ROOT / "docs" / "adr" / "0002-dependencies.md").read_text()
    required = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        required += extra
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in required}

    assert {name for name in names - {"durable-kernel"} if name not in reasons} == set()


def test_every_needed_tool_has_a_debian_package() -> None:
    """Else `.ci/run` could not install it, and would fail without saying how to go on."""
    lines = (tree.ROOT / ".ci" / "debian-packages").read_text().splitlines()
    packaged = {line.split()[0] for line in lines if line and not line.startswith("#")}
    needed = set().union(
        *(checks.needed_tools(path.read_text()) for path in tree.files("tests/*.py"))
    )

    assert needed - packaged == set()


def test_every_general_lint_exception_has_a_reason() -> None:
    settings = (tree.ROOT / "pyproject.toml").read_text()
    ignored = settings.partition("\nignore = [\n")[2].partition("\n]\n")[0]
    unexplained = [line for line in ignored.splitlines() if not re.search(r'",\s+# \S', line)]

    assert unexplained == []
