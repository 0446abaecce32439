"""A notebook of its own for each test, with `durable` in its namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable_kernel as durable
from tests.runtime.notebooks import Notebook, Service


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    notebook = Notebook(tmp_path / "home")
    notebook.names["durable"] = durable
    notebook.names["done"] = []
    return notebook


@pytest.fixture
def done(notebook: Notebook) -> list[str]:
    """What the bodies of steps did, in all sessions."""
    found: list[str] = notebook.names["done"]
    return found


@pytest.fixture
def service(notebook: Notebook) -> Service:
    return notebook.service
