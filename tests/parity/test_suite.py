"""A suite of our own, run as ipykernel's is: what the program says of it is so.

ipykernel's is not run here, because it comes from the network: `.ci/run` has a step for it.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.parity.suite import KERNELS, Compared, NotRunError, Ran, run
from tests.transparency.compare import Difference, Verdict

pytestmark = pytest.mark.slow

TESTS = """
import tempfile
import pytest
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.manager import KernelManager

def names(cls):
    return [each.__name__ for each in cls.__mro__]

def test_kernels_of_this_process_are_stock():
    assert "DurableKernel" not in names(IPythonKernel)
    assert "DurableKernelApp" not in names(IPKernelApp)

def test_kernels_of_other_processes_are_stock():
    folder = tempfile.TemporaryDirectory(prefix="k-")
    manager = KernelManager(transport="ipc", ip=folder.name + "/k")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        code = "import sys; assert 'durable_kernel' not in sys.modules"
        assert client.execute(code, reply=True, timeout=120)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        folder.cleanup()

@pytest.mark.skip
def test_skipped(): ...

def test_cannot_be_set_up(missing): ...
"""
PLACES = ("this_process", "other_processes")
SETTINGS = '[tool.pytest.ini_options]\nfilterwarnings = ["default"]\n'


def archived(folder: Path, tests: str = TESTS) -> Path:
    """Pack a suite as ipykernel's source archive, with a package that must not be imported."""
    source = folder / "ipykernel-0.0"
    for name, text in {
        "pyproject.toml": SETTINGS,
        "tests/__init__.py": "",
        "tests/test_tiny.py": tests,
        "ipykernel/__init__.py": "raise AssertionError('not the installed one')",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    path = folder / "ipykernel-0.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source, source.name)
    return path


def run_of(*, passed: int) -> dict[str, Ran]:
    return {"stock": Ran({f"test_{number}": "passed" for number in range(passed)}, {}, 1.0)}


def test_the_suite_meets_the_kernel_that_was_asked_for(tmp_path: Path) -> None:
    archive = archived(tmp_path)

    ran = {kernel: run(kernel, archive, tmp_path / kernel, ["tests"]) for kernel in KERNELS}

    ends = {
        kernel: {test.rpartition("::")[2]: end for test, end in each.outcomes.items()}
        for kernel, each in ran.items()
    }
    both = {"test_skipped": "skipped", "test_cannot_be_set_up": "error"}
    here, elsewhere = (f"test_kernels_of_{each}_are_stock" for each in PLACES)
    assert ends["stock"] == {here: "passed", elsewhere: "passed", **both}
    assert ends["durable"] == {here: "failed", elsewhere: "failed", **both}
    assert "DurableKernel" in "".join(ran["durable"].reasons.values())


def test_a_suite_without_outcomes_was_not_run(tmp_path: Path) -> None:
    archive = archived(tmp_path, "import os\nos._exit(3)\n")

    with pytest.raises(NotRunError, match="without outcomes"):
        run("stock", archive, tmp_path / "stock", ["tests"])


def test_too_few_passing_tests_are_a_finding() -> None:
    ran = run_of(passed=3)

    assert Compared(ran, Verdict((), (), ()), (), 3).findings() == []
    assert Compared(ran, Verdict((), (), ()), (), 4).findings() == [
        "only 3 of at least 4 tests pass in stock"
    ]


def test_each_difference_is_a_finding() -> None:
    new, gone = Difference("a", "passed", "failed"), Difference("b", "passed", "failed", "Why.")

    found = Compared(run_of(passed=3), Verdict((), (new,), (gone,)), (), 3).findings()

    assert [each.partition(":")[0] for each in found] == ["unexpected", "listed, but gone"]
