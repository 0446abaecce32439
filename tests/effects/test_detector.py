"""The detector: what no hook journals is told, or stopped, before it happens."""
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH106, PTH111, PTH118, PTH123, PTH208, PTH211 - each way to a file is a case

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_kernel import effects
from durable_kernel.effects import detector
from durable_kernel.errors import WorldClosedError
from durable_kernel.ports import CURRENT_LANE, suspended
from durable_kernel.testing.fake_port import FakePort, FakeWitness
from tests.effects.sessions import in_module

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("there").write_text("1")
    Path("folder").mkdir()
    Path("full").mkdir()
    Path("full/leaf").write_text("1")


@pytest.fixture
def witness(hooked: FakeWitness) -> FakeWitness:
    hooked.crossings.clear()
    return hooked


@pytest.fixture
def closed(witness: FakeWitness) -> Iterator[FakeWitness]:
    witness.denies = True
    yield witness
    witness.denies = False


def close(descriptor: int) -> None:
    os.close(descriptor)


ACTS: dict[str, Callable[[], Any]] = {
    "opens out.csv for writing": lambda: Path("out.csv").write_text("x"),
    "opens new for writing": lambda: open("new", "x").close(),
    "opens there for appending": lambda: open("there", "a").close(),
    "opens there for updating": lambda: open("there", "r+b").close(),
    "opens low for writing": lambda: close(os.open("low", os.O_CREAT | os.O_WRONLY)),
    "renames there to gone": lambda: os.rename("there", "gone"),
    "renames there to else": lambda: Path("there").replace("else"),
    "removes there": lambda: Path("there").unlink(),
    "makes the folder made": lambda: os.mkdir("made"),
    "removes the folder folder": lambda: os.rmdir("folder"),
    "removes the folder full": lambda: shutil.rmtree("full"),
    "links there to soft": lambda: os.symlink("there", "soft"),
    "links there to hard": lambda: os.link("there", "hard"),
    "truncates there": lambda: os.truncate("there", 0),
    "changes the mode of there": lambda: os.chmod("there", 0o600),
    "changes the times of there": lambda: os.utime("there"),
    "changes the owner of there": lambda: os.chown("there", os.getuid(), -1),
    "opens copy for writing": lambda: shutil.copyfile("there", "copy"),
    f"starts a process: {PYTHON} -c pass": lambda: subprocess.run(
        [PYTHON, "-c", "pass"], check=True
    ),
    "starts a process: exit 3": lambda: subprocess.run("exit 3", shell=True, check=False),
    "starts a process: exit 0": lambda: os.system("exit 0"),
    "starts a process: true x": lambda: os.waitpid(
        os.posix_spawn(shutil.which("true") or "", ["true", "x"], {}), 0
    ),
    "opens the database x.db": lambda: sqlite3.connect("x.db").close(),
    "opens the database y.db": lambda: sqlite3.connect("file:y.db?mode=rwc", uri=True).close(),
}


@pytest.mark.parametrize("what", ACTS)
def test_an_act_without_a_hook_is_told(witness: FakeWitness, what: str) -> None:
    ACTS[what]()

    assert what in witness.acts


@pytest.mark.parametrize("what", ACTS)
def test_a_closed_world_stops_an_act_before_it_happens(closed: FakeWitness, what: str) -> None:
    """H2: the exception reaches the caller, and the folder is as it was."""
    before = _listing()

    with pytest.raises(WorldClosedError, match="Nothing was sent"):
        ACTS[what]()

    assert _listing() == before


def _listing() -> list[tuple[str, int, int, int]]:
    return [
        (str(path), path.lstat().st_size, path.lstat().st_mode, path.lstat().st_mtime_ns)
        for path in sorted(Path().rglob("*"))
    ]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_a_connection_without_a_hook_is_told(listener: socket.socket, witness: FakeWitness) -> None:
    host, port = listener.getsockname()

    socket.create_connection((host, port)).close()

    assert witness.acts == [f"connects to {host}:{port} without a hook for it"]


