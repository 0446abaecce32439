"""More rows of the guide's table of starts and stops: memory, disks, other versions, poison."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from durable_kernel.runtime.vitals import Doing, oom_kills_of_system, read_signs
from tests.kernel.conftest import Start
from tests.kernel.live import HELD, LiveKernel, printed
from tests.kernel.serving import wait_until
from tests.kernel.sockets import has_client

pytestmark = pytest.mark.slow

BEGUN = f"print('begun', flush=True)\n{HELD}y = 'done'"
_WAIT_S = 120
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

NAMESPACE = ("unshare", "-Urm", "sh", "-c")
COUNTED = 'set -e; mount --bind "{}" /proc/vmstat; exec "$@"'
FULL = """\
set -e
mount -t tmpfs -o size=1m none "$DURABLE_HOME"
head -c 2000000 /dev/zero > "$DURABLE_HOME/other" 2>/dev/null || true
exec "$@"
"""


@pytest.fixture
def namespace() -> tuple[str, ...]:
    """What stands before a command that is to have mounts of its own; needs no root."""
    tried = subprocess.run(
        [*NAMESPACE, "mount -t tmpfs none /mnt"], check=False, capture_output=True
    )
    if tried.returncode:
        pytest.skip("only on a system that lets its users have namespaces")
    return NAMESPACE


def _wait(kernel: LiveKernel) -> int:
    assert kernel.process is not None
    return kernel.process.wait(timeout=_WAIT_S)


def _folder(kernel: LiveKernel) -> Path:
    return kernel.folder / "home/runs/nightly"


# --- memory ---------------------------------------------------------------------------------------


def test_a_cell_that_gets_no_memory_fails_and_its_kernel_lives(start: Start) -> None:
    """A limit of the process is an exception; only the system's own lack of memory kills."""
    kernel = start()
    limits = "import resource\nhard = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
    kernel.run("x = 7")

    failed = kernel.run(
        f"{limits}resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))\n"
        "try: rows = bytearray(1 << 40)\n"
        "finally: resource.setrlimit(resource.RLIMIT_AS, (hard, hard))"
    )
    kernel.kill()
    kernel.start()

    assert failed.reply["ename"] == "MemoryError"
    assert kernel.run("x").plain() == "7"


def test_a_kernel_that_the_system_killed_for_its_memory_is_told_as_such(
    start: Start, namespace: tuple[str, ...]
) -> None:
    """What the system leaves of it is SIGKILL and a counter, which the next kernel sees one up."""
    kernel = start()
    kernel.run("x = 7")
    cell = kernel.ask(BEGUN)
    kernel.watch(cell, printed("begun"))
    wait_until(lambda: read_signs(_folder(kernel)).rss_bytes > 0, "it wrote no sign of life")
    kernel.kill()
    kernel.let_go()
    counted = kernel.folder / "vmstat"
    counted.write_text(f"oom_kill {oom_kills_of_system() + 1}\n")

    kernel.before = (*namespace, COUNTED.format(counted), "sh")
    kernel.start()
    rest = kernel.wait(cell)
    shown = kernel.run("x, y")

    assert shown.plain() == "(7, 'done')"
    told = rest.told() + shown.told()
    assert "probably because the system ran out of memory (it held 0." in told


# --- disks ----------------------------------------------------------------------------------------


def test_a_disk_that_is_full_at_the_start_executes_nothing_and_says_so(
    start: Start, namespace: tuple[str, ...], tmp_path: Path
) -> None:
    """A file system of a megabyte, in a mount namespace of the kernel's own."""
    home = tmp_path / "full"
    home.mkdir()
    kernel = start(before=(*namespace, FULL, "sh"), DURABLE_HOME=str(home))

    refused = kernel.run("x = 1")

    assert refused.status == "error"
    assert "No space left on device" in refused.reply["evalue"]
    assert kernel.run("x").status == "error"


# --- other versions -------------------------------------------------------------------------------


def _site(kernel_folder: Path, name: str, text: str) -> str:
    """Let a module be installed where a kernel's PYTHONPATH finds it. Returns that path."""
    site = kernel_folder / "site-packages"
    site.mkdir(exist_ok=True)
    (site / name).write_text(text)
    return str(site)


def test_a_package_that_was_upgraded_in_between_is_told(start: Start, tmp_path: Path) -> None:
    """H25."""
    site = _site(tmp_path, "pkg_e.py", "__version__ = '1.0'\n")
    kernel = start(PYTHONPATH=site, PYTHONDONTWRITEBYTECODE="1")
    kernel.run("import pkg_e")
    kernel.kill()
    _site(tmp_path, "pkg_e.py", "__version__ = '2.0'\n")

    kernel.start()
    shown = kernel.run("pkg_e.__version__")

    assert shown.plain() == "'2.0'"
    assert "recorded with pkg_e 1.0 (now 2.0)" in shown.told()


def test_another_minor_version_of_python_is_told(start: Start, tmp_path: Path) -> None:
    """A second interpreter is nowhere required; this one says that it is another one."""
    kernel = start()
    kernel.run("x = 7")
    kernel.kill()
    site = _site(
        tmp_path, "sitecustomize.py", "import platform; platform.python_version = lambda: '3.99.0'"
    )

    kernel.start(PYTHONPATH=site)
    shown = kernel.run("x")

    assert shown.plain() == "7"
    assert "(now 3.99.0)" in shown.told()
    assert "may come out differently" in shown.told()


