"""The kernelspec starts this package with this interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("options", "name"), [([], "durable"), (["--as", "python3"], "python3")])
def test_the_command_installs_a_kernelspec(options: list[str], name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "durable_kernel", "install", "--prefix", str(tmp_path)]

    told = subprocess.run([*command, *options], capture_output=True, text=True, check=True)

    folder = tmp_path / "share" / "jupyter" / "kernels" / name
    written = json.loads((folder / "kernel.json").read_text())
    assert written["argv"] == [sys.executable, "-m", "durable_kernel", "-f", "{connection_file}"]
    assert written["env"]["PYTHONHASHSEED"] == "0"
    assert (folder / "logo-64x64.png").exists()
    assert str(folder) in told.stdout


def test_a_place_that_cannot_be_written_is_said_without_a_traceback(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    command = [sys.executable, "-m", "durable_kernel", "install", "--prefix", str(occupied)]

    told = subprocess.run(command, capture_output=True, text=True, check=False)

    assert told.returncode == 1
    assert "--user or --prefix" in told.stderr
    assert "Traceback" not in told.stderr
