"""jupyter_kernel_test: what passes in the stock kernel passes in this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from durable_kernel.kernel.install import install
from tests.parity.protocol import outcomes_of

pytestmark = pytest.mark.slow


def test_the_protocol_suite_ends_as_in_the_stock_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(prefix=str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    environ = {
        **os.environ,
        "DURABLE_HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }

    outcomes = {kernel: outcomes_of(kernel, environ) for kernel in ("python3", "durable")}

    assert outcomes["durable"] == outcomes["python3"]
    assert set(outcomes["durable"].values()) == {"passed"}
    assert len(outcomes["durable"]) == 13