# --- poison, and a kernel that hangs --------------------------------------------------------------


def test_an_input_that_kills_its_process_twice_with_nothing_new_is_left(start: Start) -> None:
    """H36, H38: what a tool sends beside the cells can be as deadly. Its first death had an act."""
    kernel = start()
    kernel.run("x = 7; import durable_kernel as durable; act = durable.step(lambda: 1)")
    kernel.ask(f"hidden = act(); {KILLS_ITSELF}", silent=True)  # without an act it leaves no trace
    deaths = [_wait(kernel), *(kernel.spawn().wait(_WAIT_S) for _ in range(2))]

    kernel.start()
    shown = kernel.run("x, 'hidden' in globals()")

    assert deaths == [-signal.SIGKILL] * 3
    assert shown.plain() == "(7, False)"
    assert "ended its process 2 times in a row" in shown.told()


def test_a_kernel_that_was_frozen_and_killed_finishes_its_cell(start: Start) -> None:
    """SIGSTOP: nothing it is sent is heard, and nothing of that is left behind."""
    kernel = start()
    kernel.run("x = 7")
    cell = kernel.ask(BEGUN)
    kernel.watch(cell, printed("begun"))
    assert kernel.process is not None
    with kernel.standing_still():
        kernel.interrupt()
        kernel.hand_over(
            "control", kernel.client.session.msg("shutdown_request", {"restart": True})
        )
        kernel.process.terminate()
        kernel.kill()
    kernel.let_go()

    kernel.start()

    assert kernel.run("x, y").plain() == "(7, 'done')"


def test_three_kills_in_a_row_while_one_cell_is_resumed_are_no_poison_if_it_goes_on(
    start: Start,
) -> None:
    """H36: each process got further, so the fourth one finishes the cell."""
    kernel = start()
    step = "@durable.step\ndef draw(i):\n    return i"
    kernel.run(f"import durable_kernel as durable, os, time\n{step}")
    cell = kernel.ask(
        "for i in range(4):\n    draw(i); print('at', i, flush=True)\n"
        "    while i < 3 and not os.path.exists(f'past {i}'): time.sleep(0.02)"
    )
    for i in range(3):
        kernel.watch(cell, printed(f"at {i}\n"))
        kernel.kill()
        (kernel.folder / f"past {i}").touch()
        kernel.start()

    shown = kernel.watch(cell, printed("at 3\n"))

    assert shown.text().endswith("at 0\nat 1\nat 2\nat 3\n")


def test_the_signs_of_a_process_in_a_cell_name_the_cell(start: Start) -> None:
    kernel = start()
    kernel.run("x = 7")
    cell = kernel.ask(BEGUN)
    kernel.watch(cell, printed("begun"))

    wait_until(lambda: read_signs(_folder(kernel)).position > 0, "it wrote no sign of life")
    signs = read_signs(_folder(kernel))
    kernel.let_go()

    assert (signs.doing, signs.position) == (Doing.IN_CELL, 1)
    assert kernel.wait(cell).status == "ok"


INTERRUPTS_ITSELF = """\
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "durable_kernel.runtime":
            os.kill(os.getpid(), signal.SIGINT)

if "durable_kernel" in sys.orig_argv:
    sys.meta_path.insert(0, Finder())
"""


def test_a_kernel_that_is_interrupted_while_it_still_imports_comes_up(
    start: Start, tmp_path: Path
) -> None:
    """Who stops a kernel sends SIGINT first: it is to hear the request, and not to die of that."""
    site = _site(tmp_path, "sitecustomize.py", INTERRUPTS_ITSELF)

    kernel = start(PYTHONPATH=site)

    assert kernel.run("1 + 1").plain() == "2"
    assert "Traceback" not in kernel.log()


def test_a_kernel_whose_port_is_taken_for_a_moment_waits_for_it(tmp_path: Path) -> None:
    """Launchers choose a port and let go of it; a connection of somebody else may have it then."""
    kernel = LiveKernel(tmp_path)
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the test keeps it, too
        taken.bind(("127.0.0.1", kernel.client.stdin_port))
        taken.listen()
        process = kernel.spawn()
        wait_until(lambda: _is_trying(process.pid), "it binds nothing", kernel.log)
        taken.close()
        kernel.adopt(process)

        assert kernel.run("1 + 1").plain() == "2"
    finally:
        taken.close()
        kernel.close()


def _is_trying(pid: int) -> bool:
    """Tell whether the process has a socket that listens: it binds them one after the other."""
    inodes = {
        line.split()[9]
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    links = set()
    with suppress(OSError):  # it closes one while it is looked at
        links = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    return any(f"socket:[{inode}]" in links for inode in inodes)


def test_a_line_that_is_sent_while_the_kernel_starts_gets_all_of_its_answer(start: Start) -> None:
    """What is published before a client has connected again reaches nobody."""
    kernel = start()
    kernel.run("x = 7")
    for _ in range(2):
        kernel.shut_down(restart=False)
        wait_until(lambda: not has_client(kernel.client.shell_port), "its client notices nothing")
        process = kernel.spawn()

        shown = kernel.run("%durable status")

        assert "state" in shown.plain()
        kernel.adopt(process)
