"""The kernelspec starts this package with this interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager

from durable_kernel.errors import UsageError
from durable_kernel.kernel import kernelspecs
from durable_kernel.kernel.install import install_as, uninstall

_WAIT_S = 120


@pytest.mark.parametrize(("options", "name"), [([], "durable"), (["--as", "python3"], "python3")])
def test_the_command_installs_a_kernelspec(options: list[str], name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "durable_kernel", "install", "--prefix", str(tmp_path)]

    told = subprocess.run([*command, *options], capture_output=True, text=True, check=True)

    folder = tmp_path / "share" / "jupyter" / "kernels" / name
    written = json.loads((folder / "kernel.json").read_text())
    assert written["argv"] == [sys.executable, "-m", "durable_kernel", "-f", "{connection_file}"]
    assert written["env"]["PYTHONHASHSEED"] == "0"
    assert (folder / "logo-64x64.png").exists()
    assert str(folder) in told.stdout


def test_a_place_that_cannot_be_written_is_said_without_a_traceback(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    command = [sys.executable, "-m", "durable_kernel", "install", "--prefix", str(occupied)]

    told = subprocess.run(command, capture_output=True, text=True, check=False)

    assert told.returncode == 1
    assert "--user or --prefix" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Jupyter a place of its own to look at, and nothing of the user's or the system's."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    return tmp_path


def stock(prefix: Path, name: str = "python3", display_name: str = "Stock") -> Path:
    """Put a kernelspec there that is not ours, with a file that somebody added."""
    folder = prefix / "share" / "jupyter" / "kernels" / name
    folder.mkdir(parents=True)
    content = {"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    spec = {**content, "display_name": display_name, "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    (folder / "mine.txt").write_text("mine")
    return folder


def image(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_jupyter_finds_ours_under_the_name_of_the_stock_kernel(prefix: Path) -> None:
    stock(prefix)

    installed = install_as("python3", prefix=str(prefix))

    spec = KernelSpecManager().get_kernel_spec("python3")
    assert spec.argv[1:3] == ["-m", "durable_kernel"]
    assert Path(spec.resource_dir) == installed.folder
    assert installed.shadowed_by is None
    assert installed.is_looked_at
    listed = KernelSpecManager().find_kernel_specs()
    assert not any(name.startswith(".durable") for name in listed)


def test_uninstalling_puts_back_what_was_there_byte_for_byte(prefix: Path) -> None:
    folder = stock(prefix)
    before = image(folder)
    install_as("python3", prefix=str(prefix))
    install_as("python3", prefix=str(prefix))

    removed = uninstall("python3", prefix=str(prefix))

    assert removed.restored
    assert image(folder) == before
    assert [each.name for each in folder.parent.iterdir()] == ["python3"]


def test_where_nothing_stood_nothing_is_left(prefix: Path) -> None:
    install_as(prefix=str(prefix))

    removed = uninstall(prefix=str(prefix))

    assert not removed.restored
    assert list((prefix / "share" / "jupyter" / "kernels").iterdir()) == []
    with pytest.raises(NoSuchKernel):
        KernelSpecManager().get_kernel_spec("durable-that-is-not-there")


def test_a_foreign_kernelspec_is_never_removed(prefix: Path) -> None:
    folder = stock(prefix)
    before = image(folder)

    with pytest.raises(UsageError, match="not a kernelspec of durable_kernel"):
        uninstall("python3", prefix=str(prefix))

    assert image(folder) == before


def test_what_is_not_there_cannot_be_removed(prefix: Path) -> None:
    with pytest.raises(UsageError, match="nothing to remove"):
        uninstall("other", prefix=str(prefix))


def test_a_stock_kernel_that_came_back_meanwhile_is_kept_beside_the_older_one(
    prefix: Path,
) -> None:
    """Somebody installs ipykernel again, over ours: both are other people's."""
    folder = stock(prefix, display_name="older")
    install_as("python3", prefix=str(prefix))
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    newer = image(stock(prefix, display_name="newer"))

    install_as("python3", prefix=str(prefix))
    uninstall("python3", prefix=str(prefix))

    assert image(folder) == newer
    kept = folder.parent / ".durable-replaced" / "python3.2" / "kernel.json"
    assert json.loads(kept.read_text())["display_name"] == "older"


def test_a_death_between_the_two_renames_is_mended_by_the_next_command(prefix: Path) -> None:
    folder = stock(prefix)
    before = image(folder)
    install_as("python3", prefix=str(prefix))
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()

    installed = install_as("python3", prefix=str(prefix))

    assert installed.replaced is not None
    assert kernelspecs.is_ours(folder)
    uninstall("python3", prefix=str(prefix))
    assert image(folder) == before


def test_a_kernelspec_that_jupyter_finds_first_is_named(prefix: Path) -> None:
    first = stock(prefix)

    installed = install_as("python3", user=True)

    assert installed.folder == prefix / "user" / "kernels" / "python3"
    assert installed.shadowed_by == first
    assert "Jupyter finds" in installed.sentences()[-1]


def test_a_place_that_jupyter_does_not_look_at_is_told(prefix: Path, tmp_path: Path) -> None:
    installed = install_as(prefix=str(tmp_path / "elsewhere"))

    assert not installed.is_looked_at
    assert "JUPYTER_PATH" in installed.sentences()[-1]


@pytest.mark.parametrize("name", ["", "a b", "../python3", "a/b"])
def test_a_name_that_jupyter_does_not_take_is_refused(prefix: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be the name of a kernel"):
        install_as(name, prefix=str(prefix))


@pytest.mark.slow
def test_a_notebook_that_names_python3_runs_durably(prefix: Path) -> None:
    stock(prefix)
    install_as("python3", prefix=str(prefix))

    with tempfile.TemporaryDirectory(prefix="k-") as sockets:  # nobody else can take these
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/k")
        manager.start_kernel()
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=_WAIT_S)
            client.execute("import durable_kernel as d; found = d.run_id()", store_history=True)
            asked = client.execute("", user_expressions={"found": "found"}, store_history=False)
            reply = client.get_shell_msg(timeout=_WAIT_S)
            while reply["parent_header"]["msg_id"] != asked:
                reply = client.get_shell_msg(timeout=_WAIT_S)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    assert "20" in reply["content"]["user_expressions"]["found"]["data"]["text/plain"]