def test_a_closed_world_lets_no_packet_out(listener: socket.socket, closed: FakeWitness) -> None:
    """H2 for a real socket: the other side never hears of it."""
    host, port = listener.getsockname()

    with socket.socket() as client, pytest.raises(WorldClosedError):
        client.connect((host, port))
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_datagrams_and_servers_are_told(listener: socket.socket, witness: FakeWitness) -> None:
    host, port = listener.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((host, 0))
        bound = client.getsockname()[1]

        client.sendto(b"x", (host, port))

    assert witness.acts == [
        f"listens at {host}:0",
        f"sends to {host}:{port} without a hook for it",
    ]
    assert bound


def test_a_killed_stranger_is_told_and_a_probe_is_not(witness: FakeWitness) -> None:
    with subprocess.Popen([PYTHON, "-c", "input()"], stdin=subprocess.PIPE) as child:
        witness.crossings.clear()
        os.kill(child.pid, 0)
        os.kill(child.pid, 9)

    assert witness.acts == [f"sends signal 9 to process {child.pid}"]


def test_reads_are_told_as_observations(witness: FakeWitness) -> None:
    Path("there").read_text()
    os.listdir("full")
    list(os.scandir("folder"))

    assert witness.crossings == [
        ("reads there", False),
        ("lists the folder full", False),
        ("lists the folder folder", False),
    ]


@pytest.mark.parametrize(
    "use",
    [
        lambda: open(os.devnull, "w").close(),
        lambda: open("/proc/self/status").close(),
        lambda: open(subprocess.__file__).close(),
        lambda: os.listdir(sys.prefix),
        lambda: sqlite3.connect(":memory:").close(),
        lambda: sqlite3.connect("file:x?mode=memory", uri=True).close(),
        lambda: os.makedirs("__pycache__", exist_ok=True),
        lambda: Path("__pycache__x.cpython-311.pyc.123").parent,
        lambda: open("x.pyc", "wb").close(),
        lambda: os.fdopen(os.dup(1), "w").close(),
        lambda: subprocess.run(["uname"], stdout=subprocess.DEVNULL, check=True),
        lambda: os.kill(os.getpid(), 0),
    ],
)
def test_the_systems_own_affairs_are_not_told(witness: FakeWitness, use: Callable[[], Any]) -> None:
    use()

    assert witness.crossings == []


def test_importing_a_module_is_no_crossing(
    witness: FakeWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is read and its byte code written; a traceback reads the source again."""
    Path("a_module_of_the_user.py").write_text("def f():\n    raise ValueError('x')\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    witness.crossings.clear()

    import traceback

    import a_module_of_the_user as module  # type: ignore[import-not-found]

    with pytest.raises(ValueError, match="x") as caught:
        module.f()
    shown = "".join(traceback.format_exception(caught.value))

    assert "raise ValueError('x')" in shown
    assert witness.crossings == []


def test_what_an_effect_does_itself_is_accounted_for(witness: FakeWitness) -> None:
    with suspended():
        Path("out").write_text("x")

    assert witness.crossings == []


def test_excluded_folders_are_the_kernels_own(witness: FakeWitness, tmp_path: Path) -> None:
    store = tmp_path / "store"
    detector.exclude([store])

    store.mkdir()
    (store / "seg").write_text("x")
    (store / "seg").rename(store / "seg2")
    shutil.rmtree(store)
    (tmp_path / "store2").mkdir()

    assert witness.acts == [f"makes the folder {tmp_path / 'store2'}"]


def test_the_witness_may_use_the_world_itself(tmp_path: Path) -> None:
    """It writes the crossing down, which opens, writes and renames; a handler may log."""

    class WritingWitness(FakeWitness):
        def crossing(self, what: str, *, is_act: bool) -> None:
            super().crossing(what, is_act=is_act)
            (tmp_path / "journal").write_text(what)
            (tmp_path / "journal").rename(tmp_path / "journal2")

    writing = WritingWitness()
    effects.install(writing)

    Path("out").write_text("x")
    effects.install(FakeWitness())

    assert writing.acts == ["opens out for writing"]


def test_other_threads_are_told_too(witness: FakeWitness) -> None:
    """H29: whether a cell is to blame for them is the witness's to say."""
    thread = threading.Thread(target=lambda: Path("out").write_text("x"))
    thread.start()
    thread.join()

    assert witness.acts == ["opens out for writing"]


def test_a_cache_of_plots_may_be_moved_by_the_notebook(
    witness: FakeWitness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "plots"))

    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "fontlist.json").write_text("{}")

    assert witness.crossings == []


