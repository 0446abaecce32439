"""Kernels of the tests: started on demand, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.live import LiveKernel

Start = Callable[..., LiveKernel]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a kernel; keyword arguments are environment variables of its process."""
    started: list[LiveKernel] = []

    def begin(name: str = "a", **environment: str) -> LiveKernel:
        folder = tmp_path / name
        folder.mkdir()
        started.append(LiveKernel(folder, **environment))
        started[-1].start()
        return started[-1]

    yield begin
    for kernel in started:
        kernel.close()
