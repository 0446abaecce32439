"""`durable doctor`: a table for people, a document for machines, and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_kernel.kernel.install import install_as
from tests.cli.commands import Durable
from tests.runtime.notebooks import Notebook


@pytest.fixture(autouse=True)
def _jupyter_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))


def test_a_warning_is_no_failure(durable: Durable, doubtful: Notebook) -> None:
    said = durable("doctor", "--json")

    assert said.code == 0
    assert said.document["is_well"] is True
    verdicts = {each["name"]: each["verdict"] for each in said.document["checks"]}
    assert verdicts["doubts"] == "warn"
    assert verdicts["Python"] == "ok"


def test_a_failure_has_its_exit_code_and_says_what_to_do(durable: Durable, tmp_path: Path) -> None:
    installed = install_as(prefix=str(tmp_path))
    (installed.folder / "kernel.json").write_text("{}")

    said = durable("doctor")

    assert said.code == 1
    assert "fail" in said.out
    assert "durable install --as durable" in " ".join(said.out.split())
