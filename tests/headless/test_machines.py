"""The command line as people run it: a run on two machines, a mounted key file, a lost key (H12).

Two homes stand for two machines: a copy of a store has another place on each of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytestmark = pytest.mark.slow

_COMMAND = "from durable_kernel.cli import main; main()"
_DRAWS = "import uuid; print('drawn', uuid.uuid4())"
_DIES_UNLESS_THERE_IS_A_MARK = "import os; os.path.exists('mark') or os.kill(os.getpid(), 9)"


@dataclass(frozen=True)
class Machine:
    """A home, and the key file that is mounted there."""

    home: Path
    key: Path
    folder: Path

    def durable(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {
            **os.environ,
            "DURABLE_HOME": str(self.home),
            "DURABLE_KEY_FILE": str(self.key),
            "COLUMNS": "1000",
        }
        return subprocess.run(
            [sys.executable, "-c", _COMMAND, *arguments],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.durable("run", "n.ipynb", "--run", "nightly", "-o", "out.ipynb", *arguments)

    def drawn(self) -> str:
        """Return what the first cell drew, as the written notebook has it."""
        found = re.search(r"drawn [0-9a-f-]{36}", (self.folder / "out.ipynb").read_text())
        assert found is not None
        return found[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which a run died; it goes on once the file `mark` is there."""
    new: Any = nbformat.v4
    sources = (_DRAWS, _DIES_UNLESS_THERE_IS_A_MARK)
    cells = [new.new_code_cell(source, id=f"c{at}") for at, source in enumerate(sources)]
    (tmp_path / "n.ipynb").write_text(nbformat.writes(new.new_notebook(cells=cells)))
    key = tmp_path / "mounted" / "key"
    key.parent.mkdir()
    key.write_bytes(os.urandom(32))
    key.chmod(0o400)
    made = Machine(tmp_path / "one", key, tmp_path)
    assert made.run().returncode == 5  # it died twice at the same place
    (tmp_path / "mark").touch()
    return made


def test_a_run_goes_on_on_another_machine_with_the_same_key_file(machine: Machine) -> None:
    first = machine.drawn()
    other = Machine(machine.home.with_name("two"), machine.key, machine.folder)
    shutil.copytree(machine.home, other.home)

    refused = other.run()
    adopted = other.durable("trust", "nightly", "--moved", "--yes")
    done = other.run()

    assert not (machine.home / "key").exists()
    assert refused.returncode == 2
    assert "durable trust nightly --moved" in refused.stderr
    assert adopted.returncode == 0
    assert (done.returncode, other.drawn()) == (0, first)


def test_a_moved_run_is_adopted_in_one_command(machine: Machine) -> None:
    other = Machine(machine.home.with_name("two"), machine.key, machine.folder)
    machine.home.rename(other.home)

    assert other.run("--adopt").returncode == 0


def test_another_key_on_the_other_machine_is_told_as_such(machine: Machine) -> None:
    other = Machine(machine.home.with_name("two"), machine.key.with_name("other"), machine.folder)
    shutil.copytree(machine.home, other.home)

    refused = other.run()
    adopted = other.durable("trust", "nightly", "--moved", "--yes")
    done = other.run()

    assert refused.returncode == 5
    assert "By what META says, it was written elsewhere: its key was" in refused.stderr
    assert adopted.returncode == 0
    assert "print('drawn', uuid.uuid4())" in adopted.stdout
    assert done.returncode == 0


def test_a_lost_key_is_told_and_the_run_is_taken_over(machine: Machine) -> None:
    first = machine.drawn()
    machine.key.unlink()

    refused = machine.run()
    shown = machine.durable("show", "nightly")
    logged = machine.durable("log", "nightly")
    asked = machine.durable("trust", "nightly")
    taken = machine.durable("trust", "nightly", "--yes")
    done = machine.run()

    assert refused.returncode == 5
    assert "your key file was lost or replaced" in refused.stderr
    assert (shown.returncode, logged.returncode) == (0, 0)
    assert (asked.returncode, "nobody answered" in asked.stderr) == (2, True)
    assert taken.returncode == 0
    assert (done.returncode, machine.drawn()) == (0, first)


def test_a_key_file_may_be_named_from_here(machine: Machine) -> None:
    """A kernel runs in the folder of its notebook, and has to find the same file."""
    below = machine.folder / "below"
    below.mkdir()
    (machine.folder / "n.ipynb").rename(below / "n.ipynb")
    (below / "mark").touch()
    relative = Machine(machine.home, Path("mounted/key"), machine.folder)

    done = relative.durable("run", "below/n.ipynb", "-o", "out.ipynb", "--run", "another")

    assert done.returncode == 0
    assert not (below / "mounted").exists()


def _open_to_others(key: Path) -> None:
    key.chmod(0o644)


def _too_short(key: Path) -> None:
    key.chmod(0o600)
    key.write_bytes(b"short")


def _a_folder(key: Path) -> None:
    key.unlink()
    key.mkdir()


def _a_fifo(key: Path) -> None:
    key.unlink()
    os.mkfifo(key, 0o600)


BAD = {
    _open_to_others: "is open to others (mode 0644)",
    _too_short: "holds 5 bytes; a key has 32, or 64 hex digits",
    _a_folder: "cannot be read (a folder stands where a file should be)",
    _a_fifo: "cannot be read (a FIFO stands where a file should be)",
}


@pytest.mark.parametrize(
    ("spoil", "sentence"), BAD.items(), ids=["mode", "length", "folder", "fifo"]
)
def test_a_bad_key_file_is_refused_with_a_sentence(
    tmp_path: Path, spoil: Any, sentence: str
) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    spoil(key)
    new: Any = nbformat.v4
    (tmp_path / "n.ipynb").write_text(nbformat.writes(new.new_notebook()))

    said = Machine(tmp_path / "home", key, tmp_path).run()

    assert said.returncode == 2
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr


def test_a_command_that_is_given_again_and_again_does_not_kill_kernels_for_ever(
    machine: Machine,
) -> None:
    """H36: a supervisor of machines knows nothing of cells."""
    (machine.folder / "mark").unlink()

    again = machine.run()
    refused = machine.run()
    (machine.folder / "mark").touch()
    redone = machine.run("--redo")

    assert again.returncode == refused.returncode == 5
    assert "ended its process 4 times in a row" in refused.stderr
    assert redone.returncode == 0
