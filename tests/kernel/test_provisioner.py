"""What a server tells the next process about the end of the last one. Nobody needs it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec

from durable_kernel.kernel.install import install, specification
from durable_kernel.kernel.provisioner import DurableProvisioner
from tests.kernel.serving import Server, errors_of, text_of, wait_until


async def _launch(provisioner: DurableProvisioner, code: str) -> Mapping[str, str]:
    """Start a process as a manager does. Returns its environment."""
    given: dict[str, Any] = await provisioner.pre_launch(env=dict(os.environ))
    provisioner.connection_info = {}
    await provisioner.launch_kernel([sys.executable, "-c", code], env=given["env"])
    return dict(given["env"])


def _told(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    return environ.get("DURABLE_REASON"), environ.get("DURABLE_PREV_EXIT")


@pytest.fixture
def provisioner() -> DurableProvisioner:
    return DurableProvisioner(kernel_id="k", kernel_spec=KernelSpec(argv=[]))


def test_the_first_process_is_told_nothing_also_if_the_server_was_told_something(
    provisioner: DurableProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_REASON", "crash")

    told = asyncio.run(provisioner.pre_launch())["env"]

    assert _told(told) == (None, None)


def test_a_process_is_told_how_the_last_one_ended_and_of_none_before(
    provisioner: DurableProvisioner,
) -> None:
    async def story() -> list[tuple[str | None, str | None]]:
        told = []
        await _launch(provisioner, f"import os; os.kill(os.getpid(), {signal.SIGSEGV})")
        await provisioner.wait()
        told.append(_told(await _launch(provisioner, "import sys; sys.exit(3)")))
        await provisioner.wait()
        told.append(_told(await _launch(provisioner, "pass")))
        await provisioner.shutdown_requested(restart=True)
        await provisioner.wait()
        told.append(_told(await _launch(provisioner, "pass")))
        await provisioner.wait()
        return told

    assert asyncio.run(story()) == [("crash", "-11"), ("crash", "3"), ("user-restart", "0")]


def test_only_a_specification_that_asks_for_it_names_the_provisioner() -> None:
    """Elsewhere a server that lacks it could not start the kernel at all."""
    plain, asked = specification(), specification(has_provisioner=True)

    assert "kernel_provisioner" not in plain["metadata"]
    assert asked["metadata"]["kernel_provisioner"] == {"provisioner_name": "durable"}


def test_servers_import_the_provisioner_without_hooks(tmp_path: Path) -> None:
    code = (
        "import time; before = time.time\n"
        "import durable_kernel.kernel.provisioner, sys\n"
        "assert time.time is before and 'durable_kernel.effects' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)


@pytest.mark.slow
def test_under_a_server_the_next_kernel_says_which_signal_ended_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "of_this_test-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: of-this-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[jupyter_client.kernel_provisioners]\n"
        "durable = durable_kernel.kernel.provisioner:DurableProvisioner\n"
    )
    paths = [str(info.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    server = Server(tmp_path)
    install(prefix=str(tmp_path / "jupyter"), has_provisioner=True)
    server.start()
    try:
        channel = server.connect(server.open_notebook("a.ipynb"))
        pid = int(text_of(channel.run("import os; os.getpid()")))
        os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: "restarting kernel" in server.log(), "no restart", server.log)

        shown = channel.run("1 + 1")

        assert "it was ended by signal 11" in errors_of(shown)
    finally:
        server.close()
