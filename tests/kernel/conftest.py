"""Kernels of the tests: started on demand, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.kernel.live import LiveKernel

Start = Callable[..., LiveKernel]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a kernel; `before` stands before its command, other keywords are its environment."""
    started: list[LiveKernel] = []

    def begin(
        name: str = "a",
        *,
        arguments: Sequence[str] = (),
        before: Sequence[str] = (),
        is_session: bool = False,
        **environment: str,
    ) -> LiveKernel:
        folder = tmp_path / name
        folder.mkdir()
        kernel = LiveKernel(folder, arguments=arguments, before=before, **environment)
        started.append(kernel)
        if is_session:
            kernel.name_session()
        started[-1].start()
        return started[-1]

    yield begin
    for kernel in started:
        kernel.close()
