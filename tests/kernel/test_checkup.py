"""The checkup: kernelspecs that would not start are found, and what was tested is kept true."""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from durable_kernel.kernel.checkup import TESTED, checks
from durable_kernel.kernel.install import install_as
from durable_kernel.store import Store
from durable_kernel.store.health import Check, Verdict


@pytest.fixture(autouse=True)
def _jupyter_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))


def checked() -> dict[str, Check]:
    return {each.name: each for each in checks(Store(), time.time_ns())}


def spoil(folder: Path, **changes: object) -> None:
    path = folder / "kernel.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_the_tests_run_with_is_well_but_for_what_is_newer_than_the_table() -> None:
    found = checked()

    for name in TESTED:
        is_newer = found[name].advice.startswith("newer than")
        assert found[name].verdict is (Verdict.WARN if is_newer else Verdict.OK), found[name]
        assert metadata.version(name) == found[name].found
    assert found["Python"].verdict is Verdict.OK


def test_an_installed_kernelspec_is_well(tmp_path: Path) -> None:
    installed = install_as(prefix=str(tmp_path))

    check = checked()["kernelspec durable"]

    assert check.verdict is Verdict.OK
    assert str(installed.folder) in check.found


@pytest.mark.parametrize(
    ("interpreter", "found"),
    [("/nowhere/python", "is not there any more"), ("/bin/false", "can't import durable_kernel")],
)
def test_a_kernelspec_whose_interpreter_does_not_start_it_fails(
    tmp_path: Path, interpreter: str, found: str
) -> None:
    installed = install_as(prefix=str(tmp_path))
    spoil(installed.folder, argv=[interpreter, "-m", "durable_kernel", "-f", "{connection_file}"])

    check = checked()["kernelspec durable"]

    assert check.verdict is Verdict.FAIL
    assert found in check.found
    assert "durable install --as durable" in check.advice


def test_a_kernelspec_without_a_hash_seed_is_warned_of(tmp_path: Path) -> None:
    """H40: the order of sets of text changes from process to process."""
    spoil(install_as(prefix=str(tmp_path)).folder, env={})

    assert "PYTHONHASHSEED" in checked()["kernelspec durable"].found


def test_a_kernelspec_that_needs_a_provisioner_which_is_not_here_is_warned_of(
    tmp_path: Path,
) -> None:
    metadata_of = {"kernel_provisioner": {"provisioner_name": "nobody"}}
    spoil(install_as(prefix=str(tmp_path)).folder, metadata=metadata_of)

    assert "no provisioner 'nobody' here" in checked()["kernelspec durable"].found


def test_python3_is_told_apart_from_the_stock_kernel(tmp_path: Path) -> None:
    assert "not durable" in checked()["kernelspec python3"].found

    install_as("python3", prefix=str(tmp_path))

    assert sys.executable in checked()["kernelspec python3"].found
