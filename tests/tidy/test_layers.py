"""The rooms import only downwards (DESIGN §4), and the contract that says so is awake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tidy import tree

RUN = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_rooms_import_only_downwards() -> None:
    linted = lint_imports(tree.ROOT)

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Build the rooms of the contract, each empty, with this project's settings."""
    settings = (tree.ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(settings)
    layers = tomllib.loads(settings)["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = {room.strip(" ()") for layer in layers for room in layer.split("|")}
    for room in rooms:
        (tmp_path / "durable_kernel" / room).mkdir(parents=True)
        (tmp_path / "durable_kernel" / room / "__init__.py").touch()
    (tmp_path / "durable_kernel" / "__init__.py").touch()
    return tmp_path


def test_empty_rooms_keep_every_contract(house: Path) -> None:
    linted = lint_imports(house)

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("journal", "durable_kernel.history"),
        ("effects", "durable_kernel.replay"),
        ("effects", "durable_kernel.store"),
        ("runtime", "durable_kernel.testing"),
        ("replay", "time"),
        ("store", "jupyter_core"),
        ("codec", "pickle"),
        ("runtime", "httpx"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(house: Path, room: str, imported: str) -> None:
    (house / "durable_kernel" / room / "__init__.py").write_text(f"import {imported}\n")

    linted = lint_imports(house)

    assert linted.returncode != 0
    assert f"durable_kernel.{room} -> {imported} (l.1)" in linted.stdout


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("kernel", "import IPython, ipykernel, durable_kernel.runtime"),
        ("checkpoint", "import pickle, cloudpickle"),
        ("effects", "import httpx, numpy, random, time, durable_kernel.ports"),
        ("cli", "import durable_kernel.headless, durable_kernel.kernel"),
    ],
)
def test_a_room_may_import_what_is_its_own(house: Path, room: str, line: str) -> None:
    (house / "durable_kernel" / room / "__init__.py").write_text(line + "\n")

    linted = lint_imports(house)

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_room_outside_the_layers_is_found(house: Path) -> None:
    shutil.copytree(house / "durable_kernel" / "store", house / "durable_kernel" / "cellar")

    linted = lint_imports(house)

    assert linted.returncode != 0
    assert "durable_kernel.cellar" in linted.stdout
