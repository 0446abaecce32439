"""A notebook of its own for each test. Hooks are process-wide and stay; sessions point at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.notebooks import Notebook, Service


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "home")


@pytest.fixture
def service(notebook: Notebook) -> Service:
    return notebook.service
