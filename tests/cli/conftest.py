"""The command line in this process, on the store of the test (`DURABLE_HOME`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from durable_kernel.cli import main
from tests.cli.commands import Durable, Said
from tests.runtime.notebooks import Notebook


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Durable:
    """Run the command line as the console script does."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["durable", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Said(out, err, int(left.value.code or 0))

    return run


@pytest.fixture
def notebook() -> Notebook:
    return Notebook(Path(os.environ["DURABLE_HOME"]))


@pytest.fixture
def doubtful(notebook: Notebook) -> Notebook:
    """A run that died in its second cell, in an act."""
    notebook.lived("import uuid\nx = service.look('rates'); print(uuid.uuid4())")
    notebook.die_during("pay [now]")
    notebook.died("y = service.ask('pay [now]')")
    return notebook
