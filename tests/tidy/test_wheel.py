"""What `pip install durable-kernel` puts where: looked up in a wheel of the files git sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tidy import tree

pytestmark = pytest.mark.needs_tool("git")

BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
KERNELSPEC = "durable_kernel-{version}.data/data/share/jupyter/kernels/durable/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for path in [*tree.files("durable_kernel/*"), *tree.files("pyproject.toml")]:
        copied = source / path.relative_to(tree.ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
    for name in ("LICENSE", "README.md"):
        shutil.copyfile(tree.ROOT / name, source / name)
    built = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=source, check=True)
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def folder_of_kernelspec(wheel: zipfile.ZipFile) -> str:
    version = Path(wheel.filename or "").name.split("-")[1]
    return KERNELSPEC.format(version=version)


def test_the_wheel_installs_the_kernelspec_where_jupyter_looks(wheel: zipfile.ZipFile) -> None:
    folder = folder_of_kernelspec(wheel)

    found = {name.removeprefix(folder) for name in wheel.namelist() if name.startswith(folder)}

    assert found == {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}


def test_the_kernelspec_starts_this_package_and_pins_the_hash_seed(wheel: zipfile.ZipFile) -> None:
    """Set and dict order of strings is part of what re-execution has to repeat (H40)."""
    spec = json.loads(wheel.read(folder_of_kernelspec(wheel) + "kernel.json"))

    assert spec["argv"] == ["python", "-m", "durable_kernel", "-f", "{connection_file}"]
    assert spec["env"]["PYTHONHASHSEED"] == "0"
    assert spec["interrupt_mode"] == "signal"
    assert spec["metadata"]["debugger"] is True


def test_the_wheel_holds_package_types_licence_and_command(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]

    assert "durable_kernel/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert b"durable = durable_kernel.cli:main" in wheel.read(entry_points)


def test_the_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0].split("-")[0] for name in wheel.namelist()}

    assert tops == {"durable_kernel"}