def test_the_folders_above_a_cache_are_made_with_it(witness: FakeWitness) -> None:
    Path.home().mkdir(exist_ok=True)

    assert witness.crossings == []


def test_a_shell_line_is_told_by_its_command(witness: FakeWitness) -> None:
    """IPython's `!command` goes through pexpect, and that through a fork."""
    importlib.import_module("pexpect").run("/bin/sh -c 'echo hi'")

    assert witness.acts == ["starts a process: echo hi"]


def test_a_forked_child_is_left_alone(witness: FakeWitness) -> None:
    """The fork is told; the journal is the parent's, and so is the lane."""
    program = (
        "import os\n"
        "from durable_kernel.effects import detector\n"
        "from durable_kernel.ports import CURRENT_LANE\n"
        "from durable_kernel.testing.fake_port import FakePort, FakeWitness\n"
        "witness = FakeWitness()\n"
        "detector.install(witness)\n"
        "with FakePort().cell():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        open('by_child', 'w').close()\n"
        "        is_alone = CURRENT_LANE.get() is None and len(witness.acts) == 1\n"
        "        os._exit(0 if is_alone else 1)\n"
        "    print(os.waitpid(child, 0)[1], witness.acts, CURRENT_LANE.get() is not None)\n"
    )

    shown = subprocess.run(
        [PYTHON, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert shown.strip() == "0 ['forks this process'] True"


def test_an_event_of_another_shape_is_told_all_the_same(witness: FakeWitness) -> None:
    sys.audit("os.rename", 5, object())

    assert witness.acts == ["does something that Python calls os.rename"]


def test_long_command_lines_are_cut(witness: FakeWitness) -> None:
    subprocess.run([PYTHON, "-c", "pass", "x" * 1000], check=True)

    assert all(len(what) < 150 for what in witness.acts)


def test_names_of_temporary_files_may_be_drawn_without_a_crossing(witness: FakeWitness) -> None:
    """Python tries the folder with a file of its own, once per process: at install."""
    with FakePort().cell():
        tempfile.mktemp()

    assert witness.crossings == []
    assert CURRENT_LANE.get() is None


@pytest.mark.parametrize("module", ["linecache", "importlib._bootstrap_external", "tokenize"])
def test_readers_of_source_are_not_readers_of_data(witness: FakeWitness, module: str) -> None:
    in_module(module, "def f(): open('there').close()")()
    in_module("user.code", "def f(): open('there').close()")()

    assert witness.observations == ["reads there"]


@pytest.mark.parametrize(
    ("path", "writing", "expected"),
    [
        ("data.csv", True, False),
        ("data.csv", False, False),
        ("/dev/null", True, True),
        ("/dev/pts/3", True, True),
        ("/dev/shm/x", True, False),
        ("/etc/hosts", False, True),
        ("/etc/hosts", True, False),
        (os.path.join(sys.prefix, "lib", "x.json"), False, True),
        (os.path.join(sys.prefix, "lib", "x.json"), True, False),
        (os.path.join(sys.prefix, "..", "x.json"), False, False),
        ("pkg/__pycache__/m.cpython-313.pyc", True, True),
        (os.path.expanduser("~/.ipython/profile_default/history.sqlite"), True, True),
        (os.path.expanduser("~/.cache/matplotlib/fontlist.json"), True, True),
        (os.path.expanduser("~/.cache/other/x.json"), True, False),
        (os.path.expanduser("~/.fonts/x.ttf"), False, True),
        (os.path.expanduser("~/.fonts/x.ttf"), True, False),
        (b"bytes.csv", True, False),
        (Path("data.csv"), True, False),
    ],
)
def test_the_systems_paths(path: Any, writing: bool, expected: bool) -> None:
    assert detector.is_system_path(path, writing=writing) is expected
